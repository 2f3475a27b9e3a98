"""`ullage pin`, `ullage unpin` and `ullage retention`: how long models stay."""

from __future__ import annotations

import time
from typing import Any

import click

from supervisor.printable import printable
from supervisor.units import format_seconds

from .asking import asks, examples, names, said, word
from .client import Client


@click.command(
    epilog=examples(
        "ullage pin qwen3:8b",
        "ullage pin ollama/qwen3:8b --for 2h",
    )
)
@click.argument("model", shell_complete=names("installed"))
@click.option("--for", "period", metavar="TIME", help="Until then it stays; usually for ever.")
@click.option("--dry-run", is_flag=True, help="Only say which model that is, and how it stands.")
@click.option("--json", "as_json", is_flag=True, help="The daemon's answer as it is.")
@asks()
def pin(client: Client, model: str, period: str | None, dry_run: bool, as_json: bool) -> None:
    """Never evict this model, until it is unpinned. One that is leaving stays."""
    if dry_run:
        answer = client.get("/api/v1/why", model=model)
        text = f"{answer.document['model']} would be pinned, and nobody would make it go"
        lines = (text, *answer.document["sentences"][:1])
        return click.echo(answer.text if as_json else "\n".join(map(said, lines)))
    answer = client.post("/api/v1/pin", model=model, **{"for": period})
    if as_json:
        return click.echo(answer.text)
    found = answer.document
    name, until = printable(found.get("pinned", model)), found.get("until")
    if until is None:
        return click.echo(f"{name} is pinned: it stays until `ullage unpin {word(name)}`")
    clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(until))
    return click.echo(f"{name} is pinned until {clock}, or `ullage unpin {word(name)}`")


@click.command(epilog=examples("ullage unpin qwen3:8b"))
@click.argument("model", shell_complete=names("pins"))
@click.option("--json", "as_json", is_flag=True, help="The daemon's answer as it is.")
@asks()
def unpin(client: Client, model: str, as_json: bool) -> None:
    """Take a pin back."""
    answer = client.post("/api/v1/unpin", model=model)
    if as_json:
        return click.echo(answer.text)
    name = answer.document.get("unpinned", model)
    return click.echo(f"{printable(name)} is no longer pinned")


@click.command(
    epilog=examples(
        "ullage retention on_demand --model qwen3:8b  # it goes with its last user",
        "ullage retention keep_alive 30m --engine ollama",
        "ullage retention keep_alive -1               # of the host: never by idleness",
        "ullage retention reset --model qwen3:8b      # as it is configured",
        "ullage retention                             # what is set",
    ),
    context_settings={"ignore_unknown_options": True},  # -1 is a time here
)
@click.argument("what", required=False,
                type=click.Choice(["pinned", "on_demand", "keep_alive", "reset"]))  # fmt: skip
@click.argument("time", required=False, type=click.UNPROCESSED)
@click.option("--model", metavar="MODEL", help="Of this model.", shell_complete=names("installed"))
@click.option("--engine", metavar="ENGINE", help="Of the models of this engine.")
@click.option("--json", "as_json", is_flag=True, help="The daemon's answer as it is.")
@asks()
def retention(
    client: Client,
    what: str | None,
    time: str | None,
    model: str | None,
    engine: str | None,
    as_json: bool,
) -> None:
    """Set how long models stay that nobody's memory is needed for, or show what was set.

    It counts at once, over the configuration, and until it is reset; without --model and --engine
    for the whole host.
    """
    if what is None:
        answer = client.get("/api/v1/retention")
        if as_json:
            return click.echo(answer.text)
        lines = [printable(f"{row['scope']}: {_said(row)}") for row in answer.document["retention"]]
        return click.echo("\n".join(lines) or "nothing is set: it is as it is configured")
    if time is not None and what != "keep_alive":
        raise click.UsageError("a TIME goes with keep_alive alone")
    said: dict[str, Any] = {"reset": True} if what == "reset" else {"retention": what}
    answer = client.post("/api/v1/retention", model=model, engine=engine, keep_alive=time, **said)
    if as_json:
        return click.echo(answer.text)
    found = answer.document
    if what == "reset":
        return click.echo(f"{printable(found['scope'])}: as it is configured")
    return click.echo(f"{printable(found['scope'])}: {_said(found)}")


def _said(row: dict[str, Any]) -> str:
    keep = row["keep_alive"]
    if keep is None:
        return str(row["retention"])
    return f"{row['retention']} {'for ever' if keep < 0 else format_seconds(keep)}"
