"""`ullage alerts`: which alerts came in, and what became of each."""

from __future__ import annotations

import click

from .asking import asks, draw, examples
from .client import Client


@click.command(epilog=examples(
    "ullage alerts -n 5",
    "ullage alerts --json | jq '.alerts[] | select(.outcome == \"disagreed\") | .detail'",
))  # fmt: skip
@click.option("-n", "--limit", type=click.IntRange(1, 1000), default=20, show_default=True,
              help="How many, newest first.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="The daemon's answer as it is.")
@asks()
def alerts(client: Client, limit: int, as_json: bool) -> None:
    """List the alerts that came in, what became of each, and what holds because of them.

    Whether each of them was acted on, and why not, is here; `ullage decisions` has all that was
    decided. What alerts may do is said in the configuration: [alerts.actions.NAME].
    """
    answer = client.get("/api/v1/alerts", limit=limit)
    if as_json:
        return click.echo(answer.text)
    from time import time

    from . import bars, show_alerts

    return draw(show_alerts.page(answer.document, time(), bars.screen()))
