from __future__ import annotations

import pytest
from rich.cells import cell_len

from collectors.reading import gib
from supervisor.top import stacks
from supervisor.top.look import CHIPS, LETTERS, Letters, Look
from supervisor.top.stacks import Part, bar
from tests.canned import ONE, model, pool
from tests.top.fakes import FULL, changed, device

COLOURED, BARE = Look(), Look(colour=False)
CARD = pool(ONE, "RTX", 24, 8, reserve=2, promised=2, foreign=4)  # models hold 12 of it
MINE = [Part("a", "ollama/qwen3:8b", gib(8)), Part("b", "ollama/gemma", gib(4))]


def test_each_part_of_a_bar_has_the_cells_of_its_share() -> None:
    text = bar(CARD, MINE, 48, BARE).plain
    assert text == "a qwen3:8b aaaaab gemma ▓▓▓▓▓▓▓▓▒▒▒▒········┃░░░"


def test_with_colours_a_model_goes_as_far_as_its_colour() -> None:
    text = bar(CARD, MINE, 48, COLOURED)
    assert text.plain.startswith("a qwen3:8b      b gemma ▓")
    spans = [(s.start, s.end, s.style) for s in text.spans if s.style in CHIPS]
    assert spans == [(0, 16, CHIPS[0]), (16, 24, CHIPS[1])]


@pytest.mark.parametrize("width", [1, 2, 7, 10, 33, 200])
def test_a_bar_is_never_wider_or_narrower_than_it_may_be(width: int) -> None:
    wide = [Part("a", "ollama/模型的名字很长", gib(12)), *MINE[1:]]
    for mine in (MINE, [], wide):
        assert cell_len(bar(CARD, mine, width, COLOURED).plain) == width


def test_the_line_of_the_reserve_stands_where_it_is_crossed() -> None:
    short = pool(ONE, "RTX", 24, 1, reserve=6)
    text = bar(short, [Part("a", "x/m", gib(23))], 24, BARE)
    assert text.plain == "a m aaaaaaaaaaaaaa┃aaaa░"
    assert any("red" in str(s.style) for s in text.spans if s.start == 18)
    none = pool(ONE, "RTX", 24, 1)
    assert "┃" not in bar(none, MINE, 24, BARE).plain


def test_models_that_were_measured_at_another_moment_take_no_more_than_is_used() -> None:
    nearly_free = pool(ONE, "RTX", 24, 23)
    text = bar(nearly_free, MINE, 24, BARE).plain
    assert text.count("a") == 1
    assert text.count("b") == 0
    assert text.count("·") == 23


def test_without_unicode_a_bar_is_ascii() -> None:
    drawn = stacks.pools(FULL, Letters(), 80, Look(unicode=False), 3)
    assert "\n".join(t.plain for t in drawn).isascii()


@pytest.mark.parametrize("lines", [1, 2, 3])
@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_no_line_of_a_pool_is_wider_than_the_screen(width: int, lines: int) -> None:
    drawn = stacks.pools(FULL, Letters(), width, COLOURED, lines)
    assert len(drawn) == 3 * lines + min(2, lines)  # a pool that cannot be read has no third
    assert all(t.cell_len <= width for t in drawn)


def test_a_pool_that_lacks_memory_says_so_without_any_colour() -> None:
    for width, word in ((80, "SHORT OF 0.2"), (60, "LACK 0.2")):
        drawn = stacks.pools(FULL, Letters(), width, BARE)
        assert word in drawn[1].plain


def test_who_holds_a_pool_is_named_with_sizes() -> None:
    first = stacks.pools(FULL, Letters(), 200, COLOURED, 3)[2].plain
    for words in ("llama3.3:70b 6.5 GiB", "comfyui 5.2 GiB", "promised 2 GiB", "reserve 768 MiB"):
        assert words in first


def test_pools_are_called_as_the_command_line_takes_them() -> None:
    names = stacks.short_names(FULL)
    assert [names[p["id"]] for p in FULL["pools"]][:3] == ["gpu0", "gpu1", "ram"]
    both = changed(devices=[device(p["id"], 0) for p in FULL["pools"][:2]])
    ambiguous = stacks.short_names(both)  # two drivers, each of which counts from 0
    assert [ambiguous[p["id"]] for p in FULL["pools"]][:2] == ["GPU-8f6f", "GPU-1c4e"]


def test_a_model_keeps_its_letter_and_after_52_they_come_again() -> None:
    letters = Letters()
    given = [letters.of(str(i)) for i in range(53)]
    assert given == [*LETTERS, "a"]
    assert letters.of("7") == "h"


def test_names_are_cut_in_their_middle_by_cells() -> None:
    assert COLOURED.squeeze("llamacpp/qwen2.5-coder-32b-q4_k_m", 16) == "llamacpp/…q4_k_m"
    assert cell_len(COLOURED.squeeze("模型的名字很长非常长", 9)) <= 9
    assert COLOURED.cut("abcdef", 4) == "abc…"
    assert COLOURED.cut("abcd", 4) == "abcd"
    assert COLOURED.cut("abcd", 0) == ""


def test_what_strangers_call_a_model_moves_no_cursor() -> None:
    odd = model("x/\x1b[2J\u202eevil", (ONE, 6.5, "measured"))
    drawn = stacks.pools(changed(models=[odd]), Letters(), 120, COLOURED, 3)
    assert all(t.plain.isprintable() for t in drawn)
    assert "\\x1b[2J\\u202eevil" in drawn[2].plain
