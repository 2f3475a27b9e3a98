"""The runbook's table of what breaks: each fault of the bench, and only words that there are."""

from __future__ import annotations

import builtins
import errno
import os
import re
from functools import cache
from pathlib import Path

import pytest

from supervisor.cli.main import cli
from supervisor.core.watch import Kind
from supervisor.gateway.counts import WHYS
from supervisor.web.names import NAMES
from tests.faults.all import FAULTS

ROOT = Path(__file__).parents[2]
HEADING = "## When something breaks"
SEEN = 2  # the column of what is seen
KINDS = {kind.value for kind in Kind}
METRICS = {f"ullage_{name.name}": name for name in NAMES}
# Not our own words: the system's, and Python's.
OTHERS = {os.strerror(errno.EMFILE), builtins.MemoryError.__name__}


def rows() -> list[list[str]]:
    text = (ROOT / "deploy" / "runbook.md").read_text().partition(f"\n{HEADING}\n")[2]
    lines = [line for line in text.partition("\n## ")[0].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


ROWS = {row[0]: row for row in rows()}


@cache
def sources() -> str:
    files = [f for room in ("supervisor", "collectors") for f in (ROOT / room).rglob("*.py")]
    return "\n".join(f.read_text() for f in files)


@cache
def alerts() -> set[str]:
    text = (ROOT / "deploy" / "prometheus" / "alerts.yml").read_text()
    return set(re.findall(r"- alert: (\w+)", text))


def test_every_fault_of_the_bench_has_a_row_and_every_row_is_a_fault() -> None:
    assert [row[0] for row in rows()] == [fault.name for fault in FAULTS]


@pytest.mark.parametrize("fault", ROWS)
def test_what_is_seen_is_what_there_is(fault: str) -> None:
    row = ROWS[fault]
    assert len(row) == SEEN + 2
    assert all(row), "a cell is empty"
    for name, labels in re.findall(r"`(ullage_\w+)(?:\{(\w+=\"\w+\")\})?`", " ".join(row)):
        assert name in METRICS, name
        if labels:
            label, _, value = labels.partition("=")
            assert label in METRICS[name].labels, labels
            assert label != "why" or value.strip('"') in WHYS, labels
    for name in re.findall(r"\bUllage[A-Z]\w+", " ".join(row)):
        assert name in alerts(), name
    for command in re.findall(r"`ullage (\w+)", " ".join(row)):
        assert command in cli.commands, command
    for words in re.findall(r"findings? ((?:`\w+`(?:, | or )?)+)", row[SEEN]):
        assert set(re.findall(r"`(\w+)`", words)) <= KINDS, words
    for words in re.findall(r"(?<!\*)\*([^*]+)\*(?!\*)", row[SEEN]):
        assert words in OTHERS or words in sources(), words


def test_each_fault_is_seen_somewhere() -> None:
    """In a metric, a finding, an alert, a command, or the log."""
    for name, row in ROWS.items():
        assert re.search(r"`(ullage|Ullage)|finding|\*", row[SEEN]), name
