"""One thread per collector that keeps nobody waiting."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from collectors.errors import CollectorError, NoAnswer
from collectors.nvidia import NvidiaCollector
from collectors.owner import Owner, read_all
from collectors.reading import (
    RAM,
    Collector,
    MemoryPool,
    PoolKind,
    Reading,
    Sample,
    Seconds,
    Tier,
    gib,
)
from tests.collectors.conftest import Clock
from tests.nvml.fake_nvml import State

SOON = 10.0  # seconds; only ever waited for in full when a test fails
RAM_POOL = MemoryPool(RAM, PoolKind.HOST, gib(64), gib(40))


class Scripted:
    """A collector that answers what it is told; `gate` holds it inside the call."""

    def __init__(self, name: str = "scripted", deadline: float = 2.0) -> None:
        self.name, self.deadline = name, Seconds(deadline)
        self.answer: Sample | Exception = Sample(pools=(RAM_POOL,))
        self.entered, self.gate = threading.Event(), threading.Event()
        self.gate.set()
        self.asked: list[Tier] = []
        self.threads: set[int] = set()

    def read(self, tiers: Tier) -> Sample:
        self.asked.append(tiers)
        self.threads.add(threading.get_ident())
        self.entered.set()
        assert self.gate.wait(SOON)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Entered:
    """Another collector, with an event that says when its call has begun."""

    def __init__(self, inner: Collector) -> None:
        self.name, self.deadline, self._inner = inner.name, inner.deadline, inner
        self.entered = threading.Event()

    def read(self, tiers: Tier) -> Sample:
        self.entered.set()
        return self._inner.read(tiers)


@pytest.fixture
def collector() -> Scripted:
    return Scripted()


@pytest.fixture
def owner(collector: Scripted, clock: Clock) -> Iterator[Owner]:
    owner = Owner(collector, clock)
    yield owner
    collector.gate.set()
    owner.close()


def result(future: Future[Reading]) -> Reading:
    return future.result(SOON)


def hang(collector: Scripted, owner: Owner) -> Future[Reading]:
    collector.gate.clear()
    future = owner.ask(Tier.MEMORY)
    assert collector.entered.wait(SOON)
    return future


def test_a_reading_is_stamped_with_its_start_and_its_duration(
    collector: Scripted, owner: Owner, clock: Clock
) -> None:
    future = hang(collector, owner)
    clock.now += 1.5
    collector.gate.set()
    sample = Sample(pools=(RAM_POOL,))
    assert result(future) == Reading("scripted", Seconds(1000.0), Seconds(1.5), sample)


def test_what_is_asked_for_reaches_the_collector(collector: Scripted, owner: Owner) -> None:
    for tiers in (Tier.ALL, Tier.MEMORY):
        result(owner.ask(tiers))
    assert collector.asked == [Tier.ALL, Tier.MEMORY]


def test_a_collector_is_always_called_from_the_same_thread(
    collector: Scripted, owner: Owner
) -> None:
    for _ in range(3):
        result(owner.ask(Tier.MEMORY))
    assert len(collector.threads) == 1
    assert collector.threads != {threading.get_ident()}


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (CollectorError("GPU is lost"), "GPU is lost"),
        (ValueError("two\nlines"), "ValueError: two lines"),
        (KeyError(), "KeyError"),
    ],
)
def test_an_error_becomes_a_fault_of_one_line_and_the_next_call_is_made(
    collector: Scripted, owner: Owner, error: Exception, fault: str
) -> None:
    collector.answer = error
    assert result(owner.ask(Tier.MEMORY)).fault == fault
    collector.answer = Sample(pools=(RAM_POOL,))
    assert result(owner.ask(Tier.MEMORY)).fault is None


def test_an_answer_that_did_not_come_in_time_is_told_apart_from_an_error(
    collector: Scripted, owner: Owner, clock: Clock
) -> None:
    collector.answer = CollectorError("GPU is lost")
    assert not result(owner.ask(Tier.MEMORY)).late
    collector.answer = NoAnswer("no answer within 2 s")
    assert result(owner.ask(Tier.MEMORY)).late
    collector.entered.clear()
    hanging = hang(collector, owner)
    clock.now += 7
    assert result(owner.ask(Tier.MEMORY)).late
    collector.gate.set()
    assert result(hanging).late


def test_while_a_call_is_overdue_every_other_is_refused_at_once(
    collector: Scripted, owner: Owner, clock: Clock
) -> None:
    hang(collector, owner)
    clock.now += 7
    refused = owner.ask(Tier.MEMORY)
    assert refused.done()
    assert result(refused).fault == "has not returned for 7 s"
    assert len(collector.asked) == 1


def test_a_call_within_its_deadline_lets_the_next_one_wait_behind_it(
    collector: Scripted, owner: Owner, clock: Clock
) -> None:
    first = hang(collector, owner)
    clock.now += 1
    second = owner.ask(Tier.ALL)
    assert not second.done()
    collector.gate.set()
    assert (result(first).fault, result(second).fault) == (None, None)
    assert collector.asked == [Tier.MEMORY, Tier.ALL]


def test_what_comes_too_late_is_thrown_away_and_the_next_reading_is_good(
    collector: Scripted, owner: Owner, clock: Clock
) -> None:
    late = hang(collector, owner)
    clock.now += 3
    collector.gate.set()
    assert (result(late).sample, result(late).fault) == (None, "answered only after 3.0 s")
    assert result(owner.ask(Tier.MEMORY)).sample == Sample(pools=(RAM_POOL,))


def test_a_question_that_nobody_waits_for_any_more_is_not_asked(
    collector: Scripted, owner: Owner
) -> None:
    hang(collector, owner)
    assert owner.ask(Tier.ALL).cancel()
    last = owner.ask(Tier.MEMORY)
    collector.gate.set()
    result(last)
    assert collector.asked == [Tier.MEMORY, Tier.MEMORY]


def test_the_threads_never_keep_the_program_from_ending(collector: Scripted, owner: Owner) -> None:
    hang(collector, owner)
    # That of the test before this one may still be on its way out.
    threads = [t for t in threading.enumerate() if t.name == "collector scripted"]
    assert threads
    assert all(thread.daemon for thread in threads)


def test_all_are_asked_at_once_and_each_keeps_its_own_deadline() -> None:
    good, slow, broken = Scripted("good"), Scripted("slow", 0.02), Scripted("broken")
    slow.gate.clear()
    broken.answer = CollectorError("no")
    owners = [Owner(slow), Owner(good), Owner(broken)]
    readings = read_all(owners, Tier.ALL)
    slow.gate.set()
    for owner in owners:
        owner.close()
    assert [(r.collector, r.fault) for r in readings] == [
        ("slow", "no answer within 0.02 s"),
        ("good", None),
        ("broken", "no"),
    ]


def test_whoever_gives_up_waiting_takes_the_question_back(
    collector: Scripted, owner: Owner
) -> None:
    collector.deadline = Seconds(0.02)
    hang(collector, owner)
    [given_up] = read_all([owner], Tier.ALL)
    assert given_up.fault == "no answer within 0.02 s"
    collector.gate.set()
    result(owner.ask(Tier.MEMORY))
    assert collector.asked == [Tier.MEMORY, Tier.MEMORY]


def test_a_driver_that_hangs_is_a_fault_and_recovers(driver: State, clock: Clock) -> None:
    collector = Entered(NvidiaCollector(clock=clock))
    owner = Owner(collector, clock)
    assert result(owner.ask(Tier.MEMORY)).fault is None

    collector.entered.clear()
    driver.hang("nvmlDeviceGetMemoryInfo_v2", 1)
    stuck = owner.ask(Tier.MEMORY)
    assert collector.entered.wait(SOON)
    clock.now += 30
    assert result(owner.ask(Tier.MEMORY)).fault == "has not returned for 30 s"
    assert not stuck.done()

    driver.drop("hang")
    assert result(stuck).fault == "answered only after 30.0 s"
    sample = result(owner.ask(Tier.MEMORY)).sample
    owner.close()
    assert sample is not None
    assert [p.id for p in sample.pools] == ["GPU-aaaa", "GPU-bbbb"]


def test_where_nothing_hangs_a_slow_machine_is_given_its_time(clock: Clock) -> None:
    collector = Scripted(deadline=2.0)
    patient, strict = Owner(collector, clock, 60), Owner(Slow(collector, clock), clock)
    assert (patient.deadline, strict.deadline) == (60, 2)
    late = Owner(Slow(collector, clock), clock, 60)
    assert result(late.ask(Tier.ALL)).fault is None
    assert result(strict.ask(Tier.ALL)).fault == "answered only after 5.0 s"
    for owner in (patient, strict, late):
        owner.close()


class Slow:
    """Each read takes five seconds."""

    def __init__(self, inner: Scripted, clock: Clock) -> None:
        self.name, self.deadline = inner.name, inner.deadline
        self._inner, self._clock = inner, clock

    def read(self, tiers: Tier) -> Sample:
        self._clock.now += 5
        return self._inner.read(tiers)
