"""Trace context as clients write it, and what is remembered of decisions."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from supervisor.telemetry.tracing import DECISIONS, SLOT, Decisions, Parent, read, write

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("value", "so"),
    [
        (f"00-{TRACE}-{SPAN}-01", Parent(int(TRACE, 16), int(SPAN, 16), True)),
        (f" 00-{TRACE}-{SPAN}-00 ", Parent(int(TRACE, 16), int(SPAN, 16), False)),
        (f"00-{TRACE}-{SPAN}-03", Parent(int(TRACE, 16), int(SPAN, 16), True)),
        (f"cc-{TRACE}-{SPAN}-01-what-comes-later", Parent(int(TRACE, 16), int(SPAN, 16), True)),
        (f"cc-{TRACE}-{SPAN}-01", Parent(int(TRACE, 16), int(SPAN, 16), True)),
        (f"00-{TRACE}-{SPAN}-01-more", None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-{SPAN}-01", None),
        (f"00-{TRACE[1:]}-{SPAN}-01", None),
        (f"00-{TRACE}-{SPAN}-1", None),
        (f"00-{TRACE}-{SPAN}-01,00-{TRACE}-{SPAN}-01", None),
        ("", None),
        ("\x00", None),
    ],
)
def test_the_header_is_read_as_the_standard_has_it(value: str, so: Parent | None) -> None:
    assert read(value.encode()) == so


def test_what_is_written_is_read_again() -> None:
    assert read(write(5, 7)) == Parent(5, 7, True)
    assert len(write(2**128 - 1, 2**64 - 1)) == len(SLOT) == 55


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def decision(id: str, *actions: tuple[str, str]) -> dict[str, Any]:
    told = [{"action": action, "model": model} for action, model in actions]
    return {"id": id, "cause": "a request waits", "trigger": "request", "actions": told}


def outcome(id: str, action: str, model: str, result: str = "done", took: float = 1.0) -> Any:
    row = {"decision": id, "action": action, "model": model, "result": result, "took": took}
    return {**row, "detail": "", "rung": None, "judgement": None}


def test_what_was_done_during_a_wait_is_found_by_id_or_by_what_it_loads() -> None:
    clock = Clock()
    known = Decisions(clock)
    known.hear("decision", decision("d-1", ("evict", "x/a"), ("load", "x/b")))
    clock.now = 102.0
    known.hear("outcome", outcome("d-1", "evict", "x/a", took=1.5))
    clock.now = 104.0
    known.hear("decision", decision("d-2", ("evict", "x/c")))

    def found(ids: tuple[str, ...], ref: str, began: float, ended: float) -> list[str]:
        return [d.id for d in known.during(ids, ref, began, ended)]

    assert found((), "x/b", 100.0, 110.0) == ["d-1"]
    assert found(("d-2",), "x/b", 100.0, 110.0) == ["d-1", "d-2"]
    assert found(("d-2",), "x/z", 100.0, 103.0) == []  # it came later
    assert found((), "x/b", 200.0, 201.0) == ["d-1"]  # its load is still under way
    known.hear("outcome", outcome("d-1", "load", "x/b", took=1.0))
    assert found((), "x/b", 200.0, 201.0) == []
    (first, *_) = known.during((), "x/b", 100.0, 110.0)
    assert [(d.name, d.began, d.ended) for d in first.done] == [
        ("evict x/a", 100.5, 102.0),
        ("load x/b", 103.0, 104.0),
    ]


def test_what_was_not_done_is_not_shown_and_a_load_that_was_given_up_is_not_under_way() -> None:
    known = Decisions(Clock())
    known.hear("decision", decision("d-1", ("load", "x/b")))
    known.hear("outcome", outcome("d-1", "load", "x/b", "skipped"))
    assert list(known.during((), "x/b", 0.0, 200.0)) == []
    (only,) = known.during(("d-1",), "x/b", 0.0, 200.0)
    assert only.done == []
    assert only.under_way("x/b", 200.0) is None


def test_only_the_latest_are_remembered() -> None:
    known = Decisions(Clock())
    for number in range(DECISIONS + 5):
        known.hear("decision", decision(f"d-{number}", ("load", "x/b")))
    found = [d.id for d in known.during((), "x/b", 0.0, 200.0)]
    assert (len(found), found[0]) == (DECISIONS, "d-5")
    known.hear("outcome", outcome("d-0", "load", "x/b"))  # nobody knows it any more


def test_a_row_that_cannot_be_read_is_no_trouble_to_the_journal(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.ERROR, "ullage.traces"):
        Decisions(Clock()).hear("decision", {"id": "d-1"})
    assert "could not take note of a decision" in caplog.text
