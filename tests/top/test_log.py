from __future__ import annotations

import pytest
from rich.cells import cell_len

from supervisor.top import log
from supervisor.top.log import Entry, Log, changes, decided, fold, wrapped
from supervisor.top.look import BAD, WARNING, Look
from tests.canned import ALERT, DONE, HOLD, ONE, REFUSED, TWO, engine, finding, model
from tests.top.fakes import FULL, Row, changed

LOOK = Look()
NAMES = {ONE: "gpu0", TWO: "gpu1"}


def told(before: Row, after: Row) -> list[str]:
    return [change.text for change in changes(before, after, NAMES)]


def test_a_decision_and_its_outcome_are_told_each_at_its_time() -> None:
    first, second = decided(DONE)
    assert first.text == "d-000012 GPU-1c4e22d9: headroom is gone: unload ollama/gemma3:4b"
    assert second.text == (
        "unload ollama/gemma3:4b: done, recovered: 4.8 GiB of 4.8 GiB came back, in 0.8 s"
    )
    assert (first.at, second.at) == (1790000000.0, 1790000001.0)


def test_a_refusal_says_what_is_missing_and_who_stayed() -> None:
    (only,) = decided(REFUSED)
    assert "still missing 3.5 GiB" in only.text
    assert "nobody went: ollama/llama3.3:70b (pinned)" in only.text


def test_what_gave_too_little_back_is_in_red() -> None:
    outcome = DONE["outcomes"][0]
    poor = {**outcome["judgement"], "verdict": "nothing", "returned": -5}
    row = {**DONE, "outcomes": [{**outcome, "judgement": poor, "detail": "it is stuck"}]}
    entry = list(decided(row))[1]
    assert entry.style == BAD
    assert "0 B of 4.8 GiB came back (it is stuck)" in entry.text
    assert list(decided(DONE))[1].style != BAD


def test_a_decision_that_is_not_carried_out_says_so() -> None:
    assert "(advise only)" in next(decided({**DONE, "mode": "advise"})).text


def heard(**alerts: object) -> Row:
    return changed(now=HOLD["since"], alerts={"firing": 0, "holds": [], "last": None, **alerts})


def test_the_last_alert_is_told_once_and_what_holds_when_it_begins_and_ends() -> None:
    first = heard(last=ALERT, holds=[HOLD])
    alert = "alert UllageHeadroomLow fires, make-room on GPU-8f6f1c5e: done (d-7)"
    hold = "GPU-8f6f1c5e: no loads through the gateway while UllageHeadroomGone fires"
    assert told(FULL, first) == [alert, f"{hold}, 1m40s more at most"]
    assert told(first, first) == []
    assert told(first, heard(last=ALERT)) == [f"no longer: {hold}"]
    assert told(first, FULL) == [f"no longer: {hold}"]


@pytest.mark.parametrize(
    ("outcome", "style"),
    [("done", ""), ("duplicate", ""), (None, ""), ("disagreed", WARNING), ("failed", BAD)],
)
def test_an_alert_that_came_to_nothing_is_seen(outcome: str | None, style: str) -> None:
    (change,) = changes(FULL, heard(last={**ALERT, "outcome": outcome}), NAMES)
    assert change.style == style


def test_changes_between_two_looks_are_told() -> None:
    new = model("ollama/new", (ONE, 2, "measured"), state="loading")
    others = [m for m in FULL["models"] if m["name"] != "ollama/gemma3:4b"]
    up = [engine("llamacpp", 8080, fault="refused"), *FULL["engines"][1:2], engine("vllm", 8000)]
    wrong = [finding("device", ONE, "critical", "it fell off the bus", 1)]
    after = changed(models=[*others, new], engines=up, findings=wrong, paused={"until": None})
    assert told(FULL, after) == [
        "ollama/gemma3:4b is gone, 4.8 GiB less",
        "ollama/new is loading, 2 GiB",
        "engine llamacpp: refused",
        "engine vllm answers again",
        "gpu0: it fell off the bus",
        "0000:03:00.0: no longer: the driver did not answer within 1 s",
        "gpu1: no longer: free memory is below the reserve",
        "paused: nothing is unloaded or loaded",
    ]
    assert "resumed" in told(after, FULL)
    assert told(FULL, FULL) == []


