"""What people see: whole pages word by word, and what must hold for every page."""

# ruff: noqa: E501

from __future__ import annotations

import re
from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from collectors.reading import gib
from supervisor.cli import bars, show
from supervisor.cli.bars import Screen
from tests.canned import BUSY, DARK, DONE, ONE, REFUSED, TWO, installed, model, pool, state

AT_80 = """\
Ullage 0.1.0  enforce  up 2h30m

NVIDIA GeForce RTX 3090  GPU-8f6f1c5e-7a42-4c1b-9d3e-2b1a0c9d8e7f
  ██████████████████▓▓▓▓▓▓▓▓▒▒▒····░  5.5 GiB of 23.5 GiB free, headroom 2.8 GiB
  █ models 12.2 GiB   ▓ foreign 5.8 GiB (comfyui 5.2 GiB, Xorg 512 MiB)
  ▒ promised 2 GiB   ░ reserve 768 MiB

NVIDIA GeForce RTX 3090  GPU-1c4e22d9-03bb-4c7f-8a10-77aa0c9d8e01
  █████████████████████████████████░  512 MiB of 23.5 GiB free, short of 256 MiB
  █ models 23 GiB   ░ reserve 768 MiB

RAM
  ████████████▓▓▓▓▓▓············░░░░  30 GiB of 62.8 GiB free, headroom 22.5 GiB
  █ models 22.2 GiB of a budget of 40 GiB   ▓ foreign 10.5 GiB (firefox 6.2 GiB)
  ░ reserve 7.5 GiB

0000:03:00.0
  cannot be read: the driver did not answer within 1 s

MODEL                                SIZE  FROM       POOL      STATE
llamacpp/qwen2.5-coder-32b-inst  18.2 GiB  measured   GPU-1c4e  2 in flight
ruct-q4_k_m
ollama/gemma3:4b                  4.8 GiB  reported   GPU-1c4e  idle 55m
ollama/llama3.3:70b               6.5 GiB  measured   GPU-8f6f  idle 14m, pinned
                                 22.2 GiB  measured   ram
ollama/qwen3:8b                   5.5 GiB  measured   GPU-8f6f  busy 12s
vllm/phi-4                        256 MiB  estimated  GPU-8f6f  unknown

engines up   llamacpp b6123, ollama 0.9.1
engine down  vllm at http://127.0.0.1:8000: connection refused, for 3m
warning      GPU-1c4e: free memory is below the reserve, for 12s
under way: d-000012 (`ullage decisions`)
no AMD driver on this machine
"""

AT_120 = """\
Ullage 0.1.0  enforce  up 2h30m

NVIDIA GeForce RTX 3090  GPU-8f6f1c5e-7a42-4c1b-9d3e-2b1a0c9d8e7f
  ███████████████████████████████▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▒▒▒▒▒·······░░  5.5 GiB of 23.5 GiB free, headroom 2.8 GiB
  █ models 12.2 GiB   ▓ foreign 5.8 GiB (comfyui 5.2 GiB, Xorg 512 MiB)   ▒ promised 2 GiB   ░ reserve 768 MiB

NVIDIA GeForce RTX 3090  GPU-1c4e22d9-03bb-4c7f-8a10-77aa0c9d8e01
  ███████████████████████████████████████████████████████████░  512 MiB of 23.5 GiB free, short of 256 MiB
  █ models 23 GiB   ░ reserve 768 MiB

RAM
  █████████████████████▓▓▓▓▓▓▓▓▓▓······················░░░░░░░  30 GiB of 62.8 GiB free, headroom 22.5 GiB
  █ models 22.2 GiB of a budget of 40 GiB   ▓ foreign 10.5 GiB (firefox 6.2 GiB)   ░ reserve 7.5 GiB

0000:03:00.0
  cannot be read: the driver did not answer within 1 s

MODEL                                           SIZE  FROM       POOL      STATE
llamacpp/qwen2.5-coder-32b-instruct-q4_k_m  18.2 GiB  measured   GPU-1c4e  2 in flight
ollama/gemma3:4b                             4.8 GiB  reported   GPU-1c4e  idle 55m
ollama/llama3.3:70b                          6.5 GiB  measured   GPU-8f6f  idle 14m, pinned
                                            22.2 GiB  measured   ram
ollama/qwen3:8b                              5.5 GiB  measured   GPU-8f6f  busy 12s
vllm/phi-4                                   256 MiB  estimated  GPU-8f6f  unknown

engines up   llamacpp b6123, ollama 0.9.1
engine down  vllm at http://127.0.0.1:8000: connection refused, for 3m
warning      GPU-1c4e: free memory is below the reserve, for 12s
under way: d-000012 (`ullage decisions`)
no AMD driver on this machine
"""

