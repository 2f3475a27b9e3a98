"""What is there and why: `ullage status`, `models`, `engines`, `why`, `decisions` and `version`."""

from __future__ import annotations

import json
import time

import click

from supervisor import __version__
from supervisor.printable import printable

from .asking import asks, draw, examples, names, tell
from .client import Client, ClientError


@click.command(epilog=examples(
    "ullage status",
    "ullage status --wide                    # where every byte is, and how the devices feel",
    "ullage status --watch",
    "ullage status --json | jq '.pools[] | {name, headroom}'",
))  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="The daemon's answer as it is.")
@click.option("--watch", is_flag=True, help="Look again every 2 s, until Ctrl-C.")
@click.option("--wide", is_flag=True, help="Where every byte is, and how the devices feel.")
@asks()
def status(client: Client, as_json: bool, watch: bool, wide: bool) -> None:
    """Show pools, models, engines that are down, and what is wrong."""
    if as_json and watch:
        raise click.UsageError("--watch is for people; ask with --json as often as you like")
    answer = client.get("/api/v1/state")
    if as_json:
        return click.echo(answer.text)
    from . import bars, show

    if not watch:
        return draw(show.status(answer.document, bars.screen(), wide=wide))

    def page() -> str:
        try:
            document = client.get("/api/v1/state").document
            return show.status(document, bars.screen(), wide=wide)
        except ClientError as error:
            return f"{printable(error.what)}; still asking\n"

    return show.follow(page, bars.screen(), draw, lambda: time.sleep(show.EVERY))


@click.command(epilog=examples("ullage models", "ullage models --json | jq -r '.installed[].name'"))
@click.option("--json", "as_json", is_flag=True, help="The daemon's answer as it is.")
@asks()
def models(client: Client, as_json: bool) -> None:
    """List the models that are loaded, and those that could be."""
    answer = client.get("/api/v1/models")
    if as_json:
        return click.echo(answer.text)
    from . import bars, show

    return draw(show.models(answer.document, bars.screen()))


@click.command(epilog=examples(
    "ullage engines",
    "ullage engines --json | jq -r '.engines[] | select(.up | not) | .id'",
))  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="As JSON, with what each holds, in bytes.")
@asks()
def engines(client: Client, as_json: bool) -> None:
    """List the engines: where each is, whether it answers, what it can, and what it holds."""
    from . import show_engines

    rows = show_engines.rows(client.get("/api/v1/state").document)
    if as_json:
        return click.echo(json.dumps({"engines": rows}))
    from . import bars

    return draw(show_engines.table(rows, bars.screen()))


@click.command(epilog=examples("ullage why qwen3:8b", "ullage why ollama/qwen3:8b --json"))
@click.argument("model", shell_complete=names("models"))
@click.option("--json", "as_json", is_flag=True, help="The daemon's answer as it is.")
@asks()
def why(client: Client, model: str, as_json: bool) -> None:
    """Say why a model is where it is, and what would have to change."""
    tell(client.get("/api/v1/why", model=model), as_json)


@click.command(epilog=examples("ullage decisions -n 5", "ullage decisions --model qwen3:8b --json"))
@click.option("-n", "--limit", type=click.IntRange(1, 1000), default=20, show_default=True,
              help="How many, newest first.")  # fmt: skip
@click.option("--model", help="Only those that have to do with it.", shell_complete=names("models"))
@click.option("--json", "as_json", is_flag=True, help="The daemon's answer as it is.")
@asks()
def decisions(client: Client, limit: int, model: str | None, as_json: bool) -> None:
    """List what was decided, why, and what became of it."""
    answer = client.get("/api/v1/decisions", limit=limit, model=model)
    if as_json:
        return click.echo(answer.text)
    from . import bars, show

    return draw(show.decisions(answer.document["decisions"], bars.screen()))


@click.command(epilog=examples("ullage version", "ullage version --json"))
@click.option("--json", "as_json", is_flag=True, help="As JSON; daemon is null if none answers.")
@asks(timeout=1.0)
def version(client: Client, as_json: bool) -> None:
    """Show the versions of this command and of the daemon, if one answers."""
    try:
        running = client.get("/api/v1/version").document.get("version")
    except ClientError:
        running = None
    if as_json:
        return click.echo(json.dumps({"version": __version__, "daemon": running}))
    where = "no daemon answers" if running is None else f"daemon {printable(running)}"
    return click.echo(f"ullage {__version__} ({where} at {printable(client.address)})")
