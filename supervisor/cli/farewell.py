"""Waits at the command line for models that leave when their last user does."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import click

from supervisor.printable import printable

from .asking import LATE, REFUSED, Trouble, word
from .client import Client

EVERY = 1.0  # seconds between two looks


def wait(
    client: Client,
    models: Sequence[str],
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Returns when all have left. Raises Trouble when one stays after all, or it takes too long."""
    ends = clock() + client.timeout
    said: dict[str, int] = {}
    waiting = set(models)
    while waiting:
        rows = {m["name"]: m for m in client.get("/api/v1/models").document["models"]}
        for name in sorted(waiting):
            row = rows.get(name)
            if row is None or row["status"] == "sleeping":
                click.echo(f"{printable(name)} has left")
                waiting.discard(name)
            elif row["status"] == "unknown":  # its engine does not answer: neither gone nor kept
                continue
            elif row["status"] != "leaving":
                what = f"{name} stays: its unload was taken back"
                raise Trouble(REFUSED, what, [], f"ullage why {word(name)}")
            elif said.get(name) != row["contexts"]:
                said[name] = row["contexts"]
                text = f"waiting: {printable(name)} is leaving (contexts={row['contexts']})"
                click.echo(text, err=True)
        if not waiting:
            return
        if clock() >= ends:
            names = ", ".join(sorted(waiting))
            if not any(said.get(name) for name in waiting):
                try_ = f"ullage why {word(min(waiting))}"
                raise Trouble(LATE, f"{names}: still there, and nobody uses it", [], try_)
            why = "it goes when its last user does, whether anybody waits or not"
            raise Trouble(LATE, f"{names}: still in use", [why], "ullage evict --force")
        sleep(EVERY)
