"""`ullage audit`: who changed what, and who was refused."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import click

from .asking import WRONG, Trouble, asks, examples, said
from .client import Client

MOST = 1000


@click.command(epilog=examples(
    "ullage audit",
    "ullage audit --since 1d --who ci",
    "ullage audit --json | jq -r '.entries[] | select(.result == \"refused\") | .address'",
))  # fmt: skip
@click.option("-n", "--limit", type=click.IntRange(1, MOST), default=20, show_default=True,
              help="How many, the latest.")  # fmt: skip
@click.option("--since", metavar="TIME", help="Only those of this last time, as 1h or 7d.")
@click.option("--who", metavar="NAME", help="Only of this one: a token's name, local, socket, …")
@click.option("--json", "as_json", is_flag=True, help="The daemon's answer as it is.")
@asks()
def audit(client: Client, limit: int, since: str | None, who: str | None, as_json: bool) -> None:
    """List who changed what, who was refused, and what came of it, the newest last.

    What repeats itself is one line: (5 times).
    """
    answer = client.get("/api/v1/audit", limit=limit, since=_since(since), who=who)
    if as_json:
        return click.echo(answer.text)
    rows = answer.document["entries"]
    for row in reversed(rows):
        click.echo(said(line(row)))
    if not rows:
        click.echo("nothing of that kind is known", err=True)
    return None


def line(row: Mapping[str, Any]) -> str:
    """One entry: when, who from where, what, and what came of it."""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row["last_at"]))
    where = "" if row["address"] is None else f" at {row['address']}"
    page = " by the page" if row["via"] == "page" else ""
    told = " ".join(row[k] for k in ("what", "target", "wish") if row[k])
    came = row["result"] if row["status"] is None else f"{row['result']} ({row['status']})"
    why = f": {row['why']}" if row["why"] else ""
    times = f" ({row['times']} times)" if row["times"] > 1 else ""
    decided = f" [{', '.join(row['decisions'])}]" if row["decisions"] else ""
    return f"{when}  {row['who']}{where}{page}: {told}: {came}{why}{times}{decided}"


def _since(text: str | None) -> float | None:
    if text is None:
        return None
    from supervisor.units import UnitError, parse_duration

    try:
        return time.time() - parse_duration(text)
    except UnitError as error:
        raise Trouble(WRONG, f"--since: {error}", [], "ullage audit --since 1h") from None
