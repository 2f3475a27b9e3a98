"""What a daemon would answer, and one that answers it: for tests of the command line."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from click.testing import CliRunner, Result

from collectors.reading import gib
from supervisor.cli.main import cli

ONE = "GPU-8f6f1c5e-7a42-4c1b-9d3e-2b1a0c9d8e7f"
TWO = "GPU-1c4e22d9-03bb-4c7f-8a10-77aa0c9d8e01"
DARK = "0000:03:00.0"
PROBLEM = "application/problem+json"
CARD = "NVIDIA GeForce RTX 3090"
_NUMBERS = ("total", "free", "reserve", "budget", "held", "promised", "foreign", "headroom")


def pool(
    id: str,
    name: str,
    total: float,
    free: float,
    *,
    reserve: float = 0,
    promised: float = 0,
    foreign: float = 0,
    budget: float | None = None,
) -> dict[str, Any]:
    """A pool of the state; sizes in GiB. What is used and not foreign is held by models."""
    return {
        "id": id,
        "kind": "host" if id == "ram" else "dedicated",
        "name": name,
        "total": gib(total),
        "free": gib(free),
        "reserve": gib(reserve),
        "budget": None if budget is None else gib(budget),
        "held": gib(total - free - foreign),
        "promised": gib(promised),
        "foreign": gib(foreign),
        "headroom": gib(free - reserve - promised),
        "blind": None,
    }


def model(name: str, *shares: tuple[str, float, str], **others: Any) -> dict[str, Any]:
    """A model of the state; shares as (pool, GiB, source)."""
    return {
        "name": name,
        "engine": name.partition("/")[0],
        "model": name.partition("/")[2],
        "state": "loaded",
        "size": sum(gib(size) for _, size, _ in shares),
        "shares": [{"pool": p, "size": gib(n), "source": s} for p, n, s in shares],
        "busy": False,
        "in_flight": 0,
        "idle": 0.0,
        "busy_for": 0.0,
        "pinned": False,
        "pids": [],
        **others,
    }


def installed(name: str, size: float | None) -> dict[str, Any]:
    engine, _, own = name.partition("/")
    file = None if size is None else gib(size)
    return {"name": name, "engine": engine, "model": own, "size": file}


def engine(id: str, port: int, version: str | None = None, fault: str | None = None) -> Any:
    return {
        "id": id,
        "kind": id,
        "url": f"http://127.0.0.1:{port}",
        "up": fault is None,
        "fault": fault,
        "version": version,
        "abilities": ["list"],
    }


def finding(kind: str, subject: str, severity: str, detail: str, age: float) -> dict[str, Any]:
    return {
        "kind": kind,
        "subject": subject,
        "for": age,
        "severity": severity,
        "detail": detail,
    }


def state(**others: Any) -> dict[str, Any]:
    """A daemon that has found nothing yet, but for what is said."""
    return {
        "version": "0.1.0",
        "mode": "enforce",
        "now": 1790000000.0,
        "uptime": 9000.0,
        "sample_age": 0.4,
        "ready": True,
        "pools": [],
        "models": [],
        "installed": [],
        "engines": [],
        "findings": [],
        "foreign": [],
        "pins": [],
        "running": [],
        "journal": {"lag": 0, "failures": 0, "persistent": True, "meant_to_persist": True},
        "notes": [],
        **others,
    }


LATE = "the driver did not answer within 1 s"
BUSY = state(
    pools=[
        pool(ONE, CARD, 23.5, 5.5, reserve=0.75, promised=2, foreign=5.75),
        pool(TWO, CARD, 23.5, 0.5, reserve=0.75),
        pool("ram", "RAM", 62.75, 30, reserve=7.5, foreign=10.5, budget=40),
        {**dict.fromkeys(_NUMBERS), "id": DARK, "kind": None, "name": DARK, "blind": LATE},
    ],
    models=[
        model(
            "llamacpp/qwen2.5-coder-32b-instruct-q4_k_m",
            (TWO, 18.25, "measured"),
            busy=True,
            in_flight=2,
            busy_for=41.0,
        ),
        model("ollama/gemma3:4b", (TWO, 4.75, "reported"), idle=3300.0),
        model(
            "ollama/llama3.3:70b",
            (ONE, 6.5, "measured"),
            ("ram", 22.25, "measured"),
            idle=840.0,
            pinned=True,
        ),
        model("ollama/qwen3:8b", (ONE, 5.5, "measured"), busy=True, in_flight=None, busy_for=12.0),
        model("vllm/phi-4", (ONE, 0.25, "estimated"), state="unknown"),
    ],
    installed=[
        installed("ollama/gemma3:4b", 3),
        installed("ollama/nomic-embed-text:latest", None),
        installed("ollama/qwen3:32b", 18.75),
    ],
    engines=[
        engine("llamacpp", 8080, "b6123"),
        engine("ollama", 11434, "0.9.1"),
        engine("vllm", 8000, fault="connection refused"),
    ],
    findings=[
        finding("pressure", TWO, "warning", "free memory is below the reserve", 12),
        finding("engine_down", "vllm", "warning", "connection refused", 180),
        finding("blind", DARK, "warning", LATE, 60),
    ],
    foreign=[
        {"pool": ONE, "pid": 900, "name": "Xorg", "size": gib(0.5)},
        {"pool": ONE, "pid": 4121, "name": "comfyui", "size": gib(5.25)},
        {"pool": "ram", "pid": 77, "name": "firefox", "size": gib(6.25)},
    ],
    pins=["ollama/llama3.3:70b"],
    running=["d-000012"],
    notes=["no AMD driver on this machine"],
)

EVICT = {
    "action": "evict",
    "model": "ollama/gemma3:4b",
    "why": "makes room",
    "shares": [{"pool": TWO, "size": gib(4.75), "source": "reported"}],
}
DONE = {
    "id": "d-000012",
    "at": 1790000000.0,
    "mode": "enforce",
    "cause": "GPU-1c4e22d9: headroom is gone",
    "trigger": "relief",
    "actions": [EVICT],
    "notes": [{"model": "ollama/gemma3:4b", "why": "makes room"}],
    "unmet": [],
    "full": [],
    "rooms": [],
    "outcomes": [
        {
            **EVICT,
            "at": 1790000001.0,
            "result": "done",
            "detail": "",
            "took": 0.8,
            "judgement": {
                "verdict": "recovered",
                "promised": gib(4.75),
                "returned": gib(4.75),
                "gone": True,
            },
        }
    ],
}
REFUSED = {
    **DONE,
    "id": "d-000011",
    "trigger": "demand",
    "cause": "asked to load ollama/qwen3:32b",
    "actions": [],
    "notes": [{"model": "ollama/llama3.3:70b", "why": "pinned"}],
    "unmet": [{"pool": ONE, "size": gib(3.5), "source": "learned"}],
    "full": ["host", "host"],
    "outcomes": [],
}


ALERT = {
    "id": "a-0123456789ab",
    "at": 1790000000.0,
    "name": "UllageHeadroomLow",
    "fingerprint": "8ba3fc07523a9211",
    "starts_at": 1789999970.0,
    "status": "firing",
    "labels": {"alertname": "UllageHeadroomLow", "pool": ONE, "severity": "warning"},
    "action": "make-room",
    "target": ONE,
    "outcome": "done",
    "detail": "1 model left",
    "decision": "d-7",
    "by": "alertmanager",
}
HOLD = {
    "alert": "UllageHeadroomGone",
    "action": "no-loads",
    "kind": "pause",
    "target": ONE,
    "since": 1789999990.0,
    "until": 1790000090.0,
}


class Daemon:
    """Answers each path with what `says` has for it, and keeps what it was `asked`."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.says: dict[str, tuple[int, str, bytes]] = {}
        self.asked: list[tuple[str, str, dict[str, str], Any]] = []

    def say(self, path: str, document: Any, status: int = 200) -> str:
        """Returns the answer's text."""
        text = json.dumps(document, indent=1)
        kind = "application/json" if status < 400 else PROBLEM
        self.says[path] = (status, kind, text.encode())
        return text

    @property
    def body(self) -> Any:
        """The body of the last request."""
        return self.asked[-1][3]


