"""What stories of three hosts have in common: steps that they take, and what they wait for."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable
from pathlib import Path

from supervisor.agent.backend import BackendError
from supervisor.agent.link import Link

from .cluster import PORT, Cluster, Host, Row, until

Figures = dict[str, float]  # in seconds
Story = Callable[[Cluster], Awaitable[Figures]]

SPARE = "spare"  # a name for hosts that are drivers of Ray alone


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


async def agent_of(cluster: Cluster, ip: str, folder: Path) -> Process:
    """`ullage fleet join` on that node of Ray, with the configuration that `folder` has."""
    words = ("-m", "supervisor", "fleet", "join", "--node-ip", ip, "--config",
             str(folder / "ullage.toml"))  # fmt: skip
    (folder / "out").write_text("")
    return await cluster.spawn(sys.executable, *words, out=folder / "out")


async def joins(
    cluster: Cluster, name: str, ip: str = "127.0.0.3", port: int = PORT
) -> tuple[int, str]:
    """`ullage fleet join` by that name, where it may not: its exit code, and what it said."""
    folder = cluster.folder / f"{name}-{port}"
    folder.mkdir(exist_ok=True)
    head = "127.0.0.1" if port == PORT else ip
    (folder / "ullage.toml").write_text(
        f'state_dir = "{folder}"\n[fleet]\nname = "{name}"\nray = "{head}:{port}"\n'
    )
    process = await agent_of(cluster, ip, folder)
    async with asyncio.timeout(60):
        code = await process.wait()
    return code, (folder / "out").read_text()


async def loaded(host: Host, model: str) -> None:
    """By its own daemon, whatever has become of the fleet."""
    reply = await host.daemon.post("/api/v1/load", json={"model": f"cellar/{model}"})
    assert reply.status_code == 200, reply.text
