"""A pause and drained engines: what is kept of them, and until when."""

from __future__ import annotations

from pathlib import Path

import pytest

from collectors.reading import Seconds
from supervisor.core.halt import Halt
from supervisor.core.policy import EVERY_ENGINE, Policy
from supervisor.core.snapshot import EngineId
from supervisor.keeping.keeping import Keeping
from supervisor.keeping.pausing import HOST, Pausing
from tests.test_keeping import Time

OLLAMA, LLAMA = EngineId("ollama"), EngineId("llama")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


def rest(time: Time, file: Path | None, period: float | None = 3600) -> Keeping:
    """A daemon that is paused, and of which an engine is drained."""
    keeping = time.keeping(file)
    ends = None if period is None else Seconds(time.clock + period)
    keeping.pausing.set_pause(ends)
    keeping.pausing.drain(OLLAMA, Halt(ends, unload=True))
    return keeping


def left(pausing: Pausing) -> list[float | None]:
    halts = [h for h in (pausing.pause, *pausing.drained.values()) if h is not None]
    now = pausing.deadlines.now
    return [None if h.ends is None else round(h.ends - now, 2) for h in halts]


def test_both_are_in_the_policy_of_the_next_daemon_before_it_decides_anything(file: Path) -> None:
    time = Time()
    rest(time, file, None).journal.close()
    time.restarts(600)
    policy = time.keeping(file).over(Policy())
    assert policy.pause == Halt()
    assert policy.drain_of(OLLAMA) == Halt(unload=True)
    assert policy.drain_of(LLAMA) is None


@pytest.mark.parametrize("restarts", [False, True], ids=["the daemon", "the machine"])
def test_what_ends_does_so_at_its_time_over_a_restart_too(file: Path, restarts: bool) -> None:
    time = Time()
    rest(time, file).journal.close()
    (time.restarts if restarts else time.passes)(600)
    again = time.keeping(file)
    assert left(again.pausing) == [3000, 3000]
    again.journal.close()
    time.passes(3001)
    over = time.keeping(file)
    assert left(over.pausing) == []
    assert (over.over(Policy()).pause, over.over(Policy()).drained) == (None, {})
    assert over.journal.shelves["paused"].all() == over.journal.shelves["drained"].all() == {}


def test_a_clock_that_is_set_is_written_down_anew(file: Path) -> None:
    time = Time()
    keeping = rest(time, file)
    time.wall += 86400
    keeping.rewrite()
    keeping.journal.close()
    time.restarts(600)
    assert left(time.keeping(file).pausing) == [3000, 3000]


def test_what_has_no_end_is_not_written_anew() -> None:
    keeping = rest(Time(), None, None)
    heard = []
    keeping.journal.shelves.listeners.append(lambda *told: heard.append(told))
    keeping.rewrite()
    assert heard == []


def test_an_end_that_cannot_be_read_is_none(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    time = Time()
    keeping = time.keeping(file)
    keeping.journal.shelves["paused"].keep(HOST, {"ends": {"unix": "soon"}})
    keeping.journal.shelves["drained"].keep("ollama", {"ends": [], "unload": True})
    keeping.journal.close()
    again = time.keeping(file)
    assert again.pausing.pause == Halt()
    assert again.pausing.drained == {OLLAMA: Halt(unload=True)}
    assert "when the pause ends cannot be read" in caplog.text


def test_time_ends_each_of_them_and_the_policy_is_made_anew_for_it() -> None:
    time = Time()
    keeping = time.keeping(None)
    pausing = keeping.pausing
    pausing.set_pause(Seconds(time.clock + 10))
    pausing.drain(OLLAMA, Halt(Seconds(time.clock + 20)))
    assert not keeping._lapse(Seconds(time.clock + 9))
    assert keeping._lapse(Seconds(time.clock + 10))
    assert (pausing.pause, list(pausing.drained)) == (None, [OLLAMA])
    assert keeping._lapse(Seconds(time.clock + 20))
    assert pausing.drained == {}
    assert not keeping._lapse(Seconds(time.clock + 99))


def test_every_change_is_told_at_once_and_what_changes_nothing_is_not() -> None:
    time = Time()
    pausing = time.keeping(None).pausing
    told: list[tuple[bool, list[str]]] = []
    pausing.told.append(lambda: told.append((pausing.pause is not None, sorted(pausing.drained))))

    pausing.end_pause()
    pausing.end_drain(OLLAMA)
    pausing.set_pause(Seconds(time.clock + 5))
    pausing.drain(OLLAMA, Halt())
    pausing.drain(EVERY_ENGINE, Halt())
    pausing.end_drain(OLLAMA)
    pausing.lapse(Seconds(time.clock + 5))
    pausing.lapse(Seconds(time.clock + 5))
    pausing.end_drain(EVERY_ENGINE)
    ollama, every = [OLLAMA], [EVERY_ENGINE]
    both = every + ollama
    assert told == [
        (True, []), (True, ollama), (True, both), (True, every), (False, every), (False, []),
    ]  # fmt: skip


def test_an_engine_is_drained_by_its_name_or_with_every_other() -> None:
    pausing = Time().keeping(None).pausing
    pausing.drain(EVERY_ENGINE, Halt())
    pausing.drain(OLLAMA, Halt(Seconds(4000), unload=True))
    assert pausing.drain_of(LLAMA) == Halt()
    assert pausing.drain_of(OLLAMA) == Halt(Seconds(4000), unload=True)
    assert pausing.refusal(LLAMA) == (
        "llama is drained: it takes no requests and no loads; `ullage undrain` ends it"
    )
    assert pausing.refusal(OLLAMA) == (
        "ollama is drained for 65 min more: it takes no requests and no loads, and its models leave"
        " when nobody uses them; `ullage undrain` ends it"
    )
    pausing.end_drain(EVERY_ENGINE)
    assert pausing.refusal(LLAMA) is None