NO_ENGINE = """\
Ullage 0.1.0  observes only  up 2h30m  measured 41s ago

RAM
  ████████████▓▓▓▓▓▓············░░░░  30 GiB of 62.8 GiB free, headroom 22.5 GiB
  █ models 22.2 GiB of a budget of 40 GiB   ▓ foreign 10.5 GiB
  ░ reserve 7.5 GiB

No engine was found on this machine's usual ports.
  Start one (`ollama serve`, `llama-server`), or say where it listens:
  `ullage run --engine NAME=URL`. `ullage demo` shows all of this without any.
"""

MODELS = """\
MODEL                                           SIZE  FROM       POOL      STATE
llamacpp/qwen2.5-coder-32b-instruct-q4_k_m  18.2 GiB  measured   GPU-1c4e  2 in flight
ollama/gemma3:4b                             4.8 GiB  reported   GPU-1c4e  idle 55m
ollama/llama3.3:70b                          6.5 GiB  measured   GPU-8f6f  idle 14m, pinned
                                            22.2 GiB  measured   ram
ollama/qwen3:8b                              5.5 GiB  measured   GPU-8f6f  busy 12s
vllm/phi-4                                   256 MiB  estimated  GPU-8f6f  unknown

INSTALLED, NOT LOADED                FILE  STATUS
ollama/nomic-embed-text:latest  not known  local
ollama/qwen3:32b                 18.8 GiB  local
"""

DECISIONS = """\
d-000012  2026-09-21 14:13:20  relief
  GPU-1c4e22d9: headroom is gone
  unload ollama/gemma3:4b: done, recovered: 4.8 GiB of 4.8 GiB came back, in 0.8 s
d-000011  2026-09-21 14:13:20  demand
  asked to load ollama/qwen3:32b
  nobody went: ollama/llama3.3:70b (pinned)
  still missing: 3.5 GiB of GPU-8f6f1c5e-7a42-4c1b-9d3e-2b1a0c9d8e7f
  more active than allowed: host
d-000012  2026-09-21 14:13:20  relief  advise only
  GPU-1c4e22d9: headroom is gone
  unload ollama/gemma3:4b: no outcome yet
"""


# -- whole pages


@pytest.mark.parametrize(("width", "page"), [(80, AT_80), (120, AT_120)])
def test_the_status_of_a_busy_machine(width, page):
    assert show.status(BUSY, Screen(width=width)) == page


def test_a_machine_without_an_engine_says_what_to_do_next():
    lonely = state(pools=BUSY["pools"][2:3], mode="observe", sample_age=41.0, ready=False)
    assert show.status(lonely, Screen()) == NO_ENGINE


def test_models_lists_what_is_loaded_and_then_the_rest():
    answer = {"models": BUSY["models"], "installed": BUSY["installed"]}
    assert show.models(answer, Screen(width=100)) == MODELS


def test_decisions_say_what_for_and_what_became_of_them():
    rows = [DONE, REFUSED, {**DONE, "mode": "advise", "outcomes": []}]
    assert show.decisions(rows, Screen(width=100), UTC) == DECISIONS


# -- the beginning, when there is little to show


def test_before_the_first_sample_nothing_is_made_up():
    page = show.status(state(sample_age=None, ready=False), Screen())
    assert "first sample is not in yet" in page
    assert "No engine" not in page


def test_findings_are_shown_where_there_is_no_engine_too():
    finding = {**BUSY["findings"][0], "severity": "critical"}
    page = show.status(state(findings=[finding]), Screen())
    assert "critical  " in page
    assert "No engine was found" in page


def test_where_nothing_is_loaded_it_says_how_to_load_something():
    engines = BUSY["engines"][:1]
    page = show.status(state(engines=engines, installed=[installed("ollama/a", 1)]), Screen())
    assert "No model is loaded. 1 is installed: see `ullage models`" in page
    assert "none installed either" in show.status(state(engines=engines), Screen())
    assert "none installed either" in show.models({"models": [], "installed": []}, Screen())


def test_where_nothing_was_decided_it_says_so():
    assert "Nothing has been decided yet" in show.decisions([], Screen())


def test_the_worst_finding_comes_first():
    found = [{**BUSY["findings"][0], "severity": s} for s in ("info", "odd", "critical", "warning")]
    lines = show.status(state(findings=found), Screen(width=120)).splitlines()
    words = [line.split()[0] for line in lines if "below the reserve" in line]
    assert words == ["critical", "warning", "info", "odd"]


