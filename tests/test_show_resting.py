"""The status of a daemon that was told to rest."""

from __future__ import annotations

from supervisor.cli import show
from supervisor.cli.bars import Screen
from tests.canned import state


def test_what_rests_by_the_operators_word_is_said() -> None:
    now = state()["now"]
    drained = [
        {"engine": "o\x1b", "until": None, "in_flight": 2},
        {"engine": None, "until": now + 60, "in_flight": 0},
    ]
    page = show.status(state(paused={"until": now + 600}, drained=drained), Screen(width=120))
    assert "paused for 10m: only what is asked for is done (`ullage continue`)" in page
    assert "o\\x1b is drained: 2 in flight (`ullage undrain`)" in page
    assert "every engine is drained for 1m: 0 in flight" in page
    page = show.status(state(paused={"until": None}), Screen(width=120))
    assert "paused: only what" in page
    assert "paused" not in show.status(state(paused=None, drained=[]), Screen(width=120))
