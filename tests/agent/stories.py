"""What happens to three hosts, one thing after the other: each story leaves all of them well.

Each gives back the figures that it measured, in seconds.
"""

from __future__ import annotations

import asyncio
import time

from collectors.reading import mib

from .across import ASKS, HAS, a_request_for_a_model_of_another_host_costs_little_more
from .beginning import the_directory_fills_by_itself_when_ray_starts_it_again
from .cluster import Cluster, Row, until
from .losing import (
    a_host_that_dies_under_load_is_lost_and_its_models_go_elsewhere,
    it_is_back_by_itself_and_models_are_placed_there_again,
    with_the_head_everybody_is_back,
    without_its_agent_s_driver_a_host_stays_and_joins_again,
    without_the_head_every_host_serves_alone_and_nothing_else,
)
from .steps import SPARE, Figures, Story, begun, joins, ready, refused, spare, young


def machines() -> dict[str, Row]:
    """Host c has the most room; on a, somebody would have to leave for a model of 8 GiB."""
    both = [{"name": "race:8b", "gib": 4}, {"name": "moves:8b", "gib": 4, "load": 60}]
    mine = [{"name": "big:8b", "gib": 8}, *both]
    only = [{"name": name, "gib": 1} for name in ("theirs:8b", "new:8b", "later:8b")]
    return {
        "a": {"gib": 12, "models": [*mine, {"name": "old:8b", "gib": 8}], "loaded": ["old:8b"],
              "more": {f"ullage_mib:{ASKS}": 100}},
        "b": {"gib": 16, "models": [*mine, {"name": "mine:8b", "gib": 1}],
              "more": {f"ullage_mib:{HAS}": 100}},
        "c": {"gib": 24, "models": [*mine, *only], "loaded": ["theirs:8b"],
              "more": {f"ullage_mib:{SPARE}": 100}},
    }  # fmt: skip


async def every_host_sees_every_host(cluster: Cluster) -> Figures:
    for host in cluster.hosts.values():
        found = await host.fleet()
        assert (found["self"], found["backend"], found["connected"]) == (host.name, "ray", True)
        assert found["trouble"] == []
        # Or it would end with a host that others are to hear of as lost.
        assert len(host.find("node", "ray::Directory")) == host.head
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


SHOWN: tuple[Story, ...] = (
    every_host_sees_every_host,
    a_model_is_placed_where_there_is_room,
    a_host_that_dies_under_load_is_lost_and_its_models_go_elsewhere,
    it_is_back_by_itself_and_models_are_placed_there_again,
    without_the_head_every_host_serves_alone_and_nothing_else,
    with_the_head_everybody_is_back,
)
OTHERS: tuple[Story, ...] = (
    one_of_many_who_place_a_model_at_once_places_it,
    a_claim_is_one_and_all_or_nothing,
    a_second_host_of_one_name_is_refused,
    a_node_without_the_resource_is_refused,
    a_request_for_a_model_of_another_host_costs_little_more,
    without_its_agent_s_driver_a_host_stays_and_joins_again,
    the_directory_fills_by_itself_when_ray_starts_it_again,
    ray_without_a_token_is_refused,
)
GROUPS = {"shown": SHOWN, "others": OTHERS}
STORIES = (*SHOWN, *OTHERS)
