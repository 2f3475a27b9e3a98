"""`ullage events`: what has happened, and what happens."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click

from supervisor.printable import printable

from .asking import WRONG, Trouble, asks, examples
from .client import Client

MOST = 2000  # events that a daemon keeps


class Kinds(click.ParamType[tuple[str, ...]]):
    name = "kinds"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        from difflib import get_close_matches

        from .happened import KINDS, SILENT

        known = (*KINDS, *SILENT)
        said = tuple(dict.fromkeys(k.strip().lower() for k in value.split(",") if k.strip()))
        for kind in said or ("",):
            if kind not in known:
                near = get_close_matches(kind, known, 1, 0.5)
                hint = f"did you mean {near[0]}?" if near else f"the kinds are {', '.join(known)}"
                raise Trouble(WRONG, f"--kinds: there are no events of the kind {kind!r}", [hint],
                              "ullage events --kinds decision,outcome")  # fmt: skip
        return said

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[Any]:
        from click.shell_completion import CompletionItem

        from .happened import KINDS, SILENT

        before, comma, begun = incomplete.rpartition(",")
        return [CompletionItem(f"{before}{comma}{k}") for k in (*KINDS, *SILENT) if
                k.startswith(begun)]  # fmt: skip


@click.command(epilog=examples(
    "ullage events                             # the latest",
    "ullage events -f --kinds decision,outcome",
    "ullage events -f --json | jq -c 'select(.kind == \"finding\")'",
))  # fmt: skip
@click.option("-f", "--follow", is_flag=True, help="Go on as they happen, until Ctrl-C.")
@click.option("-n", "--limit", type=click.IntRange(0, MOST), default=20, show_default=True,
              help="How many of those that have happened.")  # fmt: skip
@click.option("--kinds", type=Kinds(), metavar="A,B", help="Only these: model, engine, decision, …")
@click.option("--after", metavar="ID", help="Only those after the event of this id.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object a line.")
@asks()
def events(
    client: Client,
    follow: bool,
    limit: int,
    kinds: tuple[str, ...] | None,
    after: str | None,
    as_json: bool,
) -> None:
    """Tell what has happened, the newest last, and with -f what happens.

    Where the connection ends, it goes on after the last event that was shown.
    """
    from .happened import KINDS

    asked = ",".join(kinds or KINDS)
    last = after
    if not follow or (limit and after is None):
        given = client.get("/api/v1/events", limit=max(1, limit), after=after, kinds=asked)
        rows, last = given.document["events"], given.document["last"]
        for row in rows:
            _tell(row, as_json)
        if not rows and not follow and not as_json:
            click.echo("nothing has happened yet; with -f it is told as it does", err=True)
    if follow:
        _follow(client, asked, last, as_json)


def _follow(client: Client, kinds: str, after: str | None, as_json: bool) -> None:
    from . import following

    def lost(why: str) -> None:
        click.echo(f"ullage: the connection ended ({printable(why)}); trying again", err=True)

    shown = set(kinds.split(","))
    try:
        for event in following.follow(client, kinds, after, lost):
            if event.kind in shown or event.kind == "reset":
                _tell(event.row, as_json)
    except KeyboardInterrupt:
        pass


def _tell(row: Mapping[str, Any], as_json: bool) -> None:
    from .happened import line

    click.echo(json.dumps(row) if as_json else line(row))
