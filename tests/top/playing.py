"""Plays a story on a dashboard without a terminal."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from textual import events
from textual.pilot import Pilot
from textual.widgets._toast import Toast

from supervisor.top.live import Heard
from supervisor.top.watch import Seen
from tests.top.fakes import (
    Dashboard,
    Row,
    dashboard,
)

Story = Callable[[Dashboard, Pilot[None]], Awaitable[None]]
SMALL = (80, 24)  # columns and rows


def play(story: Story, app: Dashboard | None = None, size: tuple[int, int] = SMALL) -> None:
    async def run() -> None:
        top = app or dashboard()
        async with top.run_test(size=size, notifications=True) as pilot:
            await settle(pilot)
            await story(top, pilot)

    asyncio.run(run())


async def hears(top: Dashboard, pilot: Pilot[None], state: Row) -> None:
    top.post_message(Heard(Seen(state, top.at)))
    await settle(pilot)


def toasts(top: Dashboard) -> str:
    return "\n".join(str(t.render()) for t in top.screen.query(Toast))


async def settle(pilot: Pilot[None]) -> None:
    """Until every message is handled, and what those post. Waits for no clock."""
    for _ in range(4):
        await pilot.pause(0)


async def press(pilot: Pilot[None], *keys: str) -> None:
    """Each key after what the one before it did. (The pilot's own waits for an idle processor.)"""
    for key in keys:
        pilot.app.post_message(events.Key(key, key if len(key) == 1 else None))
        await settle(pilot)
