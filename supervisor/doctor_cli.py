"""`ullage doctor`: what works against us, and what to set."""

from __future__ import annotations

import click

from .asking import asks
from .client import Client, printable


@click.command(
    epilog="\b\nExamples:\n  ullage doctor\n  ullage doctor --json | jq -r '.advice[].remedy'"
)
@click.option("--json", "as_json", is_flag=True, help="The daemon's answer as it is.")
@asks()
def doctor(client: Client, as_json: bool) -> None:
    """Say what engines do of their own accord that works against us, and what to set."""
    answer = client.get("/api/v1/doctor")
    if as_json:
        return click.echo(answer.text)
    advice = answer.document["advice"]
    if not advice:
        return click.echo("all is well: no engine works against us")
    for entry in advice:
        click.secho(printable(entry["about"]), bold=True)
        click.echo(f"  what:  {printable(entry['what'])}")
        click.echo(f"  to do: {printable(entry['remedy'])}")
    count = len(advice)
    return click.echo(f"{count} thing{'s' if count > 1 else ''} to look at")
