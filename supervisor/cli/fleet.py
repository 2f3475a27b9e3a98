"""`ullage fleet`: what the agent of this host knows of all others, and what it does for them.

It is asked over its own Unix socket. Where there is none, this host is shown alone, by its daemon.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import wraps
from typing import Any

import click
from click.shell_completion import CompletionItem

from .asking import (
    FAILED,
    LOAD_TIMEOUT,
    NO_DAEMON,
    REFUSED,
    UNKNOWN,
    WRONG,
    Trouble,
    asks,
    draw,
    examples,
    said,
)
from .client import Answer, Barred, Client, NoDaemon, Refused
from .commands import Named
from .fleet_join import join, resources

VARIABLE = "ULLAGE_FLEET_SOCKET"
DRAINED = "it is drained"  # fleet.hosts.DRAINED, which would import half of the daemon's nouns
SOON = 0.3  # seconds, for names that are completed
_CODES = {404: UNKNOWN, 409: REFUSED, 422: WRONG, 400: WRONG}


@click.group(cls=Named, epilog=examples(
    "ullage fleet status",
    "ullage fleet place qwen3:8b --dry-run      # where would it be, and why there?",
    "ullage fleet drain gpu2                    # before it is updated",
))  # fmt: skip
def fleet() -> None:
    """See the hosts of a fleet, and place models on them.

    Each host goes on deciding alone; the agent beside each tells them of one another.
    """


def _asks(timeout: float = 10.0) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command the Client of the agent beside that of the daemon."""

    def around(command: Callable[..., None]) -> Callable[..., None]:
        @click.option("--agent", metavar="PATH", help="The agent's socket; usually as configured.")
        @click.option("--json", "as_json", is_flag=True, help="The agent's answer as it is.")
        @asks(timeout)
        @wraps(command)
        def inner(client: Client, agent: str | None, **given: Any) -> None:
            path = agent or os.environ.get(VARIABLE) or _configured()
            command(client=client, agent=Client(socket=path, timeout=client.timeout), **given)

        return inner

    return around


def _configured() -> str:
    """Where the configuration puts the socket. One that cannot be read says nothing of it: then it
    is where it would be without."""
    from supervisor.config.config import ConfigError, default_state_dir, load
    from supervisor.config.fleet import SOCKET
    from supervisor.engines import ENGINES

    try:
        return str(load(None, os.environ, {}, kinds=frozenset(ENGINES)).fleet.socket)
    except ConfigError:
        return str(default_state_dir(os.environ, root=os.geteuid() == 0)[0] / SOCKET)


def _known(client: Client, agent: Client) -> Answer:
    """The fleet; where no agent answers, this host alone. Raises ClientError, Trouble."""
    try:
        return agent.get("/fleet")
    except Barred as error:
        raise _barred(error) from None
    except NoDaemon:
        word = client.get("/api/v1/fleet/word").document
        host = {"word": word, "heard": 0.0, "presence": "here"}
        if word["rests"] == DRAINED:
            host["presence"] = "drained"
        directory = {"at": 0.0, "hosts": [host], "promises": []}
        found = {"self": word["host"], "backend": "single", "connected": False, "trouble": [],
                 "directory": directory}  # fmt: skip
        return Answer(json.dumps(found), found)


def _refusal(error: Refused) -> Trouble:
    """What the agent refused, with the hosts that it has considered."""
    from .show_fleet import notes

    why = error.problem.get("sentences")
    lines = [str(s) for s in why if s != error.what] if isinstance(why, list) else []
    hosts = error.problem.get("notes")
    if not lines and isinstance(hosts, list):
        lines = [line.strip() for line in notes(hosts)]
    near = f"did you mean {' or '.join(error.closest)}?" if error.closest else ""
    code = _CODES.get(error.status, FAILED)
    try_ = "ullage fleet models" if error.status == 404 else "ullage fleet status"
    return Trouble(code, error.what, [near, error.why, *lines], try_)


def _barred(error: Barred) -> Trouble:
    """Who may not open the socket does not know whether there is a fleet."""
    try_ = "run as a user who may open it: root, or one of listen.socket_group"
    return Trouble(NO_DAEMON, "the agent's socket may not be opened", [error.why], try_)


def _ask(ask: Callable[[], Answer]) -> Answer:
    """An answer of the agent's. Raises Trouble where it has none to give."""
    try:
        return ask()
    except Refused as error:
        raise _refusal(error) from None
    except Barred as error:
        raise _barred(error) from None
    except NoDaemon as error:
        why = [error.why, "this host is in no fleet, or its agent does not run"]
        raise Trouble(NO_DAEMON, "no agent of a fleet answers here", why,
                      "ullage fleet join · --agent PATH") from None  # fmt: skip


# -- looking


def _look(client: Client, agent: Client, as_json: bool, page: str) -> None:
    try:
        answer = _known(client, agent)
    except Refused as error:
        raise _refusal(error) from None
    if as_json:
        return click.echo(answer.text)
    from . import bars, show_fleet

    shown: Callable[..., str] = getattr(show_fleet, page)
    return draw(shown(answer.document, bars.screen()))


