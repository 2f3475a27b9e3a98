from __future__ import annotations

from typing import Any

import pytest

from supervisor.top import rows
from supervisor.top.look import Letters, Look
from tests.canned import ONE, TWO, model
from tests.top.fakes import FULL

LOOK = Look()
NAMES = {ONE: "gpu0", TWO: "gpu1", "ram": "ram"}


def cells(row: Any, later: float = 0.0) -> dict[str, str]:
    found = rows.cells(row, NAMES, Letters(), later, LOOK)
    return {key: text.plain for key, text in found.items()}


def order(by: str, turned: bool = False, wanted: str = "") -> list[str]:
    found = rows.arranged(FULL["models"], by, turned, wanted)
    return [m["model"].partition(":")[0][:7] for m in found]


@pytest.mark.parametrize("width", range(40, 220, 3))
def test_the_columns_fill_no_more_than_the_screen(width: int) -> None:
    layout = rows.columns(width, 60)
    for row in FULL["models"]:
        line = rows.line(rows.cells(row, NAMES, Letters(), 0, LOOK), layout, LOOK)
        assert line.cell_len <= width
    assert rows.heading("size", False, layout, LOOK).cell_len <= width


def test_what_is_essential_has_a_column_on_the_narrowest_screen() -> None:
    def shown(width: int) -> list[str]:
        return [c.key for c, _ in rows.columns(width, 60)]

    assert shown(60) == ["letter", "name", "state", "size", "idle", "kept"]
    assert shown(80) == [c.key for c in rows.COLUMNS]
    assert shown(200) == [c.key for c in rows.COLUMNS]


def test_where_names_are_short_what_keeps_a_model_has_the_rest() -> None:
    wide = {c.key: n for c, n in rows.columns(80, 18)}
    long = {c.key: n for c, n in rows.columns(80, 99)}
    assert wide["name"] == 18
    assert wide["name"] + wide["kept"] == long["name"] + long["kept"]
    assert long["kept"] == 8


def test_models_are_ordered_and_turned_round() -> None:
    assert order("size") == ["llama3.", "qwen2.5", "qwen3", "gemma3", "phi-4"]
    assert order("size", turned=True) == order("size")[::-1]
    assert order("name") == ["qwen2.5", "gemma3", "llama3.", "qwen3", "phi-4"]
    assert order("idle")[:2] == ["gemma3", "llama3."]
    assert order("idle")[-1] == "qwen2.5"  # busy for the longest
    assert order("kept")[0] == "llama3."
    assert set(rows.ORDERS) == {c.key for c in rows.COLUMNS} - {"letter"}
    for by in rows.ORDERS:
        assert len(order(by)) == 5


def test_a_filter_looks_at_names_states_and_keepers() -> None:
    assert order("name", wanted="OLLAMA 3") == ["gemma3", "llama3.", "qwen3"]
    assert order("name", wanted="pinned") == ["llama3."]
    assert order("name", wanted="unknown") == ["phi-4"]
    assert order("name", wanted="[") == []


def test_idle_and_busy_times_are_counted_on() -> None:
    assert cells(model("x/a", idle=3300.0))["idle"] == "55m"
    assert cells(model("x/a", idle=58.7), later=2.0)["idle"] == "1m"
    assert cells(model("x/a", idle=0.3))["idle"] == "0s"  # tenths are no news
    assert cells(model("x/a", busy=True, busy_for=41.0), later=9)["idle"] == "50s"
    assert cells(model("x/a", busy=True, busy_for=0.04))["idle"] == "0s"
    assert cells(model("x/a", state="loading", idle=9.0))["idle"] == ""


def test_a_state_is_said_in_a_word() -> None:
    def word(**others: Any) -> str:
        return cells(model("x/a", **others))["state"]

    assert word() == "idle"
    assert word(busy=True, in_flight=2) == "busy 2"
    assert word(busy=True, in_flight=None) == "busy"
    assert word(state="sleeping") == "asleep"
    assert word(state="loading") == "loading"
    assert word(state="unknown") == "unknown"
    assert word(status="leaving", busy=True) == "leaving"
    assert all(len(word(state=s)) <= 8 for s in ("sleeping", "leaving", "unknown", "loading"))


def test_who_keeps_a_model_is_said_with_its_pin_first_and_its_requests_not_at_all() -> None:
    keepers = ["2 in flight", "leased by agent (41 s left)", "pinned for 2 h more", "busy"]
    row = model("x/a", kept_by=keepers)
    assert cells(row)["kept"] == "pinned for 2 h more, leased by agent (41 s left)"
    assert cells(model("x/a", pinned=True))["kept"] == "pinned"  # as older daemons say it
    timer = model("x/a", kept_by=["goes in 12 min unless it is used"])
    assert cells(timer)["kept"] == "goes in 12 min"


def test_sizes_take_eight_characters_at_most() -> None:
    for size in (0, 1, 1023, 1024**2 - 1, 1014.4 * 1024**2, 1023.9 * 1024**3, 5 * 1024**4):
        assert len(rows.amount(int(size))) <= 8
    assert rows.amount(int(1014.4 * 1024**2)) == "1014 MiB"
    assert rows.amount(int(18.25 * 1024**3)) == "18.2 GiB"


def test_a_click_on_a_heading_says_which_column_it_was() -> None:
    layout = rows.columns(80, 60)
    heading = rows.heading("size", False, layout, LOOK).plain
    for title, key in (("MODEL", "name"), ("STATE", "state"), ("SIZE", "size"), ("IDLE", "idle")):
        assert rows.column_at(heading.index(title), layout) == key
    assert rows.column_at(0, layout) is None  # letters order nothing
    assert rows.column_at(500, layout) is None


def test_the_line_of_the_chosen_model_says_what_the_columns_cut() -> None:
    row = model("x/a", (ONE, 6.5, "measured"), ("ram", 22.25, "reported"), pids=[7, 8], contexts=2)
    told = rows.told(row, NAMES)
    assert told == (
        "x/a · 6.5 GiB of gpu0 measured, 22.2 GiB of ram reported · used by 2 · pid 7, 8"
    )
    assert "\x1b" not in rows.told(model("x/\x1b[2J"), NAMES)
