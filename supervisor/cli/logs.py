"""`ullage logs`: what the process of a model wrote last, and what it writes."""

from __future__ import annotations

import time
from collections.abc import Sequence

import click

from supervisor.printable import printable

from .asking import asks, names
from .client import Client, ClientError

EVERY = 1.0  # seconds between two looks
WINDOW = 1000  # lines that are looked through for those that are new


@click.command(
    epilog="\b\nExamples:\n  ullage logs qwen3:8b\n  ullage logs qwen3:8b -n 500\n"
    "  ullage logs -f qwen3:8b\n  ullage logs qwen3:8b --json | jq -r '.lines[]'"
)
@click.argument("model", shell_complete=names("installed"))
@click.option("-n", "--lines", type=click.IntRange(1, 10_000), default=50, show_default=True,
              help="How many, the newest last.")  # fmt: skip
@click.option("-f", "--follow", is_flag=True, help="Go on as more is written, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="The daemon's answer as it is.")
@asks()
def logs(client: Client, model: str, lines: int, follow: bool, as_json: bool) -> None:
    """Show what the process of a model wrote. Of engines that are ours to start."""
    if as_json and follow:
        raise click.UsageError("--follow is for people; ask with --json as often as you like")
    asked = max(WINDOW, lines) if follow else lines
    answer = client.get("/api/v1/logs", model=model, lines=asked)
    if as_json:
        return click.echo(answer.text)
    seen: Sequence[str] = answer.document["lines"]
    for line in seen[-lines:]:
        click.echo(printable(line))
    if follow:
        try:
            while True:
                seen = _go_on(client, model, seen)
                time.sleep(EVERY)
        except KeyboardInterrupt:
            pass
    return None


def _go_on(client: Client, model: str, seen: Sequence[str]) -> Sequence[str]:
    """Show what has been added to `seen`. Returns what has been seen now."""
    try:
        now: Sequence[str] = client.get("/api/v1/logs", model=model, lines=WINDOW).document["lines"]
    except ClientError:
        return seen  # a daemon that is started anew goes on with the same log
    for line in added(seen, now):
        click.echo(printable(line))
    return now


def added(before: Sequence[str], now: Sequence[str]) -> Sequence[str]:
    """Which of the last lines have come since: what is left of them after all that is known."""
    for common in range(min(len(before), len(now)), 0, -1):
        if before[-common:] == now[:common]:
            return now[common:]
    return now
