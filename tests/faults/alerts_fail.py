"""An alert is told of again and again, also to the next daemon: it acts once."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx

from tests.faults.bench import NORMAL, Bench
from tests.faults.history import Deed
from tests.faults.registry import fault

TOLD = 40  # times
ACTION = """
[alerts]
limit = "1000/10m"
[alerts.actions.make-room]
action = "evict"
match = { alertname = "Full*" }
below = "100%"
free = "40%"
"""


def acting(bench: Bench) -> None:
    bench.tables += ACTION


def _body(episode: str) -> dict[str, object]:
    fingerprint, began = episode.split(" ")
    labels = {"alertname": f"Full-{fingerprint}", "pool": "GPU-aaaa"}
    alert = {"status": "firing", "labels": labels, "startsAt": began, "fingerprint": fingerprint}
    return {"alerts": [alert]}


async def _tell(bench: Bench, episode: str) -> None:
    """To whoever is there; who is not answered tells it again."""
    try:
        reply = await bench.daemon.post("alerts", _body(episode))
    except httpx.HTTPError:
        return
    if reply.status_code not in (202, 503):
        bench.history.say("alert", f"{reply.status_code}: {reply.text[:200]}")


@fault("an alert is told of again and again, over a SIGKILL", 6, 8.0, adapt=acting, together=3)
async def told_again(bench: Bench) -> None:
    history, dice = bench.history, bench.people.dice
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
    episode = f"f{len(history.troubles)} {stamp}.000Z"
    async with bench.trouble("an alert, and SIGKILL", daemon=True) as trouble:
        telling = [asyncio.create_task(_tell(bench, episode)) for _ in range(TOLD)]
        await asyncio.sleep(dice.random() / 2)
        await bench.kill()
        await asyncio.gather(*telling)
        trouble.lifted = history.now()
        await bench.launch()
        await asyncio.gather(*(_tell(bench, episode) for _ in range(TOLD)))

    async def over() -> bool:
        rows = await _rows(bench, episode)
        return bool(rows) and all(row["outcome"] is not None for row in rows)

    await bench.within(NORMAL, over, "what became of the alert")
    name = f"Full-{episode.split(' ')[0]}"
    for decision in await bench.daemon.decisions():
        if name in str(decision["cause"]):
            history.deeds.append(Deed(history.now(), episode, decision["id"]))
    rows = await _rows(bench, episode)
    if len(rows) != 1 or rows[0]["action"] != "make-room":
        history.say("alert", f"what is listed of it: {rows}")


async def _rows(bench: Bench, episode: str) -> list[dict[str, Any]]:
    rows = (await bench.daemon.get("alerts"))["alerts"]
    return [row for row in rows if row["fingerprint"] == episode.split(" ")[0]]
