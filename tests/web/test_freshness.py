"""How old a sample may be by which somebody is served."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from collectors.reading import Seconds
from tests.web.fakes import NOW, World, client, site
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
