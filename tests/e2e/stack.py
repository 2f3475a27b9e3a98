"""Prometheus and Alertmanager with the files that are shipped, only quicker; and a door between
Alertmanager and the daemon that keeps what passes."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

from tests.daemon import ROOT

PATIENCE = 40.0  # seconds; every wait is bounded
POLL = 0.1
PROGRAMS = ("prometheus", "prometheus-alertmanager")
MISSING = [name for name in PROGRAMS if shutil.which(name) is None]

# In place of what is shipped. A scrape that takes longer than its interval is none, and all that
# fired is resolved by that: on a busy machine a second may not be enough.
SCRAPE, EVALUATE = "2s", "1s"
FOR = {"UllageHeadroomLow": "1s"}
GROUP = {"group_wait": "100ms", "group_interval": "1s", "repeat_interval": "2s"}


async def until(true: Callable[[], Awaitable[bool]], what: Callable[[], str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not await true():
        assert time.monotonic() < deadline, what()
        await asyncio.sleep(POLL)


class Program:
    """A server of others on a free port. `async with` starts it, and ends it by SIGTERM."""

    def __init__(self, folder: Path, name: str, *flags: str) -> None:
        self.command = (name, "--web.listen-address=127.0.0.1:0", *flags)
        self.output = folder / f"{name}.log"
        self.url = ""

    async def __aenter__(self) -> Program:
        with self.output.open("wb") as log:
            self.process = await asyncio.create_subprocess_exec(
                *self.command, stdout=log, stderr=log
            )
        self.http = httpx.AsyncClient(trust_env=False, timeout=10)
        await until(self._listens, self.output.read_text)
        self.http.base_url = self.url
        await until(self._ready, self.output.read_text)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()
        if self.process.returncode is None:
            self.process.terminate()
            await self.process.wait()

    async def _listens(self) -> bool:
        assert self.process.returncode is None, self.output.read_text()
        for found in psutil.Process(self.process.pid).net_connections("tcp4"):
            if found.status == psutil.CONN_LISTEN:
                self.url = f"http://127.0.0.1:{found.laddr.port}"
        return bool(self.url)

    async def _ready(self) -> bool:
        return (await self.http.get("/-/ready")).status_code == 200

    async def get(self, path: str, **query: str) -> Any:
        reply = await self.http.get(path, params=query)
        assert reply.status_code == 200, reply.text
        return reply.json()


def alertmanager(folder: Path, url: str, token: Path) -> Program:
    """As it is shipped, but for where Ullage is, whose token it has, and how long it waits."""
    config = yaml.safe_load((ROOT / "deploy/alertmanager/alertmanager.yml").read_text())
    (route,) = [r for r in config["route"]["routes"] if r["receiver"] == "ullage"]
    route |= GROUP
    (hook,) = next(r for r in config["receivers"] if r["name"] == "ullage")["webhook_configs"]
    hook["url"] = f"{url}/api/v1/alerts"
    hook["http_config"]["authorization"]["credentials_file"] = str(token)
    file = folder / "alertmanager.yml"
    file.write_text(yaml.safe_dump(config))
    flags = (f"--config.file={file}", f"--storage.path={folder / 'alertmanager'}")
    return Program(folder, "prometheus-alertmanager", *flags, "--cluster.listen-address=")


def prometheus(folder: Path, daemon: str, sends_to: str) -> Program:
    """As it is shipped, but for addresses and for how often it looks."""
    shipped = ROOT / "deploy/prometheus"
    config = yaml.safe_load((shipped / "prometheus.yml").read_text())
    config["global"] |= {"scrape_interval": SCRAPE, "evaluation_interval": EVALUATE}
    (job,) = config["scrape_configs"]
    job["static_configs"] = [{"targets": [daemon.removeprefix("http://")]}]
    (receiver,) = config["alerting"]["alertmanagers"]
    receiver["static_configs"] = [{"targets": [sends_to.removeprefix("http://")]}]
    for name in config["rule_files"]:
        rules = yaml.safe_load((shipped / name).read_text())
        for rule in (rule for group in rules["groups"] for rule in group["rules"]):
            if rule.get("alert") in FOR:
                rule["for"] = FOR[rule["alert"]]
        (folder / name).write_text(yaml.safe_dump(rules))
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(config))
    return Program(
        folder, "prometheus", f"--config.file={file}", f"--storage.tsdb.path={folder / 'tsdb'}"
    )


@dataclass(frozen=True, slots=True)
class Delivery:
    """One try of Alertmanager, and how it was answered. `at` is on the monotonic clock."""

    at: float
    headers: dict[str, str]
    body: dict[str, Any]
    status: int
    answer: Any

    def of(self, name: str) -> list[dict[str, Any]]:
        return [a for a in self.body["alerts"] if a["labels"]["alertname"] == name]


class Door:
    """Passes on what is sent to the daemon, and keeps it with what was answered.

    While `refuses` is above 0 it answers 503 itself, as often as that.
    """

    def __init__(self, daemon: str) -> None:
        self.passed: list[Delivery] = []
        self.refuses = 0
        self._to = httpx.AsyncClient(base_url=daemon, trust_env=False, timeout=30)
        self._open: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Door:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        await self._to.aclose()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            while True:
                await self._exchange(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._open.discard(task)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
        content = await reader.readexactly(int(headers["content-length"]))
        at = time.monotonic()
        if self.refuses > 0:
            self.refuses -= 1
            status, reply = 503, b'{"detail": "not yet"}'
        else:
            status, reply = await self._hand_on(first.split(" ")[1], headers, content)
        writer.write(
            f"HTTP/1.1 {status} .\r\nContent-Length: {len(reply)}\r\n\r\n".encode() + reply
        )
        await writer.drain()
        answer = json.loads(reply) if reply else None
        self.passed.append(Delivery(at, headers, json.loads(content), status, answer))

    async def _hand_on(
        self, path: str, headers: dict[str, str], content: bytes
    ) -> tuple[int, bytes]:
        kept = {k: v for k, v in headers.items() if k in ("authorization", "content-type")}
        try:
            reply = await self._to.post(path, content=content, headers=kept)
        except httpx.TransportError:
            return 502, b""
        return reply.status_code, reply.content