@fleet.command(epilog=examples("ullage fleet status", "ullage fleet status --json | jq .trouble"))
@_asks()
def status(client: Client, agent: Client, as_json: bool) -> None:
    """Show who is there, what each has left, what is promised, and what is wrong."""
    _look(client, agent, as_json, "status")


@fleet.command(epilog=examples("ullage fleet hosts"))
@_asks()
def hosts(client: Client, agent: Client, as_json: bool) -> None:
    """List the pools of every host: headroom by its own word, and what the ledger has promised."""
    _look(client, agent, as_json, "hosts")


@fleet.command(epilog=examples("ullage fleet models"))
@_asks()
def models(client: Client, agent: Client, as_json: bool) -> None:
    """List the models of all hosts: where each is ready, where it could be, what spans hosts."""
    _look(client, agent, as_json, "models")


# -- names for TAB


def _names(kind: str) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    def complete(
        ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from .show_fleet import models_of

        try:
            path = ctx.params.get("agent") or os.environ.get(VARIABLE) or _configured()
            directory = Client(socket=path, timeout=SOON).get("/fleet").document["directory"]
            found = [h["word"]["host"] for h in directory["hosts"]]
            if kind == "models":
                found = [row["name"] for row in models_of(directory)]
        except Exception:  # whoever presses TAB wants names or silence
            return []
        return [CompletionItem(n) for n in found if n.startswith(incomplete) and n.isprintable()]

    return complete


# -- doing


@fleet.command(epilog=examples(
    "ullage fleet place qwen3:8b",
    "ullage fleet place qwen3:8b --dry-run --avoid gpu2",
))  # fmt: skip
@click.argument("model", shell_complete=_names("models"))
@click.option("--dry-run", is_flag=True, help="Say where it would be, and load nothing.")
@click.option("--within", metavar="TIME", help="How long to wait for a place, as 30s.")
@click.option("--avoid", multiple=True, metavar="HOST", help="Not there; may be said again.",
              shell_complete=_names("hosts"))  # fmt: skip
@_asks(LOAD_TIMEOUT)
def place(
    client: Client,
    agent: Client,
    model: str,
    dry_run: bool,
    within: str | None,
    avoid: tuple[str, ...],
    as_json: bool,
) -> None:
    """Find the host for a model: where it is ready, else where its load costs least.

    One that spans hosts is brought up on all of them, which is waited for unless --within says how
    long.
    """
    given: dict[str, Any] = {"model": model, "dry": dry_run, "avoid": list(avoid)}
    if within is not None:
        given["within"] = _seconds("--within", within)
    answer = _ask(lambda: agent.post("/place", **given))
    if as_json:
        return click.echo(answer.text)
    from .show_fleet import placed

    return click.echo("\n".join(placed(answer.document)))


@fleet.command(epilog=examples("ullage fleet drain gpu2", "ullage fleet drain gpu2 --for 30m"))
@click.argument("host", shell_complete=_names("hosts"))
@click.option("--for", "period", metavar="TIME", help="Take it back by itself after this long.")
@_asks()
def drain(client: Client, agent: Client, host: str, period: str | None, as_json: bool) -> None:
    """Place nothing more on a host; its models leave when nobody uses them any more."""
    given: dict[str, Any] = {"host": host}
    if period is not None:
        given["for"] = _seconds("--for", period)
    _done(_ask(lambda: agent.post("/drain", **given)), as_json, f"{host} is drained: nothing is"
          f" placed there; `ullage fleet undrain {host}` ends it")  # fmt: skip


@fleet.command(epilog=examples("ullage fleet undrain gpu2"))
@click.argument("host", shell_complete=_names("hosts"))
@_asks()
def undrain(client: Client, agent: Client, host: str, as_json: bool) -> None:
    """Let models be placed on a host again."""
    answer = _ask(lambda: agent.delete("/drain", host=host))
    _done(answer, as_json, f"{host} takes part again")


@fleet.command(epilog=examples("ullage fleet why", "ullage fleet why qwen3:8b -n 3"))
@click.argument("model", required=False, shell_complete=_names("models"))
@click.option("-n", "--limit", type=click.IntRange(1, 1000), default=10, show_default=True,
              help="How many, newest first.")  # fmt: skip
@_asks()
def why(client: Client, agent: Client, model: str | None, limit: int, as_json: bool) -> None:
    """Say where models were placed lately, and why not on another host."""
    answer = _ask(lambda: agent.get("/why", model=model, limit=limit))
    if as_json:
        return click.echo(answer.text)
    from .show_fleet import why as told

    return draw(told(answer.document))


def _done(answer: Answer, as_json: bool, plain: str) -> None:
    sentences = answer.document.get("sentences")
    lines = [said(s) for s in sentences] if isinstance(sentences, list) else []
    click.echo(answer.text if as_json else "\n".join(lines or [said(plain)]))


def _seconds(option: str, text: str) -> float:
    from supervisor.units import UnitError, parse_duration

    try:
        return parse_duration(text)
    except UnitError as error:
        raise Trouble(WRONG, f"{option}: {error}") from None


fleet.add_command(join)
fleet.add_command(resources)
