"""`ullage adopt`: how Ullage takes an engine's place. Explains, and changes nothing."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from supervisor.printable import printable

from .asking import WRONG, Trouble, asks, examples
from .client import Client, ClientError

if TYPE_CHECKING:
    from .adopting import Recipe, System

PATIENCE = 1.0  # seconds for a daemon that may not run


@click.command(epilog=examples(
    "ullage adopt ollama",
    "ullage adopt ollama --print        # the file that moves it, and nothing else",
    "ullage adopt llamacpp --port 8080 --to 8090",
))  # fmt: skip
@click.argument("engine")
@click.option("--port", type=click.IntRange(1, 65535), help="Where it listens, if not as usual.")
@click.option("--to", type=click.IntRange(1, 65535), help="The port that it moves to.")
@click.option("--print", "bare", is_flag=True, help="Only the text that moves it.")
@click.option("--json", "as_json", is_flag=True, help="What was found and what to do, as JSON.")
@asks(timeout=PATIENCE)
def adopt(
    client: Client, engine: str, port: int | None, to: int | None, bare: bool, as_json: bool
) -> None:
    """Explain how Ullage takes an engine's place: its clients notice nothing.

    The engine moves to another port, and the gateway listens at its own. Nothing is changed here.
    """
    from . import adopting

    recipe = adopting.RECIPES.get(engine.lower())
    if recipe is None:
        known = f"it knows {', '.join(sorted(adopting.RECIPES))}"
        rest = "any other is moved in its own settings; then set gateway.port and engines.NAME.url"
        raise Trouble(WRONG, f"adopt does not know {engine}", [known, rest])
    port = port or recipe.port
    from .adopt_look import free_after

    to = to or free_after(port)
    if to == port:
        raise click.UsageError("--to is the port that it has; say another")
    seen = _look(client, recipe, port)
    found = adopting.way(recipe, seen, _system(), port, to)
    if bare:
        click.echo(found.drop_in, nl=False)
    elif as_json:
        click.echo(json.dumps({"engine": recipe.kind, "port": port, "to": to,
                               **adopting.row_of(found)}))  # fmt: skip
    else:
        click.echo(printable_lines(adopting.text_of(found, f"Adopting {recipe.title}")))


def printable_lines(text: str) -> str:
    """What was read on this machine may be anything."""
    return "\n".join(printable(line) for line in text.splitlines())


def _look(client: Client, recipe: Recipe, port: int) -> Any:
    from .adopt_look import look

    return look(recipe, port, name=_configured(port), ours=_is_ours(client, port))


def _is_ours(client: Client, port: int) -> bool:
    """Does a daemon that runs here have its gateway at this port?"""
    try:
        gateway = client.get("/api/v1/state").document.get("gateway") or {}
    except ClientError:
        return False
    return any(str(a).endswith(f":{port}") for a in gateway.get("addresses", ()))


def _configured(port: int) -> str | None:
    """What the configuration that would be read here calls the engine at this port."""
    from supervisor.config.config import ConfigError, load
    from supervisor.config.forms import is_loopback, split_url
    from supervisor.engines import ENGINES

    try:
        config = load(None, os.environ, {}, kinds=frozenset(ENGINES))
    except ConfigError:
        return None
    for engine in config.engines:
        if engine.url:
            _, host, own = split_url(engine.url)
            if own == port and is_loopback(host):
                return engine.id
    return None


def _system() -> System:
    from .adopting import System

    kinds = {system.value: system for system in System}
    return kinds.get(sys.platform, System.LINUX)
