"""What became of an action, in words."""

from __future__ import annotations

from typing import Any

import pytest

from supervisor.core.became import RUNGS, of_outcome, verb
from supervisor.core.ladder import Rung


def outcome(**rest: object) -> dict[str, Any]:
    row: dict[str, Any] = {"action": "evict", "model": "ollama/a", "result": "done", "detail": ""}
    return row | {"took": 0.8, "judgement": None} | rest


def test_every_rung_has_its_verb() -> None:
    assert RUNGS.keys() == {rung.value for rung in Rung}


@pytest.mark.parametrize(
    ("action", "said"),
    [
        ({"action": "evict"}, "unload"),
        ({"action": "evict", "rung": None}, "unload"),
        ({"action": "evict", "rung": "sleep"}, "let sleep"),
        ({"action": "load", "rung": None}, "load"),
        ({"action": "cancel"}, "end the requests of"),
        ({"action": "dance"}, "dance"),  # a newer daemon's
        ({"action": "evict", "rung": "ask nicely"}, "ask nicely"),
    ],
)
def test_what_is_done_is_said_by_its_rung(action: dict[str, Any], said: str) -> None:
    assert verb(action) == said


def test_it_says_what_came_back_of_what_was_promised_and_why_it_is_so() -> None:
    judged = {"verdict": "nothing came back", "promised": 2 << 30, "returned": -5}
    text = of_outcome(outcome(judgement=judged, detail="it is stuck", rung="term"))
    assert text == (
        "end the process of ollama/a: done, nothing came back: 0 B of 2.0 GiB came back"
        " (it is stuck), in 0.8 s"
    )


def test_what_was_tried_before_it_comes_first() -> None:
    text = of_outcome(outcome(rung="unload", slipped=["let sleep ollama/a: nothing came back"]))
    assert text == "let sleep ollama/a: nothing came back; unload ollama/a: done, in 0.8 s"