def test_a_journal_in_memory_is_said_where_it_was_to_be_in_a_file():
    lost = {"lag": 0, "failures": 0, "persistent": False}
    assert "kept in memory only" in show.status(state(journal=lost), Screen())
    demo = lost | {"meant_to_persist": False}
    assert "kept in memory only" not in show.status(state(journal=demo), Screen())


def test_a_journal_that_cannot_be_written_is_said():
    page = show.status(state(journal={"lag": 0, "failures": 3}), Screen())
    assert "the journal could not be written 3 times" in page


def test_the_gateway_says_what_passes_and_who_waits():
    gateway = {
        "addresses": ["http://127.0.0.1:11434", "unix:/run/gw.sock"],
        "fault": None,
        "in_flight": [{"model": "ollama/a", "count": 2}, {"model": "ollama/b", "count": 1}],
        "held": [
            {"model": "ollama/c\x1b", "count": 3, "longest": 75.0},
            {"model": "ollama/d", "count": 1, "longest": 0.5},
        ],
        "refused": {"full": 2, "no_room": 5},
        "tokens": [],
    }
    lines = show.status(state(gateway=gateway), Screen(width=120)).splitlines()
    assert (
        "gateway at http://127.0.0.1:11434, unix:/run/gw.sock: 3 in flight, 4 waiting, 7 refused"
        " (mostly no room)" in lines
    )
    assert "  ollama/c\\x1b: 3 requests wait, the first for 1m15s" in lines
    assert "  ollama/d: 1 request waits, the first for 0.5s" in lines
    alike = show.status(state(gateway=gateway | {"refused": {"no_room": 1}}), Screen(width=120))
    assert "1 refused (no room)" in alike


def test_a_gateway_that_does_not_listen_says_why():
    gateway = {"addresses": [], "fault": "127.0.0.1:8553 is in use", "in_flight": [], "held": []}
    page = show.status(state(gateway=gateway), Screen(width=120))
    assert "the gateway does not listen: 127.0.0.1:8553 is in use (`ullage doctor`)" in page
    assert "gateway" not in show.status(state(gateway=None), Screen())


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ({"busy": True, "in_flight": 1}, "1 in flight"),
        ({"busy": True, "in_flight": 0, "busy_for": 90.0}, "busy 1m30s"),
        ({"idle": 7200.0}, "idle 2h"),
        ({"idle": 7200.0, "pinned": True}, "idle 2h, pinned"),
        ({"state": "sleeping", "idle": 60.0}, "asleep 1m"),
        ({"state": "loading"}, "loading"),
        ({"state": "leaving", "busy": True}, "leaving"),
        ({"state": "unknown", "pinned": True}, "unknown, pinned"),
    ],
)
def test_what_a_model_is_doing_is_said_in_a_word(what, text):
    answer = {"models": [model("e/m", ("ram", 1, "measured"), **what)], "installed": []}
    assert show.models(answer, Screen()).splitlines()[1].split("ram")[1].strip() == text


def test_a_model_of_which_no_bytes_are_known_has_a_line_too():
    answer = {"models": [model("e/m")], "installed": []}
    assert show.models(answer, Screen()).splitlines()[1].split() == ["e/m", "0", "B", "idle", "0s"]


# -- bars


@given(st.lists(st.integers(0, 2**45), min_size=5, max_size=5), st.integers(12, 200))
def test_a_bar_is_as_wide_as_it_should_be_and_hides_nobody(sizes, width):
    cells = bars.shared_out(sizes, width)
    assert sum(cells) == (width if any(sizes) else 0)
    assert all((n > 0) == (size > 0) for n, size in zip(cells, sizes, strict=True))
    total = max(1, sum(sizes))
    assert all(abs(n - s * width / total) < 5 for n, s in zip(cells, sizes, strict=True))


EIGHTHS = st.integers(0, 8).map(lambda n: gib(n * 128))  # of a TiB


@given(EIGHTHS, EIGHTHS, EIGHTHS, EIGHTHS)
def test_numbers_that_contradict_each_other_still_make_a_bar(free, held, foreign, promised):
    """Pools and models are not measured in the same instant."""
    row = pool(ONE, "GPU", 1024, 0)
    row |= {"free": free, "held": held, "foreign": foreign, "promised": promised}
    page = show.status(state(pools=[row]), Screen())
    line = page.splitlines()[3]
    assert re.fullmatch("  █*▓*▒*·*░*  [^█▓▒·░]+", line)
    assert len(line) == 80


