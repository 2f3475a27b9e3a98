from __future__ import annotations

import pytest

from supervisor.cli.client import NoDaemon
from supervisor.top import head, words
from supervisor.top.look import Look
from tests.canned import HOLD, ONE, TWO, engine, finding
from tests.top.fakes import FULL, Row, changed

LOOK = Look()
NAMES = {ONE: "gpu0", TWO: "gpu1"}
URL = "http://127.0.0.1:8552"


def header(state: Row, width: int = 80, later: float = 0.0) -> str:
    return head.header(state, URL, "live", later, width, LOOK).plain


def test_the_header_says_who_where_and_how_old() -> None:
    text = header(FULL)
    for words_ in ("Ullage 0.1.0", "enforce", URL, "up 2h30m", "live", "measured 0s ago"):
        assert words_ in text
    assert len(text) == 80


@pytest.mark.parametrize("width", [30, 45, 60, 80, 300])
def test_a_header_fits_and_its_age_is_never_cut(width: int) -> None:
    busy = changed(mode="advise", paused={"until": 1790003600.0})
    text = header(busy, width, later=7.0)
    assert len(text) <= width
    assert text.endswith("measured 7s ago")


def test_an_old_sample_is_in_red_and_none_at_all_is_said() -> None:
    old = head.header(FULL, URL, "live", 9.0, 80, LOOK)
    assert any("red" in str(s.style) for s in old.spans)
    fresh = head.header(FULL, URL, "live", 1.0, 80, LOOK)
    assert not any("red" in str(s.style) for s in fresh.spans)
    assert "no sample yet" in header(changed(sample_age=None))


def test_a_mode_that_changes_nothing_and_a_pause_are_said_aloud() -> None:
    assert "ADVISES ONLY" in header(changed(mode="advise"))
    assert "OBSERVES ONLY" in header(changed(mode="observe"))
    assert "PAUSED until " in header(changed(paused={"until": 1790003600.0}))
    assert "PAUSED " in header(changed(paused={"until": None}))
    assert "PAUSED" not in header(changed(paused=None))
    assert "config not taken" in header(changed(config={"ok": False, "mistakes": ["a: b"]}), 100)


def test_engines_that_are_down_come_first_with_their_fault() -> None:
    (line,) = head.engines(FULL, 200, LOOK)
    assert line.plain == (
        "engines   vllm DOWN connection refused for 3m  llamacpp b6123 up  ollama 0.9.1 up"
    )
    drained = [{"engine": "ollama", "until": None, "in_flight": 0}]
    (line,) = head.engines(changed(drained=drained), 200, LOOK)
    assert "ollama 0.9.1 up drained" in line.plain
    assert "drained" not in line.plain.partition("ollama")[0]


def test_engines_without_room_are_counted() -> None:
    (line,) = head.engines(FULL, 60, LOOK)
    assert line.plain.endswith("+2 more")
    many = changed(engines=[engine(f"engine-{i}", 1000 + i, "1") for i in range(40)])
    for width in (30, 60, 80):
        (line,) = head.engines(many, width, LOOK)
        assert line.cell_len <= width
    (line,) = head.engines(changed(engines=[]), 80, LOOK)
    assert "ullage doctor" in line.plain


def test_the_queue_says_who_waits_for_what_and_for_how_long() -> None:
    (line,) = head.queue(FULL, 200, LOOK)
    assert line.plain == ("gateway   2 in flight  3 waiting  ollama/qwen3:32b: 3, the first for 8s")
    assert head.queue(changed(gateway=None), 80, LOOK) == []
    deaf = {**FULL["gateway"], "fault": "port 8553 is taken"}
    (line,) = head.queue(changed(gateway=deaf), 80, LOOK)
    assert "port 8553 is taken" in line.plain


def test_findings_are_told_gravest_first_and_those_without_room_are_counted() -> None:
    grave = finding("device", ONE, "critical", "Xid 79: it fell off the bus", 3)
    state = changed(findings=[*FULL["findings"], grave])
    lines = [t.plain for t in head.findings(state, NAMES, 5, 80, LOOK)]
    assert lines == [
        "! gpu0: Xid 79: it fell off the bus, for 3s",
        "! gpu1: free memory is below the reserve, for 12s",
    ]  # engines and pools say for themselves that they cannot be reached
    (line,) = head.findings(state, NAMES, 1, 80, LOOK)
    assert line.plain.endswith("+1: f")
    assert head.findings(changed(findings=[]), NAMES, 5, 80, LOOK) == []


def test_the_panel_of_findings_leaves_nothing_out() -> None:
    journal = {"lag": 0, "failures": 3, "persistent": False}
    state = changed(journal=journal, config={"ok": False, "mistakes": ["mode: did you mean"]})
    text = "\n".join(t.plain for t in head.all_findings(state, NAMES))
    for words_ in (
        "warning  gpu1: free memory is below the reserve, for 12s",
        "vllm: connection refused",
        "the driver did not answer",
        "mode: did you mean",
        "written 3 times",
        "memory only",
        "no AMD driver",
    ):
        assert words_ in text
    quiet = changed(findings=[], notes=[])
    assert head.all_findings(quiet, NAMES)[0].plain == "Nothing is wrong."
    holding = changed(findings=[], now=HOLD["since"], alerts={"holds": [HOLD]})
    told = "no loads through the gateway while UllageHeadroomGone fires, 1m40s more at most"
    assert told in head.all_findings(holding, NAMES)[1].plain


def test_the_banner_says_what_why_and_what_to_try() -> None:
    error = NoDaemon("no daemon answers", "Connection refused", "start it with `ullage run`")
    lines = head.banner(error, 12.0, 80, LOOK)
    assert lines[0].plain.startswith(" ! no daemon answers, for 12s")
    assert "Connection refused" in lines[1].plain
    assert "ullage run" in lines[1].plain
    assert [t.cell_len for t in head.banner(error, 12.0, 30, LOOK)] == [30, 30]


@pytest.mark.parametrize("width", [30, 60, 80, 200])
def test_help_and_quit_are_always_among_the_keys(width: int) -> None:
    text = head.keys(words.KEYS, width)
    assert text.cell_len <= width
    assert text.plain.endswith("? help  q quit")
    assert text.plain.startswith("p pin")