class _Handler(BaseHTTPRequestHandler):
    daemon: Daemon

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        size = int(self.headers.get("content-length") or 0)
        body = json.loads(self.rfile.read(size)) if size else None
        self.daemon.asked.append((self.command, self.path, dict(self.headers), body))
        nothing = (404, PROBLEM, b'{"detail": "there is nothing here"}')
        status, kind, text = self.daemon.says.get(path, nothing)
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_POST = do_PUT = do_DELETE = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        pass


class _UnixServer(ThreadingHTTPServer):
    address_family = socket.AF_UNIX

    def server_bind(self) -> None:
        self.socket.bind(self.server_address)  # what HTTPServer adds is for TCP

    def get_request(self) -> tuple[Any, Any]:
        return self.socket.accept()[0], ("local", 0)


@contextmanager
def running(socket_path: str | None = None) -> Iterator[Daemon]:
    """A daemon on a free port of loopback, or on a Unix socket."""
    handler = type("Handler", (_Handler,), {})
    if socket_path is None:
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        daemon = Daemon(f"http://127.0.0.1:{server.server_port}")
    else:
        server = _UnixServer(socket_path, handler)  # type: ignore[arg-type]
        daemon = Daemon(f"unix:{socket_path}")
    handler.daemon = daemon  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield daemon
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def nobody_at() -> Iterator[str]:
    """An address at which nobody listens, and nobody can while the test runs."""
    with socket.socket() as taken:  # bound and not listening: refuses, and stays ours
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def ullage(*words: str) -> Result:
    result = CliRunner().invoke(cli, words, prog_name="ullage")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result