def test_without_colours_and_without_unicode_the_parts_still_differ():
    page = show.status(state(pools=BUSY["pools"][:1]), Screen(unicode=False))
    assert page.isascii()
    assert re.search(r"#+x+\++\.+-+  5.5 GiB", page)
    for legend in ("# models", "x foreign", "+ promised", "- reserve"):
        assert legend in page


def test_colours_are_drawn_where_there_are_some():
    plain, coloured = (show.status(BUSY, Screen(colour=c)) for c in (False, True))
    assert "\x1b[32m█" in coloured
    stripped = re.sub(r"\x1b\[[0-9;]*m", "", coloured)
    assert [line.rstrip() for line in stripped.splitlines()] == plain.splitlines()


@pytest.mark.parametrize(
    ("terminal", "environment", "colour"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"TERM": "dumb"}, False),
    ],
    ids=["terminal", "pipe", "NO_COLOR", "dumb"],
)
def test_colours_are_for_terminals_that_want_them(monkeypatch, terminal, environment, colour):
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"COLUMNS": "100", **environment}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stdout", Stream("utf-8", terminal))
    assert bars.screen() == Screen(100, bars.screen().height, colour, True, terminal)


def test_what_a_stream_cannot_encode_is_not_drawn(monkeypatch):
    monkeypatch.setattr("sys.stdout", Stream("latin-1", True))
    assert not bars.screen().unicode


class Stream:
    def __init__(self, encoding: str, terminal: bool) -> None:
        self.encoding, self.terminal = encoding, terminal

    def isatty(self) -> bool:
        return self.terminal


# -- names from strangers


@given(st.text(min_size=1), st.integers(72, 200), st.booleans())
def test_whatever_names_say_no_page_commands_the_terminal_or_overflows(name, width, markup):
    name = f"[red]{name}[/]" if markup else name
    row = {**pool(ONE, name, 10, 5), "id": name}
    strange = state(
        version=name,
        pools=[row, {**row, "id": ONE, "blind": name}],
        models=[model(name, (name, 1, "measured"))],
        engines=[{**BUSY["engines"][2], "id": name, "fault": name}, BUSY["engines"][0]],
        findings=[{**BUSY["findings"][0], "subject": name, "detail": name}],
        foreign=[{"pool": name, "pid": 1, "name": name, "size": 1}],
        notes=[name],
        running=[name],
    )
    page = show.status(strange, Screen(width=width))
    page += show.models({"models": strange["models"], "installed": []}, Screen(width=width))
    page += show.decisions([{**REFUSED, "cause": name, "id": name}], Screen(width=width))
    lines = page.split("\n")
    assert all(line.isprintable() for line in lines)
    assert all(cell_len(line) <= width for line in lines)


@pytest.mark.parametrize(
    ("ids", "short"),
    [
        ([ONE, TWO, "ram"], ["GPU-8f6f", "GPU-1c4e", "ram"]),
        ([ONE, ONE[:11] + "x" * 29], ["GPU-8f6f1c5e", "GPU-8f6f1c5x"]),
        (["GPU-aaaa-bbbb-1", "GPU-aaaa-bbbb-2"], ["GPU-aaaa-bbbb-1", "GPU-aaaa-bbbb-2"]),
        ([DARK, "gpu:0"], [DARK, "gpu:0"]),
        ([], []),
    ],
)
def test_pools_are_called_by_as_much_of_their_id_as_tells_them_apart(ids, short):
    found = show.labels(ids)
    assert [found[i] for i in ids] == short


# -- watching


def watched(on: Screen, *pages: str) -> str:
    """Everything that is written until the last page has been seen."""
    written: list[str] = []
    left = list(pages)

    def pause() -> None:
        if not left:
            raise KeyboardInterrupt

    show.follow(lambda: left.pop(0), on, written.append, pause)
    return "".join(written)


def test_a_terminal_is_drawn_over_in_place_and_given_back():
    text = watched(Screen(terminal=True), "one\nline\n", "two\n")
    assert text == (
        "\x1b[?1049h"
        "\x1b[Hone\x1b[K\nline\x1b[K\n\x1b[J"
        "\x1b[Htwo\x1b[K\n\x1b[J"
        "\x1b[?1049l"
    )  # fmt: skip


def test_a_page_longer_than_the_terminal_is_cut_and_says_so():
    text = watched(Screen(terminal=True, height=4), "1\n2\n3\n4\n5\n")
    assert "1\x1b[K\n2\x1b[K\n(3 more lines)\x1b[K\n\x1b[J" in text


def test_a_pipe_gets_page_after_page_and_no_control_codes():
    assert watched(Screen(), "one\n", "two\n") == "one\n\ntwo\n\n"
