"""What gives way where a line has too little room."""

from __future__ import annotations

from supervisor.cli import show
from supervisor.cli.bars import Screen
from tests.canned import BUSY, ONE, model, state


def test_a_name_is_whole_where_there_is_too_little_room_for_what_is_said_of_the_model() -> None:
    kept = ["leased by root:18039 (54 s left)", "goes in 29 min unless it is used"]
    rows = [model("cellar/gemma3:4b", (ONE, 3, "measured"), idle=6.0, kept_by=kept)]
    page = show.status(state(pools=BUSY["pools"][:1], models=rows), Screen(width=80))
    (line,) = [line for line in page.splitlines() if line.startswith("cellar/gemma3:4b ")]
    assert "idle 6s, leased by" in line
    assert "unless it is used" in " ".join(page.split())
