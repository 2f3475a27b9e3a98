"""How long does `ullage status` take, cold, as a whole process?

Against a daemon that serves one fake engine's worth of state: ten models. Beside it, in the
same run: a Python that starts and does nothing.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

RUNS = 15


def state() -> dict[str, Any]:
    """What a daemon with one GPU, RAM and ten models answers."""
    gib = 1 << 30
    pools = [
        {"id": id, "kind": kind, "name": name, "total": total * gib, "free": 9 * gib, "blind": None}
        | {"reserve": gib, "budget": None, "held": 4 * gib, "promised": 0, "foreign": gib}
        | {"headroom": 8 * gib}
        for id, kind, name, total in (
            ("GPU-1", "dedicated", "NVIDIA RTX 4090", 24),
            ("ram", "host", "RAM", 64),
        )
    ]
    models = [
        {"name": f"llama/model-{i}", "engine": "llama", "model": f"model-{i}", "state": "loaded"}
        | {"size": gib, "shares": [{"pool": "GPU-1", "size": gib, "source": "measured"}]}
        | {"busy": False, "in_flight": 0, "idle": 60.0 * i, "busy_for": 0.0}
        | {"pinned": i == 0, "pids": [100 + i]}
        for i in range(10)
    ]
    engine = {"id": "llama", "kind": "llamacpp", "url": "http://127.0.0.1:8080", "up": True}
    engine |= {"fault": None, "version": "1", "abilities": ["list", "load", "unload"]}
    return {
        "version": "0", "mode": "enforce", "now": time.time(), "uptime": 60.0, "sample_age": 0.4,
        "ready": True, "pools": pools, "models": models, "installed": [], "engines": [engine],
        "findings": [], "foreign": [], "pins": ["llama/model-0"], "running": [],
        "journal": {"lag": 0, "failures": 0}, "notes": [],
    }  # fmt: skip


def median_ms(command: list[str], env: dict[str, str]) -> float:
    times = []
    for _ in range(RUNS + 1):
        started = time.perf_counter()
        subprocess.run(command, env=env, check=True, capture_output=True)
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times[1:])  # the first one fills the page cache


def rows() -> list[tuple[str, str, str]]:
    """Rows of (what, figure, a Python that does nothing)."""
    body = json.dumps(state()).encode()

    class Canned(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Canned) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        env = {**os.environ, "ULLAGE_URL": f"http://127.0.0.1:{server.server_address[1]}"}
        bare = median_ms([sys.executable, "-c", "pass"], env)
        found = [
            (
                f"ullage {words}, cold",
                f"{median_ms([sys.executable, '-m', 'supervisor', *words.split()], env):.0f} ms",
                f"{bare:.0f} ms",
            )
            for words in ("status", "status --json", "--help")
        ]
        server.shutdown()
    return found


if __name__ == "__main__":
    for row in rows():
        print(*row, sep=" | ")
