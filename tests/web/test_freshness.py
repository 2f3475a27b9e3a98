"""How old a sample is, and may be where somebody is served by it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from collectors.reading import Seconds
from tests.web.fakes import API, EPOCH, NOW, World, client, site
from tests.web.test_alerts import AT, SENT


@pytest.mark.parametrize(("age", "statuses"), [(31, (200, 202)), (61, (503, 503))])
def test_where_samples_are_taken_seldom_one_is_fresh_until_the_next_but_one_is_due(
    age: float, statuses: tuple[int, int]
) -> None:
    async def run() -> tuple[int, int]:
        of = site(World())
        of.loop.period = Seconds(30)
        of.loop.snapshot = replace(World().snapshot(), taken_at=Seconds(NOW - age))
        async with client(of) as http:
            ready, told = await http.get("/readyz"), await http.post(AT, json=SENT)
        return ready.status_code, told.status_code

    assert asyncio.run(run()) == statuses


def test_the_state_is_as_old_as_what_it_says_of_memory() -> None:
    """An engine was waited for meanwhile."""

    async def run() -> tuple[float, bool, float]:
        of = site(World())
        of.loop.snapshot = replace(World().snapshot(), read_at=Seconds(NOW - 2))
        async with client(of) as http:
            state = (await http.get(f"{API}/state")).json()
            lines = (await http.get("/metrics")).text.splitlines()
        told = next(line for line in lines if line.startswith("ullage_sample_timestamp_seconds "))
        return state["sample_age"], state["ready"], float(told.split()[1])

    assert asyncio.run(run()) == (2.0, True, EPOCH - 2)