def test_a_state_a_pin_and_a_mode_that_changed_are_told() -> None:
    first = {**FULL["models"][1], "state": "sleeping", "pinned": True}
    after = changed(models=[FULL["models"][0], first, *FULL["models"][2:]], mode="advise")
    assert told(FULL, after) == [
        "ollama/gemma3:4b: loaded, now sleeping",
        "ollama/gemma3:4b is pinned",
        "the mode is advise now",
    ]


def test_outcomes_that_come_later_stand_in_their_place_and_nothing_twice() -> None:
    kept = Log()
    kept.say(1790000000.5, "in between")
    kept.decide([{**DONE, "outcomes": []}])
    kept.decide([DONE])
    assert [e.text.split()[0] for e in kept.entries] == ["d-000012", "in", "unload"]


def test_what_a_decision_did_is_not_told_twice_and_what_others_did_is() -> None:
    without = changed(models=[m for m in FULL["models"] if m["name"] != "ollama/gemma3:4b"])
    kept = Log()

    def said(words: str) -> int:
        return sum(words in e.text for e in kept.entries)

    kept.decide([DONE])  # which unloads gemma3
    kept.changed(FULL, without, NAMES)
    assert said("gemma3:4b is gone") == 0
    kept.changed(without, FULL, NAMES)  # that it came back was not decided
    assert said("gemma3:4b is loaded") == 1
    kept.decide([{**DONE, "id": "d-2", "at": DONE["at"] + 3600, "actions": [], "outcomes": []}])
    kept.changed(FULL, without, NAMES)  # nor, an hour later, that it left
    assert said("gemma3:4b is gone") == 1


def test_what_happens_long_after_the_last_decision_was_not_its_doing() -> None:
    names = [m["name"] for m in FULL["models"]]
    without = changed(models=[m for m in FULL["models"] if m["name"] != "ollama/gemma3:4b"])
    assert "ollama/gemma3:4b" in names
    for passed, told in ((log.RECENT, 0), (log.RECENT + 2, 1), (86400, 1)):
        kept = Log()
        kept.decide([DONE])
        at = DONE["outcomes"][-1]["at"] + passed
        kept.changed(FULL, {**without, "now": at}, NAMES)
        assert sum("gemma3:4b is gone" in e.text for e in kept.entries) == told
    kept = Log()
    kept.decide([{**DONE, "outcomes": [], "running": True}])  # it takes its time
    kept.changed(FULL, {**without, "now": DONE["at"] + 500}, NAMES)
    assert not any("gemma3:4b is gone" in e.text for e in kept.entries)


def test_the_newest_entries_are_at_the_bottom_and_no_more_than_fit() -> None:
    kept = Log()
    for i in range(log.KEPT + 50):
        kept.say(float(i), f"entry {i}")
    lines = [t.plain[log.TIME :] for t in kept.lines(80, 3, LOOK)]
    assert lines == [f"entry {log.KEPT + i}" for i in (47, 48, 49)]
    assert len(kept.entries) == log.KEPT
    kept.say(1e9, "one two three four five")  # two lines of 20 columns
    assert [t.plain[log.TIME :] for t in kept.lines(20, 2, LOOK)] == ["one two", "three four"]
    assert len(kept.lines(20, 4, LOOK)) == 4
    assert len(kept.lines(20, 3, LOOK)) == 3


@pytest.mark.parametrize("text", ["a b c", "", "x" * 100, "模型" * 30, "many words " * 9, " "])
def test_a_long_entry_is_folded_and_none_of_it_is_lost(text: str) -> None:
    lines = wrapped(Entry(0.0, text), 40, LOOK)
    assert all(t.cell_len <= 40 for t in lines)
    rest = "".join(t.plain[log.TIME :] for t in lines)
    assert rest.replace(" ", "") == text.replace(" ", "")
    assert all(cell_len(t.plain) <= 12 for t in fold(text, 12))


def test_what_strangers_say_moves_no_cursor() -> None:
    kept = Log()
    kept.say(0.0, "\x1b[2J is gone")
    kept.decide([{**DONE, "cause": "\x1b]0;title\x07"}])
    assert all(e.text.isprintable() for e in kept.entries)
