"""What happens to three hosts, one thing after the other: each story leaves all of them well.

Each gives back the figures that it measured, in seconds.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable

from collectors.reading import mib
from supervisor.agent.backend import BackendError
from supervisor.agent.link import Link

from .cluster import PORT, Cluster, Row, until

Figures = dict[str, float]
Story = Callable[[Cluster], Awaitable[Figures]]

SPARE = "spare"  # a name for hosts that are drivers of Ray alone
LOST = 5.0  # seconds in which a host that is gone is known to be lost
BACK = 10.0  # and in which one is back, once its node is


def machines() -> dict[str, Row]:
    """Host c has the most room; on a, somebody would have to leave for a model of 8 GiB."""
    both = [{"name": "race:8b", "gib": 4}, {"name": "moves:8b", "gib": 4, "load": 60}]
    mine = [{"name": "big:8b", "gib": 8}, *both]
    return {
        "a": {"gib": 12, "models": [*mine, {"name": "old:8b", "gib": 8}], "loaded": ["old:8b"]},
        "b": {"gib": 16, "models": [*mine, {"name": "mine:8b", "gib": 1}]},
        "c": {"gib": 24, "models": [*mine, {"name": "theirs:8b", "gib": 1}],
              "more": {f"ullage_mib:{SPARE}": 100}},
    }  # fmt: skip


async def every_host_sees_every_host(cluster: Cluster) -> Figures:
    for host in cluster.hosts.values():
        found = await host.fleet()
        assert (found["self"], found["backend"], found["connected"]) == (host.name, "ray", True)
        assert found["trouble"] == []
    return {}


async def a_model_is_placed_where_there_is_room(cluster: Cluster) -> Figures:
    await young(cluster)
    began = time.monotonic()
    status, found = await cluster.hosts["a"].place("big:8b")
    took = time.monotonic() - began
    assert (status, found["host"], found["ready"]) == (200, "c", False), found
    assert found["address"] == "http://127.0.0.3:8553"
    why = {n["host"]: n["why"] for n in found["notes"]}
    assert why == {"a": "dearer", "b": "dearer", "c": "least loss"}, found["notes"]
    assert await begun(cluster, "big:8b") == ["c"]
    promises = (await cluster.hosts["b"].fleet())["directory"]["promises"]
    await ready(cluster, "big:8b")
    status, again = await cluster.hosts["b"].place("cellar/big:8b")
    assert (status, again["host"], again["ready"]) == (200, "c", True)
    assert len(cluster.loads("big:8b")) == 1
    assert all(p["model"] == "big:8b" for p in promises)
    return {"placed": took}


async def one_of_many_who_place_a_model_at_once_places_it(cluster: Cluster) -> Figures:
    asked = [h.place("race:8b", within=20) for h in cluster.hosts.values() for _ in range(3)]
    found = await asyncio.gather(*asked)
    assert [status for status, _ in found] == [200] * 9, found
    hosts = {row["host"] for _, row in found}
    assert len(hosts) == 1
    assert await begun(cluster, "race:8b") == [*hosts]
    return {}


async def a_claim_is_one_and_all_or_nothing(cluster: Cluster) -> Figures:
    """The ledger itself, asked by a host of its own."""
    link = await spare(cluster)
    try:
        a, c = mib(12 * 1024), mib(24 * 1024)
        first = await link.claim("gang", {"a": a, "c": mib(100)})
        await refused(link, "gang", {"b": 1}, "taken")
        await refused(link, "other", {"a": 1, "c": mib(100)}, "full")
        # What was refused has taken nothing.
        second = await link.claim("third", {"c": mib(c // 2**20 - 100)})
        await link.release(first)
        await link.release(second)
        await link.release(await link.claim("gang", {"a": a}))
    finally:
        await link.stop()
    return {}


async def a_second_host_of_one_name_is_refused(cluster: Cluster) -> Figures:
    link = await spare(cluster)
    try:
        code, said = await joins(cluster, SPARE)
        assert code == 5, said
        assert "a host called spare is in the fleet already" in said
        assert link.connected
    finally:
        await link.stop()
    return {}


async def a_node_without_the_resource_is_refused(cluster: Cluster) -> Figures:
    code, said = await joins(cluster, "unknown")
    assert code == 5, said
    assert "has no ullage_mib:unknown" in said
    assert "ullage fleet resources" in said
    return {}


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
    assert took < LOST
    status, found = await waiting
    assert (status, found["host"]) == (200, "c"), found
    elsewhere = time.monotonic() - began
    assert await begun(cluster, "moves:8b", 2) == ["b", "c"]
    return {"lost": took, "elsewhere": elsewhere}


async def it_is_back_by_itself(cluster: Cluster) -> Figures:
    a, b, _ = cluster.hosts.values()
    await b.start("daemon", "agent")  # which waits for its node
    await b.start("node")

    async def node() -> bool:
        return bool(b.find("node", "raylet/raylet"))

    await until(node)
    began = time.monotonic()

    async def back() -> bool:
        return (await a.sees())["b"] == "here"

    await until(back, cluster.told)
    took = time.monotonic() - began
    await cluster.whole()
    return {"rejoined": took}


async def without_its_agent_s_driver_a_host_stays_and_joins_again(cluster: Cluster) -> Figures:
    a, b, _ = cluster.hosts.values()
    began = time.monotonic()
    for driver in b.find("agent", "supervisor.agent.rayed"):
        driver.kill()

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
    a, b, c = cluster.hosts.values()
    loads = len(cluster.loads())
    began = time.monotonic()
    for server in a.find("node", "gcs_server"):
        server.kill()

    async def alone() -> bool:
        return not any([(await h.fleet())["connected"] for h in (a, b, c)])

    noticed = await until(alone)
    found = await b.fleet()
    assert found["trouble"]
    seen = await b.sees()
    assert seen["b"] == "here"
    assert {seen["a"], seen["c"]} == {"silent"}
    # Nothing new across hosts, and all that is here is served here.
    status, row = await b.place("theirs:8b", within=1)
    assert (status, row["code"]) == (409, "queued")
    status, row = await b.place("mine:8b")
    assert (status, row["host"]) == (200, "b")
    assert len(cluster.loads()) == loads
    reply = await b.daemon.post("/api/v1/load", json={"model": "cellar/mine:8b"})
    assert reply.status_code == 200, reply.text
    await restarted(cluster)
    await cluster.whole()
    return {"noticed": noticed, "whole again": time.monotonic() - began}


async def ray_without_a_token_is_refused(cluster: Cluster) -> Figures:
    """The last: from now on such a Ray runs on this machine."""
    env = {k: v for k, v in cluster.env.items() if not k.startswith("RAY_AUTH")}
    await cluster.spawn(
        "ray", "start", "--head", "--block", "--port=6390", "--node-ip-address=127.0.0.9",
        "--include-dashboard=false", "--num-cpus=1", "--object-store-memory=80000000",
        f'--resources={{"ullage_mib:{SPARE}": 1}}', f"--temp-dir={cluster.folder}/open",
        out=cluster.folder / "open.log", env=env,
    )  # fmt: skip

    async def up() -> bool:
        log = (cluster.folder / "open.log").read_text()
        return "Ray runtime started" in log

    await until(up)
    code, said = await joins(cluster, SPARE, "127.0.0.9", 6390)
    assert code == 5, said
    assert "RAY_AUTH_MODE is not set, so Ray asks for no token here" in said
    return {}


STORIES: tuple[Story, ...] = (
    every_host_sees_every_host,
    a_model_is_placed_where_there_is_room,
    one_of_many_who_place_a_model_at_once_places_it,
    a_claim_is_one_and_all_or_nothing,
    a_second_host_of_one_name_is_refused,
    a_node_without_the_resource_is_refused,
    a_host_that_dies_under_load_is_lost_and_its_models_go_elsewhere,
    it_is_back_by_itself,
    without_its_agent_s_driver_a_host_stays_and_joins_again,
    without_the_head_every_host_serves_alone_and_nothing_else,
    ray_without_a_token_is_refused,
)


# -- what they have in common


async def young(cluster: Cluster) -> None:
    """Nothing is begun by a directory that has just been started."""

    async def old() -> bool:
        status, found = await cluster.hosts["a"].place("big:8b", dry=True)
        return status == 200 or "wait" not in found

    await until(old)


async def begun(cluster: Cluster, model: str, count: int = 1) -> list[str]:
    """Where the loads of a model began, once there are so many."""

    async def all_of_them() -> bool:
        return len(cluster.loads(model)) >= count

    await until(all_of_them)
    return [row["host"] for row in cluster.loads(model)]


async def ready(cluster: Cluster, model: str) -> None:
    async def there() -> bool:
        return bool((await cluster.hosts["b"].place(model, dry=True))[1].get("ready"))

    await until(there)


async def spare(cluster: Cluster) -> Link:
    """A driver on the node of c, by a name of its own."""

    async def nothing() -> None:
        return

    os.environ.update({k: v for k, v in cluster.env.items() if k.startswith("RAY_")})
    given = {"host": SPARE, "daemon": "unix:/nowhere", "token_file": None, "node_ip": "127.0.0.3",
             "address": f"127.0.0.1:{PORT}", "patience": 10.0, "require_token": True}  # fmt: skip
    link = Link(given, 2.5, nothing)  # type: ignore[arg-type]
    await link.start()

    async def joined() -> bool:
        return link.connected

    await until(joined, lambda: str(link.trouble))
    return link


async def refused(link: Link, model: str, shares: Row, code: str) -> None:
    try:
        await link.claim(model, shares)
    except BackendError as error:
        found = error.code
    else:
        found = "claimed"
    assert found == code, model


async def joins(
    cluster: Cluster, name: str, ip: str = "127.0.0.3", port: int = PORT
) -> tuple[int, str]:
    """`ullage fleet join` by that name: its exit code, and what it said."""
    folder = cluster.folder / f"{name}-{port}"
    folder.mkdir(exist_ok=True)
    head = "127.0.0.1" if port == PORT else ip
    (folder / "ullage.toml").write_text(
        f'state_dir = "{folder}"\n[fleet]\nname = "{name}"\nray = "{head}:{port}"\n'
    )
    out = folder / "out"
    out.write_text("")
    words = ("-m", "supervisor", "fleet", "join", "--node-ip", ip)
    process = await cluster.spawn(
        sys.executable, *words, "--config", str(folder / "ullage.toml"), out=out
    )
    async with asyncio.timeout(60):
        code = await process.wait()
    return code, out.read_text()


async def restarted(cluster: Cluster) -> None:
    """As a service manager does it: nodes are started again, the head first."""
    for host in cluster.hosts.values():
        host.kill("node")
    for host in cluster.hosts.values():
        await host.start("node")
        await until(host.has_node, cluster.told)
