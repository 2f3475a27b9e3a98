"""The gateway before the real llama-server: a crowd of clients, three models, memory for two."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks import crowd

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.usefixtures("installed")]


def test_a_crowd_is_served_whole_within_the_memory_there_is() -> None:
    async def story() -> crowd.Result:
        async with asyncio.timeout(300):
            return await crowd.run(seconds=20.0, clients=8)

    result = asyncio.run(story())
    assert result.wrong == []
    assert result.answered >= 8
    assert len(result.of_model) == 3
    assert result.loads >= 3  # so somebody had to leave
    assert max(len(look.held) for look in result.looks) == 2
    assert result.most_held <= result.budget * (1 + crowd.SLACK)
    assert (result.in_flight_after, result.held_after) == (0, 0)
    assert result.kept
