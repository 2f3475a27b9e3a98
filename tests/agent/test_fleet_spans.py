"""A model that spans three hosts, each with a node of real Ray, a daemon and an agent."""

from __future__ import annotations

import pytest

from tests.agent.cluster import Row
from tests.agent.span_stories import STORIES
from tests.agent.test_fleet import played


@pytest.fixture(scope="module")
def stories(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Row]:
    rows = played("tests.agent.span_stories", tmp_path_factory.mktemp("spans"))
    return {row["story"]: row for row in rows}


@pytest.mark.slow
@pytest.mark.fleet
@pytest.mark.parametrize("name", [story.__name__ for story in STORIES])
def test_of_a_model_that_spans_hosts(stories: dict[str, Row], name: str) -> None:
    assert name in stories, f"it was not told: {[*stories.values()][-1].get('why')}"
    assert stories[name]["ok"], stories[name]["why"]
