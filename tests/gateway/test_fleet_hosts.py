"""Real gateways, daemons and agents of several hosts, each a process of its own."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import pytest

from benchmarks.fleet_hosts import TOKEN, started, written
from benchmarks.gateway import start
from benchmarks.gateway_engine import CHUNK, CHUNKS, LAST

pytestmark = pytest.mark.slow
ASKED = {"model": "llama3", "stream": True, "messages": [{"role": "user", "content": "hi"}]}


@dataclass
class Fleet:
    folder: Path
    ports: dict[str, int] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[str]] = field(default_factory=dict)

    def engine(self, name: str, gap: int = 0) -> int:
        process, port = start("gateway_engine", str(gap))
        self.processes[name] = process
        return port

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes.values():
            process.kill()
        for process in self.processes.values():
            process.wait()

    def host(self, name: str, engine: int | None = None, *changes: tuple[str, str]) -> None:
        """`changes` are of its configuration: what stands there, and what is to."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.ports[name] = free.getsockname()[1]
        folder = written(self.folder / name, name, self.ports[name], engine)
        file = folder / "ullage.toml"
        text = file.read_text()
        for before, after in changes:
            text = text.replace(before, after, 1)
        file.write_text(text)
        self.processes[name] = started("daemon", str(folder))

    def agents(self, *names: str) -> None:
        for name in names or self.ports:
            peers = (f"{n}={self.folder / n}" for n in self.ports if n != name)
            agent = started("agent", str(self.folder / name), *peers)
            self.processes[f"agent of {name}"] = agent

    def kill(self, name: str) -> None:
        self.processes[name].kill()
        self.processes[name].wait()

    def asks(self, host: str, *lines: str, **body: object) -> socket.socket:
        """The connection to `host` on which something was asked."""
        content = json.dumps(ASKED | body).encode()
        head = ("POST /v1/chat/completions HTTP/1.1", "Host: 127.0.0.1", "Connection: close",
                *lines, f"Content-Length: {len(content)}")  # fmt: skip
        asks = socket.create_connection(("127.0.0.1", self.ports[host]), timeout=60)
        asks.sendall("\r\n".join(head).encode() + b"\r\n\r\n" + content)
        return asks

    def answer(self, host: str, *lines: str, **body: object) -> tuple[int, bytes, bytes]:
        """Status, head, body."""
        with self.asks(host, *lines, **body) as asks:
            head, _, rest = whole(asks).partition(b"\r\n\r\n")
        return int(head.split()[1]), head, rest

    def until(self, so: Callable[[], bool]) -> None:
        """Looks again and again."""
        ends = time.monotonic() + 60
        while not so():
            assert time.monotonic() < ends, "it has not come to that"

    def counted(self, host: str, name: str) -> float:
        """A metric of it, summed up."""
        told = b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n"
        with socket.socket(socket.AF_UNIX) as asks:
            asks.connect(str(self.folder / host / "ullage.sock"))
            asks.sendall(told)
            lines = whole(asks).decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def whole(asks: socket.socket) -> bytes:
    return b"".join(iter(lambda: asks.recv(65536), b""))


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with Fleet(tmp_path) as made:
        yield made


def test_a_model_that_one_host_holds_is_asked_at_any_and_answered_byte_for_byte(
    fleet: Fleet,
) -> None:
    engine = fleet.engine("engine")
    fleet.host("a")
    fleet.host("b", engine)
    fleet.host("c")
    fleet.agents()
    _, _, there = fleet.answer("b")
    assert there == CHUNK * CHUNKS + LAST
    for host in "ac":
        status, head, body = fleet.answer(host)
        assert (status, body) == (200, there)
        assert b"\r\nx-ullage-host: b" in head
        assert b"\r\nx-ullage-model: engine-b/llama3" in head
    # What is placed at a host that does not have it goes no further, whatever its agent knows.
    marked = ("X-Ullage-Placed: b", f"Authorization: Bearer {TOKEN}")
    status, head, _ = fleet.answer("c", *marked)
    assert status == 404
    assert b"x-ullage-refused: model_not_found" in head
    assert fleet.counted("c", "ullage_gateway_placements_total") == 1
    # Without the token it is a request like any other.
    assert fleet.answer("c", marked[0])[0] == 200
    assert fleet.counted("b", "ullage_gateway_placements_total") == 0


def test_hosts_that_are_killed_are_stood_in_for_and_waited_for_where_nobody_can(
    fleet: Fleet,
) -> None:
    slow, quick = fleet.engine("slow", 20), fleet.engine("quick")
    fleet.host("a")
    fleet.host("b", slow)
    fleet.host("c", quick)
    fleet.agents()
    fleet.kill("c")
    # Nobody has missed it yet: who is sent there goes to b instead.
    with fleet.asks("a") as stream:
        begun = stream.recv(4096)
        assert begun.startswith(b"HTTP/1.1 200 OK")
        fleet.kill("b")
        rest = begun + whole(stream)
    assert b"ended in the middle of its answer" in rest
    # Whoever has it is away now, and may be back: so it is waited for.
    with fleet.asks("a", stream=False) as waits:
        held = 'ullage_requests_held{engine="_elsewhere"'
        fleet.until(lambda: fleet.counted("a", held) == 1)
        fleet.processes["b"] = started("daemon", str(fleet.folder / "b"))
        assert whole(waits).startswith(b"HTTP/1.1 200 OK")


def test_without_its_agent_a_host_serves_what_it_has_and_misses_what_it_has_not(
    fleet: Fleet,
) -> None:
    engine = fleet.engine("engine")
    fleet.host("a", engine)
    fleet.host("b", engine)
    fleet.agents("a")
    agent = fleet.processes["agent of a"]
    agent.send_signal(signal.SIGSTOP)
    assert fleet.answer("a")[0] == 200  # which it has: nobody is asked
    assert fleet.answer("a", model="engine-b/llama3")[0] == 404
    agent.send_signal(signal.SIGCONT)
    # It is left alone for a moment.
    fleet.until(lambda: fleet.answer("a", model="engine-b/llama3")[0] == 200)


def test_a_fleet_of_one_serves_what_it_has_and_says_what_it_has_not(fleet: Fleet) -> None:
    fleet.host("a", fleet.engine("engine"))
    fleet.agents()
    status, _, body = fleet.answer("a", model="llama")
    assert status == 404
    assert b"did you mean" in body
    assert fleet.counted("a", 'ullage_gateway_placements_total{where="nobody"}') == 1
    assert fleet.answer("a")[0] == 200
    assert fleet.counted("a", "ullage_gateway_placements_total") == 1
