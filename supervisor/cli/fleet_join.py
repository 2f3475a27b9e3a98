"""`ullage fleet join` and `resources`: what brings a host into a fleet."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .asking import FAILED, INVALID, REFUSED, Trouble, asks, examples
from .client import Client

if TYPE_CHECKING:
    from supervisor.config.config import Config

_TRY = {
    "refused": "ullage doctor · deploy/fleet.md",
    "taken": "fleet.name in the configuration of one of the two",
    "resources": "ullage fleet resources",
}


@click.command(epilog=examples(
    "ullage fleet join",
    "ullage fleet join --alone                  # the agent without a fleet, to try commands",
))  # fmt: skip
@click.option("--config", metavar="FILE", type=click.Path(path_type=Path), help="The settings.")
@click.option("--alone", is_flag=True, help="Without Ray: a fleet of this host alone.")
@click.option("--node-ip", metavar="IP", help="Which of several nodes of Ray on this machine.")
def join(config: Path | None, alone: bool, node_ip: str | None) -> None:
    """Run the agent that brings this host into the fleet, beside the daemon.

    It goes on without Ray, and joins again by itself. Ends by SIGTERM.
    """
    import asyncio

    from supervisor.agent.running import Given, serve
    from supervisor.listen import ListenError
    from supervisor.telemetry import logs

    found = _load(config)
    logs.begin(found)
    try:
        refused = asyncio.run(serve(found, Given(alone, node_ip)))
    except ListenError as error:
        raise Trouble(FAILED, str(error), ["an agent runs here already"], "fleet.socket") from None
    if refused is not None:
        what = "this host does not join"
        raise Trouble(REFUSED, what, [refused.detail], _TRY.get(refused.code, ""))


def _load(file: Path | None) -> Config:
    from supervisor.config.config import ConfigError, load
    from supervisor.engines import ENGINES

    try:
        found = load(file, os.environ, {}, kinds=frozenset(ENGINES))
    except ConfigError as error:
        what = "the configuration has mistakes"
        raise Trouble(INVALID, what, [str(p) for p in error.problems],
                      "ullage config check") from None  # fmt: skip
    if not found.fleet.said:
        why = ["it has no table [fleet]: not even what this host is called there"]
        raise Trouble(INVALID, "this host is not configured for a fleet", why,
                      "[fleet] with name = \"gpu1\", for the daemon too") from None  # fmt: skip
    return found


# What a pool is called that nobody could ever read: by who reads it, and by a number.
UNREAD = frozenset({"nvidia", "amd", "intel", "npu"})


@click.command(epilog=examples(
    'ray start --address=10.0.0.1:6379 "--resources=$(ullage fleet resources --json)"',
))  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="The value alone.")
@asks()
def resources(client: Client, as_json: bool) -> None:
    """Print what Ray's node of this host is to be started with: the bytes that may be promised."""
    from collectors.reading import RAM
    from supervisor.agent.resource import resource
    from supervisor.fleet.ledger import capacity, counted
    from supervisor.fleet.words import read_word

    pools = client.get("/api/v1/state").document["pools"]  # first: what was read by then is in both
    try:
        word = read_word(client.get("/api/v1/fleet/word").document)
    except ValueError as error:
        raise Trouble(FAILED, "the daemon's word is not understood", [str(error)],
                      "ullage version") from None  # fmt: skip
    if not word.host:
        raise Trouble(INVALID, "this host has no name in a fleet", ["fleet.name is not set"])
    blind = {row["id"]: row["blind"] for row in pools if row["blind"]}
    unread = {id: said for id, said in blind.items() if id in UNREAD}
    if counted(word) == {RAM}:  # of several, one may stay dead for ever, and the others count
        unread |= {id: said for id, said in blind.items() if id.partition(":")[0] in UNREAD}
    if unread:
        # Ray's node keeps what it was started with: RAM in place of GPUs would count for ever.
        why = [f"{name}: {said}" for name, said in sorted(unread.items())]
        raise Trouble(REFUSED, f"{word.host} does not know its accelerators yet", why,
                      "the same again in a while, or ullage doctor")  # fmt: skip
    mib = capacity(word) // 2**20
    if not mib:
        why = ["nothing can be promised: what holds models here cannot be read"]
        raise Trouble(REFUSED, f"{word.host} has no pools", why, "ullage doctor")
    value = json.dumps({resource(word.host): mib})
    click.echo(value if as_json else f"--resources={shlex.quote(value)}")
