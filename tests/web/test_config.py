"""The configuration over HTTP: which file is in force, and having it read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import httpx

from supervisor.web.config import PATH
from tests.builders import resident
from tests.rereading import House
from tests.web.fakes import EPOCH, GPU, World, client, running, site

Story = Callable[[httpx.AsyncClient, House], Awaitable[None]]


def told(folder: Path, story: Story) -> None:
    async def run() -> None:
        world = World()
        world.hold(resident("a", 4, pool=GPU, idle=99), resident("b", 4, pool=GPU, idle=9))
        made = site(world)
        async with running(made):
            house = House(folder, made.loop, "")
            served = replace(made, overrides=house.overrides, reloading=house.reloading)
            async with client(served) as http:
                await story(http, house)

    asyncio.run(run())


def test_what_is_in_force_is_told_with_what_is_wrong_and_what_waits(tmp_path: Path) -> None:
    async def story(http: httpx.AsyncClient, house: House) -> None:
        assert (await http.get(PATH)).json() == {
            "file": str(house.file),
            "read_at": EPOCH,
            "checked_at": EPOCH,
            "ok": True,
            "mistakes": [],
            "restart": [],
        }
        house.write('mode = "advise"')
        await house.look()
        house.write("mode = 7")
        await house.look()
        found = (await http.get(PATH)).json()
        assert (found["ok"], found["restart"]) == (False, ["mode"])
        assert found["mistakes"][0].startswith("mode: 7 is not one of enforce, advise, observe (")
        assert (await http.get("/api/v1/state")).json()["config"] == found

    told(tmp_path, story)


def test_it_is_read_at_once_and_tells_what_that_does(tmp_path: Path) -> None:
    async def story(http: httpx.AsyncClient, house: House) -> None:
        house.write('single_model_mode = true\nmode = "advise"')
        dry = await http.post(f"{PATH}/reload", json={"dry_run": True})
        expected = {
            "file": str(house.file),
            "changed": ["single_active_backend"],
            "restart": ["mode"],
            "hidden": [],
            "set_aside": {},
            "apply_now": False,
            "now": ["ollama/a"],
            "next_load": {"ollama": ["ollama/a", "ollama/b"]},
            "sentences": [
                "single_active_backend = true (it was false)",
                "mode = advise (it was enforce): when the daemon is started anew",
                "who is loaded stays for now; applied at once, ollama/a would leave",
                "before another model of ollama loads, ollama/a and ollama/b leave",
            ],
            "dry_run": True,
        }
        assert (dry.status_code, dry.json()) == (200, expected)
        assert not house.loop.policy.single
        real = await http.post(f"{PATH}/reload", json={})
        assert real.json() == expected | {"dry_run": False}
        assert house.loop.policy.single
        rows = (await http.get("/api/v1/settings")).json()["settings"]
        shown = {row["key"]: (row["value"], row["source"]) for row in rows}
        assert shown["single_active_backend"] == ("true", f"file {house.file}")
        assert shown["mode"] == ("enforce", "default")
        now = await http.post(f"{PATH}/reload", json={"apply_now": True})
        assert now.json()["sentences"][-2:] == [
            "ollama/a leaves now",
            "before another model of ollama loads, ollama/b leaves",
        ]

    told(tmp_path, story)


def test_a_bad_file_is_refused_with_every_mistake_and_nothing_changes(tmp_path: Path) -> None:
    async def story(http: httpx.AsyncClient, house: House) -> None:
        house.write("max_active_backends = 1\nprefetsh = 1\ndetect = 2")
        refused = await http.post(f"{PATH}/reload", json={})
        assert refused.status_code == 422
        assert "what was in force before stays in force" in refused.json()["detail"]
        assert len(refused.json()["errors"]) == 2
        assert house.loop.policy.max_active == 0
        assert (await http.post(f"{PATH}/reload", json={"aply_now": True})).status_code == 422
        assert (await http.post(f"{PATH}/reload?x=1", json={})).status_code == 422
        assert (await http.get(f"{PATH}?x=1")).status_code == 422
        assert (await http.get(f"{PATH}/reload")).status_code == 405

    told(tmp_path, story)


def test_where_there_is_none_that_is_said() -> None:
    async def story() -> None:
        async with running(site(World())) as http:
            assert (await http.get(PATH)).status_code == 409
            assert (await http.post(f"{PATH}/reload", json={})).status_code == 409
            assert (await http.get("/api/v1/state")).json()["config"] is None

    asyncio.run(story())
