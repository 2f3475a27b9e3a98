"""`ullage health`: a probe's question, answered by the exit code."""

from __future__ import annotations

import click

from .asking import asks, examples
from .client import Client

TIMEOUT = 5.0  # seconds: what lives answers from memory


@click.command(epilog=examples(
    "ullage health                           # does the daemon live?",
    "ullage health --ready                   # does it also see the machine?",
    "ullage health --ready --timeout 1s",
))  # fmt: skip
@click.option("--ready", is_flag=True, help="Ask also whether it sees the machine.")
@click.option("--json", "as_json", is_flag=True, help="The daemon's answer as it is.")
@asks(timeout=TIMEOUT)
def health(client: Client, ready: bool, as_json: bool) -> None:
    """Say whether the daemon lives: for probes of containers. Needs no token.

    A daemon that lives and sees nothing is not cured by a restart: ask --ready where that only
    keeps work away from it."""
    answer = client.get("/readyz" if ready else "/healthz")
    click.echo(answer.text if as_json else "ready" if ready else "it answers")
