"""`python -m tests.agent.faults [--seeds 1-10]`: random faults on real Ray, no double placement.

While three people ask for models at three agents, processes of the hosts are killed, or stand still
and go on later as if nothing had been. Of every load that began, it is looked where the model was.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.agent import apart
from tests.agent.cluster import Cluster, Host, Row, send

MODELS = 12  # small: nobody has to leave for one
LENGTH = 30.0  # seconds in which faults begin
STILL = (0.5, 8.0)  # seconds for which a process stands still: shorter and longer than `lost`
PEOPLE = 3
LOOK, SEEN = 0.2, 1.0  # seconds between two looks at who is lost, and how late one may see it


Gone = tuple[float, str]  # when somebody had a host as lost, or its models were gone with it


@dataclass(slots=True)
class Schedule:
    cluster: Cluster
    seed: int
    faults: list[str] = field(default_factory=list)
    gone: list[Gone] = field(default_factory=list)
    placed: int = 0
    queued: int = 0

    async def run(self) -> Row:
        """All is well again at its end. Raises AssertionError where a model was placed twice."""
        loads = len(self.cluster.loads())
        picks = random.Random(self.seed)
        models = [f"s{self.seed}m{i}:8b" for i in range(MODELS)]
        watch = asyncio.create_task(self.watch())
        people = [asyncio.create_task(self.person(random.Random(f"{self.seed}.{i}"), models))
                  for i in range(PEOPLE)]  # fmt: skip
        end = time.monotonic() + LENGTH
        while time.monotonic() < end:
            await self.fault(picks)
            await asyncio.sleep(picks.uniform(0.5, 4.0))
        await self.cluster.whole()  # without a hand
        for task in (watch, *people):
            task.cancel()
        await asyncio.gather(watch, *people, return_exceptions=True)
        rows = self.cluster.loads()[loads:]
        assert doubles(rows, self.gone) == [], (doubles(rows, self.gone), self.faults)
        return {"seed": self.seed, "loads": len(rows), "placed": self.placed,
                "queued": self.queued, "faults": self.faults}  # fmt: skip

    async def person(self, picks: random.Random, models: list[str]) -> None:
        while True:
            host = picks.choice(list(self.cluster.hosts.values()))
            with suppress(httpx.HTTPError, OSError, ValueError):
                status, _ = await host.place(picks.choice(models), within=picks.uniform(0.0, 5.0))
                self.placed += status == 200
                self.queued += status == 409
            await asyncio.sleep(picks.uniform(0.05, 0.6))

    async def fault(self, picks: random.Random) -> None:
        """The head of Ray stays: without it nothing is placed at all, and a story tells of that."""
        host = picks.choice(list(self.cluster.hosts.values()))
        what = picks.choice(("agent", "driver", "actor", "daemon", "still", "still", "still"))
        if what == "still":
            what = await self.still(host, picks)
        elif what == "driver":
            send(host.find("agent", "supervisor.agent.rayed"), signal.SIGKILL)
        elif what == "actor":
            send(host.actors(), signal.SIGKILL)
        else:
            host.kill(what)
            if what == "daemon":  # and its models with it
                self.gone.append((time.monotonic(), host.name))
            await asyncio.sleep(picks.uniform(0.0, 3.0))
            await host.start(what)
        self.faults.append(f"{what} {host.name}")

    async def still(self, host: Host, picks: random.Random) -> str:
        """It goes on with what it believes, later."""
        which = picks.choice(("agent", "driver", "actor", "daemon", "all"))
        found = {
            "agent": host.tree("agent")[:1],
            "driver": host.find("agent", "supervisor.agent.rayed"),
            "actor": host.actors(),
            "daemon": host.tree("daemon"),
            "all": [*host.tree("agent"), *host.tree("daemon"), *host.actors()],
        }[which]
        send(found, signal.SIGSTOP)
        await asyncio.sleep(picks.uniform(*STILL))
        send(found, signal.SIGCONT)
        return f"still {which}"

    async def watch(self) -> None:
        """Who is lost, as any of the agents has it."""
        while True:
            for host in self.cluster.hosts.values():
                with suppress(httpx.HTTPError, OSError):
                    reply = await host.client.get("/fleet", timeout=0.3)
                    for each in reply.json()["directory"]["hosts"]:
                        if each["presence"] == "lost":
                            self.gone.append((time.monotonic(), each["word"]["host"]))
            await asyncio.sleep(LOOK)


def doubles(rows: list[Row], gone: list[Gone]) -> list[tuple[Row, Row]]:
    """Loads of a model while another host had it that was not given up by anybody meanwhile."""
    return [
        (former, later)
        for i, later in enumerate(rows)
        for former in rows[:i]
        if former["model"] == later["model"]
        and former["host"] != later["host"]
        and not any(
            host == former["host"] and former["at"] < at < later["at"] + SEEN for at, host in gone
        )
    ]


def seeds(text: str) -> list[int]:
    first, _, last = text.partition("-")
    return list(range(int(first), int(last or first) + 1))


async def play(folder: Path, asked: argparse.Namespace) -> list[Row]:
    cluster = Cluster(folder)
    models = [{"name": f"s{s}m{i}:8b", "gib": 0.25, "load": 0.5}
              for s in asked.seeds for i in range(MODELS)]  # fmt: skip
    for name in ("a", "b", "c"):
        cluster.host(name, {"gib": 80, "models": models})
    await cluster.start()
    rows: list[Row] = []
    for seed in asked.seeds:
        try:
            rows.append({"ok": True, **await Schedule(cluster, seed).run()})
        except Exception:
            rows.append({"ok": False, "seed": seed, "why": traceback.format_exc()})
        print(json.dumps(rows[-1]), flush=True)
        if not rows[-1]["ok"]:
            break
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.agent.faults", description=__doc__)
    parser.add_argument("--seeds", type=seeds, default=seeds("1-10"))
    apart.main("tests.agent.faults", parser, play)
