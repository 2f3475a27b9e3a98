"""What does it cost to have the gateway before an engine?
`python -m benchmarks gateway [--json] [--seconds S] [--rounds N] [--peers a,b]`

Beside it, in the same run and turn by turn: no gateway; nginx with one worker and no buffering, its
neighbour in kind; and the obvious Python way, Starlette with httpx. Answers of fifty events, all at
once and 20 ms apart; the engine and the clients are processes of their own. Figures are medians of
the rounds. What else runs on the machine is measured along: compare with what stands beside.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from .gateway_engine import CHUNK, CHUNKS, LAST
from .gateway_load import BODY, REQUEST, WARM_UP

AT = (1, 32, 256)
MANY = 1000  # connections that each take two streams
ASKED_AT = 50  # streams, 20 ms apart, of which it is asked what the gateway adds
GAP = 20  # milliseconds between two events of a spaced stream
# Streams that all begin at the same moment, and end at the same, would measure 32 beginnings in a
# row: what that costs the bursts tell. They are begun evenly over a stream's length.
SPREAD = {"burst": 0.0, "spaced": CHUNKS * GAP / 1000}  # seconds
PEERS = ("direct", "nginx", "ullage", "relay", "starlette")
SLOW = 64  # connections from which on the obvious way takes minutes
MIB = 1024 * 1024

NGINX = """
daemon off; master_process off; worker_processes 1; pid {folder}/pid; error_log /dev/null;
events {{ worker_connections 8192; }}
http {{
  access_log off; keepalive_requests 1000000000; tcp_nodelay on;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream engine {{
    server 127.0.0.1:{engine}; keepalive 2048; keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://engine; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off;
    }}
  }}
}}
"""

Figures = dict[str, float]


@dataclass
class Peer:
    """One that stands before the engine, or the engine itself."""

    name: str
    process: subprocess.Popen[str]
    port: int
    tells: bool = False  # of its loop and its memory
    figures: dict[tuple[str, int], list[Figures]] = field(default_factory=dict)

    def told(self) -> Figures:
        """Since it was last asked."""
        if not self.tells:
            return {}
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        found: Figures = json.loads(self.process.stdout.readline())
        return found

    def cpu(self) -> float:
        """Seconds of it so far."""
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    def median(self, kind: str, at: int, what: str) -> float | None:
        found = [f[what] for f in self.figures.get((kind, at), ()) if what in f]
        return statistics.median(found) if found else None


def start(
    module: str, *words: str, folder: Path | None = None
) -> tuple[subprocess.Popen[str], int]:
    """A process of ours, and its port. What it writes goes to `folder`."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *words]
    pipe, env = subprocess.PIPE, {**os.environ, **({"TMPDIR": str(folder)} if folder else {})}
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=env)
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"{module} {' '.join(words)} did not start")
    return process, int(line)


def stand(name: str, engine: subprocess.Popen[str], port: int, folder: Path) -> Peer | None:
    """None: it is not there."""
    if name == "direct":
        return Peer(name, engine, port)
    if name != "nginx":
        return Peer(name, *start("gateway_peers", name, str(port), folder=folder), tells=True)
    if shutil.which("nginx") is None:
        return None
    with socket.create_server(("127.0.0.1", 0)) as free:
        own: int = free.getsockname()[1]
    folder = folder / f"nginx-{port}"
    folder.mkdir()
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, engine=port, port=own))
    process = subprocess.Popen(["nginx", "-c", str(config), "-p", str(folder)], text=True)
    return Peer(name, process, own)


def ready(peer: Peer) -> None:
    """Asks it once, and looks at every byte of the answer."""
    for _ in range(200):
        try:
            with socket.create_connection(("127.0.0.1", peer.port), timeout=5) as asks:
                asks.sendall(REQUEST % (peer.port, len(BODY), BODY))
                got = b""
                while not got.endswith(b"0\r\n\r\n"):
                    got += asks.recv(65536)
        except ConnectionRefusedError:
            time.sleep(0.05)
            continue
        assert got.startswith(b"HTTP/1.1 200 OK\r\n"), got[:300]
        if peer.name not in ("nginx", "starlette"):  # which frame it anew
            assert got.endswith(b"\r\n\r\n" + CHUNK * CHUNKS + LAST), f"{peer.name} changes answers"
        return
    raise RuntimeError(f"{peer.name} does not answer")


def measure(peer: Peer, kind: str, at: int, seconds: float) -> None:
    """One round: `at` connections for so many seconds, or, of many, two answers for each."""
    rounds = ["2"] if at >= MANY else []
    peer.told()
    before = peer.cpu()
    command = [sys.executable, "-m", "benchmarks.gateway_load", str(peer.port), str(at)]
    spread = 0.0 if rounds else SPREAD[kind]
    done = subprocess.run(
        [*command, str(seconds), str(spread), *rounds], capture_output=True, text=True, check=True
    )
    found: Figures = json.loads(done.stdout)
    used = (peer.cpu() - before) / max(1.0, found["answers"])
    found["cpu_us"] = used * 1e6 * (1 if rounds else seconds / (seconds + max(WARM_UP, spread)))
    peer.figures.setdefault((kind, at), []).append(found | peer.told())


