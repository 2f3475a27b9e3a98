"""Standing back for a while: `ullage pause`, `continue`, `drain`, `undrain`, `release` and
`resume`."""

from __future__ import annotations

import time
from typing import Any

import click

from supervisor.printable import printable

from .asking import asks, examples, names, said, tell
from .client import Client

FOR = "Take it back by itself after this long."


@click.command(epilog=examples("ullage pause", "ullage pause --for 10m; ullage continue"))
@click.option("--for", "period", metavar="TIME", help=FOR)
@click.option("--json", "as_json", is_flag=True, help="The daemon's answer as it is.")
@asks()
def pause(client: Client, period: str | None, as_json: bool) -> None:
    """Unload and load nothing of its own accord, until `ullage continue`.

    What is asked for at the command line is done all the same; the gateway refuses models that are
    not loaded.
    """
    tell(client.post("/api/v1/pause", **{"for": period}), as_json)


@click.command("continue", epilog=examples("ullage continue"))
@click.option("--json", "as_json", is_flag=True, help="The daemon's answer as it is.")
@asks()
def continue_(client: Client, as_json: bool) -> None:
    """End a pause."""
    answer = client.delete("/api/v1/pause")
    tell(answer, as_json, nothing="it goes on: memory is looked after again")


@click.command(epilog=examples(
    "ullage drain ollama              # before it is updated",
    "ullage drain ollama --for 30m --keep-loaded",
    "ullage drain                     # every engine: before the machine is shut down",
))  # fmt: skip
@click.argument("engine", required=False, shell_complete=names("engines"))
@click.option("--for", "period", metavar="TIME", help=FOR)
@click.option("--keep-loaded", is_flag=True, help="Its models stay when nobody uses them any more.")
@click.option("--json", "as_json", is_flag=True, help="The daemon's answer as it is.")
@asks()
def drain(
    client: Client, engine: str | None, period: str | None, keep_loaded: bool, as_json: bool
) -> None:
    """Send an engine nothing new, let it finish, then unload its models. Without ENGINE: every
    engine."""
    given: dict[str, Any] = {"engine": engine, "for": period, "unload": not keep_loaded}
    tell(client.post("/api/v1/drain", **given), as_json)


@click.command(epilog=examples("ullage undrain ollama", "ullage undrain"))
@click.argument("engine", required=False, shell_complete=names("engines"))
@click.option("--json", "as_json", is_flag=True, help="The daemon's answer as it is.")
@asks()
def undrain(client: Client, engine: str | None, as_json: bool) -> None:
    """Let requests go to an engine again. Without ENGINE: what was said of every engine."""
    given = {} if engine is None else {"engine": engine}
    answer = client.delete("/api/v1/drain", **given)
    who = "every engine" if engine is None else engine
    tell(answer, as_json, nothing=f"{printable(who)} takes requests again")


@click.command(epilog=examples(
    "ullage release && sudo nvidia-smi --gpu-reset; ullage resume",
    "ullage release --for 30m",
))  # fmt: skip
@click.option("--for", "period", metavar="TIME", default="10m", show_default=True,
              help="Take them back after this long.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="The daemon's answer as it is.")
@asks()
def release(client: Client, period: str, as_json: bool) -> None:
    """Let go of the GPUs, so that they can be reset or split anew.

    Their memory is not read meanwhile: nothing is loaded there and nobody evicted for it.
    """
    answer = client.post("/api/v1/release", period=period)
    if as_json:
        return click.echo(answer.text)
    names = ", ".join(said(n) for n in answer.document["released"])
    until = time.strftime("%H:%M:%S", time.localtime(answer.document["until"]))
    return click.echo(f"released: {names}, until {until}; `ullage resume` takes them back sooner")


@click.command(epilog=examples("ullage resume"))
@click.option("--json", "as_json", is_flag=True, help="The daemon's answer as it is.")
@asks()
def resume(client: Client, as_json: bool) -> None:
    """Take the GPUs back that were released."""
    answer = client.post("/api/v1/resume")
    if as_json:
        return click.echo(answer.text)
    names = ", ".join(map(said, answer.document["resumed"]))
    return click.echo(f"resumed: {names}" if names else "nothing was released")
