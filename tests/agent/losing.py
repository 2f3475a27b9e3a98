"""What becomes of a fleet that loses somebody, and how soon all are together again."""

from __future__ import annotations

import asyncio
import signal
import time

from .cluster import Cluster, Host, send, until
from .steps import Figures, begun, loaded

LOST = 5.0  # seconds in which a host that is gone is known to be lost
BACK = 10.0  # and in which it is back, once its node of Ray is
NOTICED = 20.0  # and in which every host knows that Ray's head is gone


async def a_host_that_dies_under_load_is_lost_and_its_models_go_elsewhere(
    cluster: Cluster,
) -> Figures:
    a, b, c = cluster.hosts.values()
    status, found = await a.place("moves:8b", within=10, avoid=["a", "c"])
    assert (status, found["host"]) == (200, "b"), found
    assert await begun(cluster, "moves:8b") == ["b"]
    waiting = asyncio.create_task(a.place("moves:8b", within=30, avoid=["a", "b"]))
    began = time.monotonic()
    b.kill()

    async def lost() -> bool:
        return (await a.sees())["b"] == (await c.sees())["b"] == "lost"

    took = await until(lost)
    assert took < LOST, took
    status, found = await waiting
    assert (status, found["host"]) == (200, "c"), found
    elsewhere = time.monotonic() - began
    assert await begun(cluster, "moves:8b", 2) == ["b", "c"]
    return {"lost": took, "elsewhere": elsewhere}


async def it_is_back_by_itself_and_models_are_placed_there_again(cluster: Cluster) -> Figures:
    a, b, c = cluster.hosts.values()
    await b.start("daemon", "agent")  # which waits for its node
    await b.start("node")
    up = await node_is_up(cluster, b)
    seen = await all_see_all(cluster) - up
    for host in (a, b, c):
        status, found = await host.place("mine:8b", within=BACK)
        assert (status, found["host"]) == (200, "b"), found
    took = time.monotonic() - up
    assert took < BACK, took
    return {"seen by all": seen, "rejoined": took}


async def without_its_agent_s_driver_a_host_stays_and_joins_again(cluster: Cluster) -> Figures:
    a, b, _ = cluster.hosts.values()
    began = time.monotonic()
    send(b.find("agent", "supervisor.agent.rayed"), signal.SIGKILL)

    async def away() -> bool:
        return not (await b.fleet())["connected"]

    await until(away)
    status, found = await b.place("mine:8b")
    assert (status, found["host"]) == (200, "b")

    async def back() -> bool:
        return (await b.fleet())["connected"] and (await a.sees())["b"] == "here"

    await until(back, cluster.told)
    return {"driver back": time.monotonic() - began}


async def without_the_head_every_host_serves_alone_and_nothing_else(cluster: Cluster) -> Figures:
    """The whole host of Ray's head ends. Nobody starts it again before the next story."""
    a, b, c = cluster.hosts.values()
    await loaded(b, "mine:8b")
    loads = len(cluster.loads())
    began = time.monotonic()
    a.kill()

    async def alone() -> bool:
        return not any([(await h.fleet())["connected"] for h in (b, c)])

    noticed = await until(alone, cluster.told)
    assert noticed < NOTICED, noticed
    found = await b.fleet()
    assert found["trouble"]
    seen = await b.sees()
    assert seen["b"] == "here"
    assert {seen["a"], seen["c"]} == {"silent"}
    # Nothing new across hosts, and all that is here is served here.
    status, row = await b.place("theirs:8b", within=1)
    assert (status, row["code"]) == (409, "queued")
    status, row = await b.place("mine:8b")
    assert (status, row["host"], row["ready"]) == (200, "b", True)
    status, row = await c.place("theirs:8b")
    assert (status, row["host"], row["ready"]) == (200, "c", True)
    assert len(cluster.loads()) == loads
    return {"noticed": noticed, "alone": time.monotonic() - began}


async def with_the_head_everybody_is_back(cluster: Cluster) -> Figures:
    """Nodes of before belong to another Ray, and take up to a minute to see that by themselves: so
    who starts the head starts all of them anew."""
    a, b, c = cluster.hosts.values()
    began = time.monotonic()
    for host in (b, c):
        host.kill("node")
    await a.start("daemon", "agent")
    for host in (a, b, c):
        await host.start("node")
        up = await node_is_up(cluster, host)
    seen = await all_see_all(cluster) - up
    for host in (a, b, c):  # what is there is served, though the directory has just begun
        for model, there in (("mine:8b", "b"), ("theirs:8b", "c")):
            status, found = await host.place(model, within=BACK)
            assert (status, found["host"], found["ready"]) == (200, there, True), found
    took = time.monotonic() - up
    assert took < BACK, took
    status, found = await a.place("new:8b", within=30)
    assert (status, found["host"]) == (200, "c"), found
    return {"nodes": up - began, "seen by all": seen, "rejoined": took,
            "loads": time.monotonic() - up}  # fmt: skip


async def node_is_up(cluster: Cluster, host: Host) -> float:
    """When it said so."""
    await until(host.has_node, cluster.told)
    return time.monotonic()


async def all_see_all(cluster: Cluster) -> float:
    """When they did."""
    await cluster.whole()
    return time.monotonic()
