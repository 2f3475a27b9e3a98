"""A request through one host's gateway for a model that only another host holds."""

from __future__ import annotations

import asyncio
import http.client
import signal
import socket
import statistics
import subprocess
import time
from asyncio.subprocess import Process

from benchmarks.fleet_hosts import started, written
from benchmarks.gateway import start
from benchmarks.gateway_load import BODY

from .cluster import PORT, Cluster, until
from .steps import Figures, agent_of

ASKS, HAS = "asks", "has"  # each a host of its own, on the nodes of a and b
REQUESTS = 200
WARM_UP = 20
HEADERS = {"Content-Type": "application/json"}


async def a_request_for_a_model_of_another_host_costs_little_more(cluster: Cluster) -> Figures:
    """Daemons, gateways and agents as they are, before an engine that speaks HTTP."""
    a, b, _ = cluster.hosts.values()
    engine, engine_port = await asyncio.to_thread(start, "gateway_engine", "0")
    daemons, agents = [engine], list[Process]()
    ports = dict[str, int]()
    try:
        for name, port in ((HAS, engine_port), (ASKS, None)):
            with socket.create_server(("127.0.0.1", 0)) as free:
                ports[name] = free.getsockname()[1]
            folder = written(cluster.folder / name, name, ports[name], port,
                             ray=f"127.0.0.1:{PORT}")  # fmt: skip
            daemons.append(await asyncio.to_thread(started, "daemon", str(folder)))
        for name, node in ((HAS, b), (ASKS, a)):
            agents.append(await agent_of(cluster, node.ip, cluster.folder / name))

        async def heard() -> bool:
            return await asyncio.to_thread(_answers, ports[ASKS]) == HAS

        await until(heard, lambda: _said(cluster))
        return await asyncio.to_thread(_compared, ports)
    finally:
        for agent in agents:
            agent.send_signal(signal.SIGTERM)
            await agent.wait()
        await asyncio.to_thread(_end, daemons)


def _answers(port: int) -> str | None:
    """Which host gave the answer; None: there was none."""
    asked = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        asked.request("POST", "/v1/chat/completions", BODY, HEADERS)
        reply = asked.getresponse()
        reply.read()
        return reply.getheader("x-ullage-host") if reply.status == 200 else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        asked.close()


def _compared(ports: dict[str, int]) -> Figures:
    """Turn by turn, on connections that are kept: seconds until an answer begins, and ends."""
    asked = {n: http.client.HTTPConnection("127.0.0.1", p, timeout=30) for n, p in ports.items()}
    begun: dict[str, list[float]] = {name: [] for name in asked}
    ended: dict[str, list[float]] = {name: [] for name in asked}
    for _ in range(WARM_UP + REQUESTS):
        for name, connection in asked.items():
            began = time.perf_counter()
            connection.request("POST", "/v1/chat/completions", BODY, HEADERS)
            reply = connection.getresponse()
            begun[name].append(time.perf_counter() - began)
            reply.read()
            ended[name].append(time.perf_counter() - began)
            assert reply.status == 200
            assert reply.getheader("x-ullage-host") == (HAS if name == ASKS else None)
    first, last = (
        {name: statistics.median(times[WARM_UP:]) for name, times in each.items()}
        for each in (begun, ended)
    )
    return {
        "asked there": first[HAS],
        "asked elsewhere": first[ASKS],
        "added": first[ASKS] - first[HAS],
        "added to the whole": last[ASKS] - last[HAS],
    }


def _end(processes: list[subprocess.Popen[str]]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait()


def _said(cluster: Cluster) -> str:
    files = [cluster.folder / name / "out" for name in (ASKS, HAS)]
    return "\n".join(file.read_text()[-1500:] for file in files if file.exists())
