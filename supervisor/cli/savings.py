"""`ullage savings`: what was spent on reloads, and what would have been."""

from __future__ import annotations

import click

from supervisor.printable import printable

from .asking import asks
from .client import Client

TIMEOUT = 90.0  # a month of requests is replayed


@click.command(
    epilog="\b\nExamples:\n  ullage savings\n  ullage savings --days 1\n"
    "  ullage savings --json | jq '.ghosts'"
)
@click.option("--days", type=click.FloatRange(0, 30, min_open=True), default=7, show_default=True,
              help="How far back.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="The daemon's answer as it is.")
@asks(TIMEOUT)
def savings(client: Client, days: float, as_json: bool) -> None:
    """Say what was spent on loading models again, what other rankings would have spent, and what
    nobody could have saved."""
    answer = client.get("/api/v1/savings", days=f"{days:g}")
    if as_json:
        return click.echo(answer.text)
    return click.echo("\n".join(printable(line) for line in answer.document["sentences"]))
