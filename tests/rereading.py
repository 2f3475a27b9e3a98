"""A daemon whose configuration is in a real file, and read when the test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from collectors.reading import PoolId
from supervisor.config.config import load
from supervisor.config.given import ConfigError
from supervisor.loop import Loop
from supervisor.overrides import Overrides
from supervisor.reloading import Reloading
from supervisor.scout import Scout
from tests.builders import resident
from tests.configs import KINDS
from tests.web.fakes import EPOCH, GPU, World, running, site

Story = Callable[["House"], Awaitable[None]]


class House:
    """A daemon's loop over a card with two idle models, and its configuration in a real file."""

    def __init__(self, folder: Path, loop: Loop, text: str | None, **flags: str) -> None:
        self.file = folder / "ullage.toml"
        if text is not None:
            self.write(text)
        self.loop, self.heard, self.wall = loop, list[Any](), EPOCH
        named = {key.replace("__", "."): value for key, value in flags.items()}
        config = load(None, {}, named, kinds=KINDS | {"process"}, places=[self.file])
        self.overrides = Overrides(config, loop, loop.journal.shelves["overrides"])
        loop.policy = loop.keeping.configured(self.overrides.recall())
        self.engines: dict[Any, Any] = {}
        http: Any = None
        self.scout = Scout(http, config.engines, False, self.engines, lambda event: None)
        self.reloading = Reloading(
            self.overrides,
            self.scout.takes,
            [self.scout.take],
            lambda: self.wall,
            [self.heard.append],
        )

    def write(self, text: str) -> None:
        """As editors do: at once, under its name."""
        draft = self.file.with_name("draft")
        draft.write_text(text)
        draft.replace(self.file)

    async def look(self, times: int = 2) -> None:
        for _ in range(times):
            self.wall += 2
            await self.reloading.look()

    async def refused(self) -> list[str]:
        with pytest.raises(ConfigError) as wrong:
            await self.reloading.now("asked")
        return [str(p) for p in wrong.value.problems]

    @property
    def rows(self) -> dict[str, tuple[str, str]]:
        return {row.key: (row.value, row.source) for row in self.overrides.rows()}


def told(folder: Path, story: Story, text: str | None = "", **flags: str) -> None:
    async def run() -> None:
        world = World()
        world.hold(
            resident("a", 4, pool=PoolId(GPU), idle=99), resident("b", 4, pool=PoolId(GPU), idle=9)
        )
        made = site(world)
        async with running(made):
            await story(House(folder, made.loop, text, **flags))

    asyncio.run(run())