def run(names: list[str], seconds: float, rounds: int, progress: bool) -> list[Peer]:
    """All of them, each kind of answer, turn by turn."""
    everyone: dict[str, Peer] = {}
    processes: list[subprocess.Popen[str]] = []
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as folder:
        try:
            for kind, gap in (("burst", 0), ("spaced", GAP)):
                engine, port = start("gateway_engine", str(gap))
                processes.append(engine)
                peers = [stand(n, engine, port, Path(folder)) for n in names]
                standing = [p for p in peers if p is not None]
                processes += [p.process for p in standing]
                for peer in standing:
                    ready(peer)
                    peer.figures = everyone.setdefault(peer.name, peer).figures
                ats = AT if kind == "burst" else (*AT, ASKED_AT, MANY)
                for turn in range(rounds):
                    for at in ats:
                        for peer in standing:
                            if peer.name == "starlette" and (at > SLOW or turn):
                                continue
                            if at == MANY and turn:
                                continue
                            measure(peer, kind, at, seconds)
                            if progress:
                                print(f"{kind} {at} {peer.name}", file=sys.stderr)
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait()
    return list(everyone.values())


def report(peers: list[Peer]) -> dict[str, Any]:
    """What is promised of the gateway, and the figures of everybody."""
    by_name = {peer.name: peer for peer in peers}
    found: dict[str, Any] = {"concurrency": {}, "peers": {}}
    ours, direct = by_name.get("ullage"), by_name.get("direct")
    for at in (*AT, ASKED_AT, MANY):
        row: dict[str, Any] = {}
        if ours is not None:
            row["requests_per_s"] = ours.median("burst", at, "requests_per_s")
            if direct is not None:
                for share in ("p50", "p99"):
                    mine = ours.median("spaced", at, f"first_{share}_ms")
                    theirs = direct.median("spaced", at, f"first_{share}_ms")
                    if mine is not None and theirs is not None:
                        row[f"added_{share}_ms"] = mine - theirs
            row["completed"] = ours.median("spaced", at, "answers")
            row["cut"] = ours.median("spaced", at, "cut")
            rss = ours.median("spaced", at, "peak_rss")
            row["peak_rss_mib"] = None if rss is None else rss / MIB
            row["loop_lag_p99_ms"] = ours.median("spaced", at, "lag_p99_ms")
        found["concurrency"][str(at)] = {k: v for k, v in row.items() if v is not None}
    for peer in peers:
        found["peers"][peer.name] = {
            f"{kind} {at}": {what: peer.median(kind, at, what) for what in rows[0]}
            for (kind, at), rows in peer.figures.items()
        }
    return found


def asked(found: dict[str, Any]) -> Table:
    """Figures of `report` beside what is asked of them. They are no verdicts: two cores that others
    share add to the slowest of a hundred what they like, and only what stands beside is fair."""
    made = Table(title="asked of the gateway; the machine is shared", title_justify="left")
    for heading in ("figure", "is", "asked"):
        made.add_column(heading)
    few, many = (found["concurrency"].get(str(at), {}) for at in (ASKED_AT, MANY))
    for what, figure, limit in (
        (f"first byte of {ASKED_AT} streams, added, p50", few.get("added_p50_ms"), "< 5 ms"),
        (f"first byte of {ASKED_AT} streams, added, p99", few.get("added_p99_ms"), "< 25 ms"),
        (f"of {MANY} streams at once, cut", many.get("cut"), "0"),
        (f"memory with {MANY} streams, MiB", many.get("peak_rss_mib"), "< 200 MiB"),
        (f"loop late with {MANY} streams, p99", many.get("loop_lag_p99_ms"), "< 100 ms"),
    ):
        made.add_row(what, "not measured" if figure is None else f"{figure:.1f}", limit)
    return made


def table(peers: list[Peer]) -> Table:
    made = Table(title="50 events an answer; medians", title_justify="left")
    for heading in (
        "before the engine",
        "answers",
        "clients",
        "requests/s",
        "first byte p50 / p99",
    ):
        made.add_column(heading)
    for heading in ("whole p50", "CPU a request", "cut", "memory", "loop late p99"):
        made.add_column(heading)
    for kind, at in dict.fromkeys(key for peer in peers for key in peer.figures):
        for peer in peers:
            if (kind, at) not in peer.figures:
                continue
            got = {w: peer.median(kind, at, w) for w in peer.figures[kind, at][0]}
            rss, late = got.get("peak_rss"), got.get("lag_p99_ms")
            made.add_row(
                peer.name,
                "at once" if kind == "burst" else f"{GAP} ms apart",
                str(at),
                f"{got['requests_per_s']:,.0f}",
                f"{got['first_p50_ms']:.2f} / {got['first_p99_ms']:.2f} ms",
                f"{got['whole_p50_ms']:.2f} ms",
                f"{got['cpu_us']:.0f} µs",
                f"{got['cut']:.0f}",
                "" if rss is None else f"{rss / MIB:.0f} MiB",
                "" if late is None else f"{late:.1f} ms",
            )
        made.add_section()
    return made


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks gateway")
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="of each measurement")
    parser.add_argument("--peers", default=",".join(PEERS), help="whom to measure")
    told = parser.parse_args(words)
    peers = run(told.peers.split(","), told.seconds, told.rounds, sys.stderr.isatty())
    if told.json:
        print(json.dumps(report(peers), indent=1))
    else:
        console = Console(width=150)
        console.print(table(peers))
        console.print(asked(report(peers)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
