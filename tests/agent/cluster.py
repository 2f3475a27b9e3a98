"""Hosts of a fleet on one machine: of each a node of Ray, a daemon and an agent, as processes.

For inside a namespace of its own (see __main__.py): nothing listens beyond its loopback, and all
processes end with it. Each host has an address of its own there.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil

ROOT = Path(__file__).parents[2]
PORT = 6379
AGAIN = 1.0  # seconds after which a node that has ended is started again
POLL = 0.05  # seconds between two looks at other processes; every wait is bounded
PATIENCE = 150.0  # seconds; a node of Ray takes ten to start on a busy machine
# How soon Ray knows that a node is dead: as deploy/fleet.md has it. Much tighter, and a node that
# only has no CPU for two seconds is given up, with all that runs there.
HEALTH = {
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "5",
    "RAY_health_check_timeout_ms": "5000",
}
# What Ray starts may take its time on a busy machine: a node gives up without.
PATIENT = {
    "RAY_agent_register_timeout_ms": "120000",
    "RAY_raylet_start_wait_time_s": "120",
    "RAY_worker_register_timeout_seconds": "120",
}
Row = dict[str, Any]


class Host:
    """`kill` ends all of it at once, as a power cut does; `start` brings it back."""

    def __init__(self, cluster: Cluster, name: str, number: int, machine: Row) -> None:
        self.cluster, self.name, self.ip = cluster, name, f"127.0.0.{number}"
        self.head, self.number = number == 1, number
        self.folder = cluster.folder / name
        self.folder.mkdir()
        self.machine = machine
        self.processes: dict[str, Process] = {}
        self.kept = set[str]()  # what is to be there
        told = {"log": str(cluster.log), "address": f"http://{self.ip}:8553", "valid": 2.0}
        (self.folder / "machine.json").write_text(json.dumps({**told, **machine}))
        (self.folder / "ullage.toml").write_text(
            f'[listen]\nsocket = "{self.folder}/ullage.sock"\n'
            f'[fleet]\nname = "{name}"\nray = "127.0.0.1:{PORT}"\nvalid = "2s"\n'
        )
        self.mib = machine["gib"] * 1024
        self.client = self._client("fleet.sock")
        self.daemon = self._client("ullage.sock")

    def _client(self, name: str) -> httpx.AsyncClient:
        transport = httpx.AsyncHTTPTransport(uds=str(self.folder / name))
        return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=40)

    async def start(self, *what: str) -> None:
        """All of it, or "node", "daemon" and "agent"."""
        for each in what or ("node", "daemon", "agent"):
            self.processes[each] = await getattr(self, f"_start_{each}")()
            self.kept.add(each)

    async def _start_node(self) -> Process:
        (self.folder / "ray.log").unlink(missing_ok=True)
        resources = {f"ullage_mib:{self.name}": self.mib, **self.machine.get("more", {})}
        where = [f"--address=127.0.0.1:{PORT}"]
        if self.head:
            # Of nodes on one machine Ray believes that they are the head's, which runs already.
            (self.cluster.folder / "ray" / "ray_current_cluster").unlink(missing_ok=True)
            where = ["--head", f"--port={PORT}", "--include-dashboard=false",
                     "--no-monitor", f"--temp-dir={self.cluster.folder}/ray"]  # fmt: skip
        return await self.cluster.spawn(
            "ray", "start", "--block", *where, f"--node-ip-address={self.ip}", "--num-cpus=1",
            "--include-log-monitor=false", "--object-store-memory=80000000",
            f"--resources={json.dumps(resources)}", *self.ports(), out=self.folder / "ray.log",
        )  # fmt: skip

    def ports(self) -> list[str]:
        """Of those that it is to find by itself, Ray's node waits 15 s to hear, and ends."""
        names = ("dashboard-agent-grpc", "dashboard-agent-listen", "metrics-export",
                 "runtime-env-agent")  # fmt: skip
        first = 20000 + 10 * self.number
        return [f"--{name}-port={first + i}" for i, name in enumerate(names)]

    async def _start_daemon(self) -> Process:
        program = ("-m", "tests.agent.host", self.name, str(self.folder))
        return await self.cluster.spawn(sys.executable, *program, out=self.folder / "daemon.log")

    async def _start_agent(self) -> Process:
        return await self.cluster.spawn(
            sys.executable, "-m", "supervisor", "fleet", "join", "--node-ip", self.ip,
            "--config", str(self.folder / "ullage.toml"), out=self.folder / "agent.log",
        )  # fmt: skip

    def tree(self, what: str) -> list[psutil.Process]:
        """Its processes, with all that they started."""
        with suppress(psutil.Error, KeyError):
            first = psutil.Process(self.processes[what].pid)
            return [first, *first.children(recursive=True)]
        return []

    def find(self, what: str, words: str) -> list[psutil.Process]:
        """Those whose command line has these words."""
        found = []
        for process in self.tree(what):
            with suppress(psutil.Error):
                if words in " ".join(process.cmdline()):
                    found.append(process)
        return found

    def actors(self) -> list[psutil.Process]:
        return self.find("node", "ray::HostActor")

    def kill(self, *what: str) -> None:
        for each in what or ("node", "daemon", "agent"):
            self.kept.discard(each)
            send(self.tree(each), signal.SIGKILL)

    async def keep(self) -> None:
        """As a service manager does it: a node that has ended by itself is started again."""
        while True:
            await asyncio.sleep(AGAIN)
            if "node" in self.kept and self.processes["node"].returncode is not None:
                send(self.left(), signal.SIGKILL)
                self.processes["node"] = await self._start_node()

    def left(self) -> list[psutil.Process]:
        """What a node that ended has left behind."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.name() in ("raylet", "gcs_server") and process.ppid() == 1:
                    words = " ".join(process.cmdline())
                    if f"node_ip_address={self.ip} " in words or f"-ip-address={self.ip} " in words:
                        found.append(process)
        return found

    async def has_node(self) -> bool:
        """Has Ray said that its node is there, since it was started last?"""
        log = self.folder / "ray.log"
        return log.exists() and "Ray runtime started" in log.read_text()

    async def ask(self, method: str, path: str, body: Row | None = None) -> tuple[int, Row]:
        reply = await self.client.request(method, path, json=body)
        return reply.status_code, reply.json()

    async def fleet(self) -> Row:
        """What the agent here knows; nothing while it does not answer."""
        try:
            return (await self.ask("GET", "/fleet"))[1]
        except (httpx.HTTPError, OSError):
            return {"connected": False, "trouble": [], "directory": {"hosts": [], "promises": []}}

    async def sees(self) -> dict[str, str]:
        """Hosts by name, as the agent here has them: here, silent, lost, drained."""
        found = await self.fleet()
        return {h["word"]["host"]: h["presence"] for h in found["directory"]["hosts"]}

    async def place(self, model: str, within: float = 0.0, **more: Any) -> tuple[int, Row]:
        return await self.ask("POST", "/place", {"model": model, "within": within, **more})


def send(processes: Sequence[psutil.Process], number: int) -> None:
    for process in processes:
        with suppress(psutil.Error, OSError):
            process.send_signal(number)


class Cluster:
    """`log` has every load that an engine began."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "loads.jsonl"
        self.log.touch()
        (folder / "token").write_text(secrets.token_hex(32))
        own = {k: v for k, v in os.environ.items() if not k.startswith(("ULLAGE_", "RAY_"))}
        self.env = {
            **own,
            **HEALTH,
            **PATIENT,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
            "RAY_USAGE_STATS_ENABLED": "0",
            "PYTHONPATH": str(ROOT),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        self.hosts: dict[str, Host] = {}
        self.tasks: list[asyncio.Task[None]] = []

    def host(self, name: str, machine: Row) -> Host:
        self.hosts[name] = Host(self, name, len(self.hosts) + 1, machine)
        return self.hosts[name]

    async def spawn(self, *words: str, out: Path, env: dict[str, str] | None = None) -> Process:
        with out.open("ab") as file:
            return await asyncio.create_subprocess_exec(
                *words, env=env or self.env, cwd=ROOT, stdin=DEVNULL, stdout=file, stderr=file
            )

    async def start(self) -> None:
        """Until every agent sees every host."""
        for host in self.hosts.values():
            await host.start("node")
            self.tasks.append(asyncio.create_task(host.keep(), name=f"keep {host.name}"))
            await until(host.has_node, self.told)
        for host in self.hosts.values():
            await host.start("daemon", "agent")
        await self.whole()

    async def whole(self) -> None:
        names = set(self.hosts)

        async def all_here() -> bool:
            seen = [await h.sees() for h in self.hosts.values()]
            return all({n for n, p in s.items() if p == "here"} == names for s in seen)

        await until(all_here, lambda: self.told())

    def loads(self, model: str | None = None) -> list[Row]:
        rows = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [r for r in rows if model in (None, r["model"])]

    def told(self) -> str:
        """What their agents wrote last."""
        files = ("agent.log", "ray.log", "daemon.log")
        return "\n".join(
            f"{host.name}/{file}: {(host.folder / file).read_text()[-1500:]}"
            for host in self.hosts.values()
            for file in files
            if (host.folder / file).exists()
        )


async def until(
    true: Callable[[], Awaitable[bool]],
    why: Callable[[], str] = lambda: "",
    patience: float = PATIENCE,
) -> float:
    """Seconds that it took until `true`."""
    began = time.monotonic()
    while not await true():
        assert time.monotonic() - began < patience, f"not true in {patience:g} s\n{why()}"
        await asyncio.sleep(POLL)
    return time.monotonic() - began
