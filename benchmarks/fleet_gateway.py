"""What does it cost that a model is on another host?
`python -m benchmarks fleet-gateway [--json] [--seconds S] [--rounds N]`

A request through host A's gateway for a model that only host B holds: A's agent is asked where it
is, and B's gateway answers. Beside it, in the same run and turn by turn: the same request at B, at
B's engine, and at a gateway that is in no fleet, before the same engine. Gateways, agent, engine
and clients are processes of their own, on loopback; what holds the fleet together is not Ray, which
no request waits for. Figures are medians of the rounds, the 99th percentile too.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from .fleet_hosts import started, written
from .gateway import Peer, measure, ready, start

AT = (1, 16)  # connections
KIND = "burst"
# Whose figures each is to be compared with, and what the difference is then.
BESIDE = {
    "alone": ("engine", "a gateway"),
    "b": ("alone", "being in a fleet"),
    "a": ("b", "asking the agent, and one gateway more"),
}
TITLES = {
    "engine": "the engine itself",
    "alone": "a gateway in no fleet, which has it",
    "b": "B, which has it",
    "a": "A, which has not",
}


@contextmanager
def standing(folder: Path) -> Iterator[list[Peer]]:
    """All of them, each asked once."""
    processes: list[subprocess.Popen[str]] = []

    def host(name: str, engine: int | None, fleet: bool = True) -> Peer:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port: int = free.getsockname()[1]
        written(folder / name, name, port, engine, fleet=fleet)
        processes.append(started("daemon", str(folder / name)))
        return Peer(name, processes[-1], port)

    try:
        engine, port = start("gateway_engine", "0")
        processes.append(engine)
        peers = [Peer("engine", engine, port), host("alone", port, fleet=False), host("b", port)]
        peers.append(host("a", None))
        processes.append(started("agent", str(folder / "a"), f"b={folder / 'b'}"))
        for peer in peers:
            ready(peer)
        yield peers
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()


def run(seconds: float, rounds: int) -> list[Peer]:
    with (
        tempfile.TemporaryDirectory(prefix="fleet-bench-") as folder,
        standing(Path(folder)) as all,
    ):
        for _ in range(rounds):
            for at in AT:
                for peer in all:
                    measure(peer, KIND, at, seconds)
    return all


def added(peers: list[Peer], name: str, at: int, what: str) -> float | None:
    """Milliseconds more than what it stands beside."""
    by_name = {peer.name: peer for peer in peers}
    mine = by_name[name].median(KIND, at, what)
    other = BESIDE.get(name)
    beside = None if other is None else by_name[other[0]].median(KIND, at, what)
    return None if mine is None or beside is None else mine - beside


def report(peers: list[Peer]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for at in AT:
        for peer in peers:
            row = {w: peer.median(KIND, at, w) for w in peer.figures[KIND, at][0]}
            for share in ("p50", "p99"):
                row[f"added_{share}_ms"] = added(peers, peer.name, at, f"first_{share}_ms")
            found.setdefault(peer.name, {})[str(at)] = row
    return found


def table(peers: list[Peer]) -> Table:
    made = Table(title="Until the first byte; medians of the rounds", title_justify="left")
    for heading in ("asked at", "clients", "p50", "p99", "added p50", "p99", "by"):
        made.add_column(heading)
    for heading in ("requests/s", "whole p50", "CPU a request", "cut"):
        made.add_column(heading)
    told = report(peers)
    for at in AT:
        for peer in peers:
            row = told[peer.name][str(at)]
            more = [row[f"added_{share}_ms"] for share in ("p50", "p99")]
            made.add_row(
                TITLES[peer.name],
                str(at),
                f"{row['first_p50_ms']:.2f} ms",
                f"{row['first_p99_ms']:.2f} ms",
                *("" if ms is None else f"{ms:+.2f} ms" for ms in more),
                BESIDE.get(peer.name, ("", ""))[1],
                f"{row['requests_per_s']:,.0f}",
                f"{row['whole_p50_ms']:.2f} ms",
                f"{row['cpu_us']:.0f} µs",
                f"{row['cut']:.0f}",
            )
        made.add_section()
    return made


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks fleet-gateway")
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=5, help="of each measurement")
    told = parser.parse_args(words)
    peers = run(told.seconds, told.rounds)
    if told.json:
        print(json.dumps(report(peers), indent=1))
    else:
        Console(width=170).print(table(peers))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
