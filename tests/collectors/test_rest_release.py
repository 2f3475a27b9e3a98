"""GPUs that are left to an administrator, whatever the driver does."""

import threading

import pytest

from collectors.errors import CollectorError
from collectors.reading import Seconds, Tier
from collectors.rest import Resting
from tests.collectors.conftest import Clock
from tests.collectors.resting import Driver, Sysfs, put_to_sleep


def test_a_released_driver_is_closed_and_its_memory_unknown(
    resting: Resting, inner: Driver, clock: Clock
) -> None:
    resting.read(Tier.ALL)
    resting.release(Seconds(clock.now + 300))
    assert (inner.closed, resting.closed) == (0, False)  # the reading thread does it
    for left in (300, 299):
        with pytest.raises(CollectorError, match=f"for an administrator, for another {left} s"):
            resting.read(Tier.ALL)
        clock.now += 1
    assert (inner.asked, inner.closed, resting.closed) == (1, 1, True)
    assert resting.released_until == clock.now + 298


def test_a_release_ends_by_itself(resting: Resting, inner: Driver, clock: Clock) -> None:
    resting.release(Seconds(clock.now + 300))
    with pytest.raises(CollectorError):
        resting.read(Tier.ALL)
    clock.now += 300
    assert resting.released_until is None
    assert resting.read(Tier.ALL) == inner.sample
    assert not resting.closed


def test_a_release_can_be_ended_before_its_time(
    resting: Resting, inner: Driver, clock: Clock
) -> None:
    thread = threading.Thread(target=resting.release, args=(Seconds(clock.now + 300),))
    thread.start()
    thread.join()
    with pytest.raises(CollectorError):
        resting.read(Tier.ALL)
    resting.resume()
    assert resting.read(Tier.ALL) == inner.sample


def test_a_load_does_not_take_a_released_driver_back(
    resting: Resting, inner: Driver, clock: Clock
) -> None:
    resting.release(Seconds(clock.now + 300))
    resting.wake()
    with pytest.raises(CollectorError):
        resting.read(Tier.ALL)
    assert inner.asked == 0


def test_a_driver_that_rests_can_be_released_and_is_then_asked_again(
    resting: Resting, inner: Driver, sysfs: Sysfs, clock: Clock
) -> None:
    put_to_sleep(resting, sysfs, clock)
    resting.release(Seconds(clock.now + 300))
    with pytest.raises(CollectorError):
        resting.read(Tier.ALL)
    assert inner.closed == 1  # it was closed already
    resting.resume()
    assert resting.read(Tier.ALL) == inner.sample  # a reset may have changed what there is


def test_closing_that_fails_is_tried_at_each_read(
    resting: Resting, inner: Driver, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise CollectorError("it will not end")

    resting.release(Seconds(clock.now + 300))
    with monkeypatch.context() as patch:
        patch.setattr(inner, "close", refuse)
        with pytest.raises(CollectorError, match="it will not end"):
            resting.read(Tier.ALL)
        assert not resting.closed
    with pytest.raises(CollectorError, match="released"):
        resting.read(Tier.ALL)
    assert resting.closed


def test_closing_that_hangs_keeps_only_the_reading_thread(
    resting: Resting, inner: Driver, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs, over = threading.Event(), threading.Event()

    def hang() -> None:
        hangs.set()
        assert over.wait(10)

    monkeypatch.setattr(inner, "close", hang)
    resting.release(Seconds(clock.now + 300))

    def read() -> None:
        with pytest.raises(CollectorError, match="released"):
            resting.read(Tier.ALL)

    reading = threading.Thread(target=read)
    reading.start()
    assert hangs.wait(10)
    resting.wake()
    resting.resume()
    resting.release(Seconds(clock.now + 600))
    assert (resting.closed, resting.released_until) == (False, clock.now + 600)
    over.set()
    reading.join(10)
    assert resting.closed


def test_a_reader_that_had_to_be_left_behind_is_told_of_until_it_has_ended(
    resting: Resting, inner: Driver, clock: Clock
) -> None:
    inner.pid = 4242  # type: ignore[attr-defined]
    resting.release(Seconds(clock.now + 300))
    for _ in range(2):
        with pytest.raises(CollectorError, match="its driver does not let go"):
            resting.read(Tier.ALL)
    assert (inner.closed, resting.closed) == (2, False)
    inner.pid = None  # type: ignore[attr-defined]
    with pytest.raises(CollectorError, match="no memory of its GPUs can be read"):
        resting.read(Tier.ALL)
    assert (inner.closed, resting.closed) == (2, True)
