"""A real Prometheus that scrapes what a test names, and what it answers."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

PROGRAM = shutil.which("prometheus")
PATIENCE = 120.0  # seconds; every wait is bounded
POLL = 0.1

Series = tuple[dict[str, str], list[tuple[float, float]]]  # labels; Unix time, value


class Prometheus:
    """Scrapes `targets`, instances by their URL, every second. `async with` starts and ends it."""

    def __init__(self, folder: Path, targets: Mapping[str, str], rules: str = "") -> None:
        self.folder = folder
        folder.mkdir()
        jobs = [
            {"targets": [urlsplit(url).netloc], "labels": {"instance": name}}
            for name, url in targets.items()
        ]
        (folder / "rules.yml").write_text(rules)
        config = {  # JSON is YAML
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": ["rules.yml"],
            "scrape_configs": [{"job_name": "ullage", "static_configs": jobs}],
        }
        (folder / "prometheus.yml").write_text(json.dumps(config))

    async def __aenter__(self) -> Prometheus:
        assert PROGRAM is not None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        self.log = (self.folder / "log").open("wb")
        self.process = await asyncio.create_subprocess_exec(
            PROGRAM,
            f"--config.file={self.folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address={address}",
            "--log.level=warn",
            stdout=self.log,
            stderr=self.log,
        )
        self.http = httpx.AsyncClient(base_url=f"http://{address}", trust_env=False, timeout=30)
        deadline = time.monotonic() + PATIENCE
        while not await self._ready():
            assert self.process.returncode is None, self.said()
            assert time.monotonic() < deadline, self.said()
            await asyncio.sleep(POLL)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()
        if self.process.returncode is None:
            self.process.terminate()
            await self.process.wait()
        self.log.close()

    def said(self) -> str:
        return (self.folder / "log").read_text()

    async def _ready(self) -> bool:
        try:
            return (await self.http.get("/-/ready")).status_code == 200
        except httpx.TransportError:
            return False

    async def _ask(self, path: str, **query: Any) -> list[Any]:
        reply = await self.http.post(f"/api/v1/{path}", data=query)
        assert reply.status_code == 200, f"{query}: {reply.text}"
        found: list[Any] = reply.json()["data"]["result"]
        return found

    async def now(self, expr: str, at: float | None = None) -> list[Series]:
        found = await self._ask("query", query=expr, **({} if at is None else {"time": at}))
        return [(row["metric"], [_number(row["value"])]) for row in found]

    async def over(self, expr: str, start: float, end: float, step: float = 1.0) -> list[Series]:
        found = await self._ask("query_range", query=expr, start=start, end=end, step=step)
        return [(row["metric"], [*map(_number, row["values"])]) for row in found]

    async def until(self, expr: str) -> None:
        """It has scraped something of which `expr`, a comparison, is true."""
        deadline = time.monotonic() + PATIENCE
        while not await self.now(expr):
            assert time.monotonic() < deadline, f"never seen: {expr}"
            await asyncio.sleep(POLL)


def _number(pair: list[Any]) -> tuple[float, float]:
    return pair[0], float(pair[1])
