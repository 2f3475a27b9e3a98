"""What deploy/fleet.md tells people: keys, sentences and numbers are those of the code."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from collectors.reading import Seconds
from supervisor.config.settings import SETTINGS
from supervisor.fleet.decided import Queued
from supervisor.fleet.explain import of_choice
from supervisor.fleet.hosts import HostId
from supervisor.fleet.troubles import CLOCKS_OFF, troubles
from tests.documents import section, spans
from tests.fleet.builders import WALL, directory, word

ROOT = Path(__file__).parent.parent
FLEET = ROOT / "deploy/fleet.md"
PROSE = " ".join(FLEET.read_text().split())
SOURCE = "".join(
    path.read_text()
    for pattern in ("agent/*.py", "fleet/*.py", "cli/fleet*.py", "gateway/elsewhere.py")
    for path in (ROOT / "supervisor").glob(pattern)
)
DEFAULTS = {s.key: s.default for s in SETTINGS}
TABLES = {key.partition(".")[0] for key in DEFAULTS}


def told() -> list[str]:
    """What people are said to see, of the table of what goes wrong."""
    rows = [
        line.split("|") for line in section(FLEET, "What goes wrong").splitlines() if "|" in line
    ]
    return [quoted for row in rows[2:] for quoted in re.findall(r'"([^"]+)"', row[3])]


def values(of: Any, path: tuple[str, ...] = ()) -> set[str]:
    """The chart's, by dotted key."""
    if not isinstance(of, dict):
        return {".".join(path)}
    return {key for name, inner in of.items() for key in values(inner, (*path, name))}


def test_every_key_that_is_named_is_one_of_the_configuration_or_of_the_chart() -> None:
    yaml = pytest.importorskip("yaml")
    chart = values(yaml.safe_load((ROOT / "deploy/helm/ullage/values.yaml").read_text()))
    named = {m[0] for s in spans(FLEET.read_text()) if (m := re.match(r"[a-z_]+(\.\w+)+", s))}
    named = {key for key in named if key.partition(".")[0] in TABLES and key != "fleet.sock"}
    assert len(named) > 12
    kubernetes = set(spans(section(FLEET, "Kubernetes")))
    for key in named:
        where = chart if any(s.partition("=")[0] == key for s in kubernetes) else DEFAULTS.keys()
        assert key in where or key == "gateway.aliases", key


def test_what_people_are_said_to_see_is_what_they_see() -> None:
    fleet = directory(
        replace(word("gpu1", address="a"), version="1.2.0"),
        replace(word("gpu2", address="b", wall=WALL + 3600, spaces=()), version="1.1.0"),
    )
    seen = troubles(fleet, WALL, HostId("gpu1"))
    (waits,) = of_choice(Queued("m", (), wait=Seconds(14.5)))
    found = told()
    assert len(found) > 10
    for quoted in found:
        if quoted in waits or any(s.startswith(quoted) for s in seen):
            continue
        for part in re.split(r"gpu\d|…|\d+", quoted):
            assert part.strip() in SOURCE, quoted
    for line in seen:
        assert any(line.startswith(quoted) for quoted in found), line


def test_the_numbers_are_those_of_the_code() -> None:
    silent, lost, valid = (DEFAULTS[f"fleet.{key}"] for key in ("silent", "lost", "valid"))
    assert f"silent after {silent[:-1]} s, lost after {lost[:-1]} s" in PROSE
    assert f"clocks more than {CLOCKS_OFF / 60:g} min apart" in PROSE
    assert float(valid[:-1]) + float(lost[:-1]) == 14.5
