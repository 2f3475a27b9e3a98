"""Three hosts, each with a node of real Ray, a daemon and an agent: what becomes of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.agent import needs
from tests.agent.cluster import ROOT, Row
from tests.agent.faults import doubles, seeds
from tests.agent.stories import GROUPS

TIMEOUT = 900  # seconds for all stories together: on two free cores they take two minutes
ONE = "1-1"  # of the ten schedules of `make fleet-faults`


def played(module: str, folder: Path, *words: str) -> list[Row]:
    if why := needs.missing():
        pytest.skip(why)
    out = folder / "rows.json"
    done = subprocess.run(
        [sys.executable, "-m", module, "--json", str(out), *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert out.exists(), done.stdout + done.stderr
    found: list[Row] = json.loads(out.read_text())
    return found


@pytest.fixture(scope="module")
def stories(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Row]]:
    """A group of stories by name, played once."""

    @cache
    def play(group: str) -> dict[str, Row]:
        rows = played("tests.agent", tmp_path_factory.mktemp(group), group)
        return {row["story"]: row for row in rows}

    return play


@pytest.mark.slow
@pytest.mark.fleet
@pytest.mark.parametrize(
    ("group", "name"), [(g, story.__name__) for g, stories in GROUPS.items() for story in stories]
)
def test_of_three_hosts(stories: Callable[[str], dict[str, Row]], group: str, name: str) -> None:
    found = stories(group)
    assert name in found, f"it was not told: {[*found.values()][-1].get('why')}"
    assert found[name]["ok"], found[name]["why"]


@pytest.mark.slow
@pytest.mark.fleet
def test_random_faults_place_no_model_twice(tmp_path: Path) -> None:
    (row,) = played("tests.agent.faults", tmp_path, "--seeds", ONE)
    assert row["ok"], row["why"]
    assert row["loads"] > 0


# -- what is looked for in ten schedules has to be found


def load(at: float, host: str) -> Row:
    return {"at": at, "host": host, "model": "m"}


def test_a_second_load_elsewhere_is_found():
    assert doubles([load(1.0, "a"), load(2.0, "b")], []) != []
    assert doubles([load(1.0, "a"), load(2.0, "a")], []) == []


def test_who_was_given_up_meanwhile_excuses_a_second_load():
    assert doubles([load(1.0, "a"), load(5.0, "b")], [(3.0, "a")]) == []
    assert doubles([load(1.0, "a"), load(5.0, "b")], [(3.0, "b")]) != []
    assert doubles([load(1.0, "a"), load(5.0, "b")], [(0.5, "a"), (9.0, "a")]) != []


def test_seeds_are_one_or_from_to():
    assert (seeds("3"), seeds("1-3")) == ([3], [1, 2, 3])
