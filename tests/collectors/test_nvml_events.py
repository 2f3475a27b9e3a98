"""The thread that waits for the driver's own reports, and what it may never keep waiting.

The driver is the scripted one behind the real binding; only the waits are cut short.
"""

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from collectors import nvml_events
from collectors.nvml_events import TRIES, WAIT, EventWatch
from collectors.reading import Incident, Remedy, Seconds
from tests.collectors.conftest import Clock
from tests.nvml.fake_nvml import State

UNINITIALIZED, INVALID_ARGUMENT, NOT_SUPPORTED, FUNCTION_NOT_FOUND, UNKNOWN = 1, 2, 3, 13, 999
PATIENCE = Seconds(10.0)  # only a test that fails waits so long
ALL_KINDS = 0xC10A


class Binding:
    """The real binding, which counts its calls and can be waited for; each wait lasts 10 ms."""

    def __init__(self, real: Any) -> None:
        self.real = real
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.called = threading.Condition()
        self.failures: dict[str, int] = {}  # of the next so many calls by that name

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.real, name)
        if not name.startswith(("nvmlEvent", "nvmlDevice")):
            return found

        def call(*arguments: Any) -> Any:
            with self.called:
                self.calls.append((name, arguments))
                self.called.notify_all()
            if self.failures.get(name, 0) > 0:
                self.failures[name] -= 1
                raise self.real.NVMLError(UNKNOWN)
            if name == "nvmlEventSetWait_v2":
                arguments = (arguments[0], 10)
            return found(*arguments)

        return call

    def count(self, name: str) -> int:
        return sum(called == name for called, _ in self.calls)

    def reach(self, name: str, times: int) -> None:
        """Wait until it has been called so many times."""
        with self.called:
            assert self.called.wait_for(lambda: self.count(name) >= times, PATIENCE)


@pytest.fixture
def binding(driver: State) -> Binding:
    import pynvml

    pynvml.nvmlInit()
    return Binding(pynvml)


@pytest.fixture
def watch(clock: Clock) -> Iterator[EventWatch]:
    watch = EventWatch(clock, first_pause=0.0)
    yield watch
    watch.close()
    assert ended(watch)


def handles(binding: Binding) -> dict[str, Any]:
    """By UUID; other objects than those that an event brings."""
    found = [binding.real.nvmlDeviceGetHandleByIndex(i) for i in (0, 1)]
    return {binding.real.nvmlDeviceGetUUID(handle): handle for handle in found}


def begin(watch: EventWatch, binding: Binding) -> None:
    watch.start(binding, handles(binding))
    binding.reach("nvmlEventSetWait_v2", 1)


def drained(watch: EventWatch, binding: Binding, events: int = 1) -> list[Incident]:
    """What the driver has to tell now. Each wait tells one thing, and it is kept before the next
    wait begins; the one under way may have looked already."""
    binding.reach("nvmlEventSetWait_v2", binding.count("nvmlEventSetWait_v2") + events + 1)
    return watch.drain()


def ended(watch: EventWatch) -> bool:
    return watch.left(PATIENCE)


def test_an_xid_is_told_once_with_what_helps(
    watch: EventWatch, binding: Binding, driver: State, clock: Clock
) -> None:
    begin(watch, binding)
    driver.xid(1, 1, 79)
    assert drained(watch, binding) == [
        Incident(
            "GPU-bbbb",
            "xid",
            79,
            Remedy.REBOOT,
            "Xid 79: the GPU has fallen off the bus",
            Seconds(clock.now),
        )
    ]
    assert drained(watch, binding) == []


def test_a_quiet_driver_is_waited_for_a_second_at_a_time_and_reports_nothing(
    watch: EventWatch, binding: Binding
) -> None:
    begin(watch, binding)
    assert drained(watch, binding) == []
    assert binding.count("nvmlEventSetCreate") == 1  # a timeout is not a failure
    waits = [a for name, a in binding.calls if name == "nvmlEventSetWait_v2"]
    assert {timeout for _, timeout in waits} == {WAIT} == {1000}


def test_an_error_that_the_driver_cannot_name_is_an_incident(
    watch: EventWatch, binding: Binding, driver: State
) -> None:
    begin(watch, binding)
    driver.xid(1, 0, 999)
    (incident,) = drained(watch, binding)
    assert (incident.code, incident.remedy) == (999, Remedy.INSPECT)


def test_every_kind_of_report_has_its_name(
    watch: EventWatch, binding: Binding, driver: State
) -> None:
    driver.gpu(0, events=ALL_KINDS)
    begin(watch, binding)
    for serial, kind in enumerate((0x2, 0x8, 0x100, 0x4000, 0x8000), start=1):
        driver.event(serial, 0, kind, 13)
    found = drained(watch, binding, events=5)
    assert [(i.kind, i.code, i.remedy) for i in found] == [
        ("ecc", None, Remedy.INSPECT),
        ("xid", 13, Remedy.RESTART),
        ("mig", None, Remedy.NOTHING),
        ("unavailable", None, Remedy.INSPECT),
        ("recovery", None, Remedy.INSPECT),
    ]
    assert {i.device for i in found} == {"GPU-aaaa"}


def test_a_gpu_is_asked_only_for_what_it_supports(
    watch: EventWatch, binding: Binding, driver: State
) -> None:
    driver.gpu(0, events=0x1 | 0x8 | 0x100 | 0x200)
    driver.gpu(1, events=0x1)
    begin(watch, binding)
    registered = [a[1] for name, a in binding.calls if name == "nvmlDeviceRegisterEvents"]
    assert registered == [0x108]


def test_a_gpu_that_cannot_be_watched_does_not_keep_the_other_from_it(
    watch: EventWatch, binding: Binding, driver: State
) -> None:
    driver.fault(UNKNOWN, "nvmlDeviceRegisterEvents", 0)
    begin(watch, binding)
    driver.xid(1, 1, 48)
    assert [i.device for i in drained(watch, binding)] == ["GPU-bbbb"]


def test_a_gpu_need_not_answer_when_its_event_comes(
    watch: EventWatch, binding: Binding, driver: State
) -> None:
    begin(watch, binding)
    driver.fault(UNKNOWN, index=0)
    driver.xid(1, 0, 79)
    assert [i.device for i in drained(watch, binding)] == ["GPU-aaaa"]


# -- a driver that fails


def test_a_set_that_fails_is_freed_and_another_made(
    watch: EventWatch, binding: Binding, driver: State
) -> None:
    begin(watch, binding)
    driver.xid(1, 0, 31)
    assert [i.code for i in drained(watch, binding)] == [31]
    binding.failures["nvmlEventSetWait_v2"] = 1
    binding.reach("nvmlEventSetCreate", 2)
    assert binding.count("nvmlEventSetFree") == 1
    driver.xid(2, 0, 32)
    assert [i.code for i in drained(watch, binding)] == [32]  # and 31 is not told again


def test_gpus_that_cannot_be_watched_yet_are_tried_again(
    watch: EventWatch, binding: Binding, driver: State
) -> None:
    binding.failures["nvmlDeviceRegisterEvents"] = 2
    begin(watch, binding)
    assert binding.count("nvmlEventSetCreate") == 2
    driver.xid(1, 0, 79)
    assert [i.code for i in drained(watch, binding)] == [79]


def test_a_driver_that_only_fails_is_left_alone_after_some_tries(
    watch: EventWatch, binding: Binding, driver: State
) -> None:
    driver.fault(UNKNOWN, "nvmlEventSetWait_v2")
    begin(watch, binding)
    assert ended(watch)
    assert binding.count("nvmlEventSetWait_v2") == TRIES
    assert binding.count("nvmlEventSetFree") == binding.count("nvmlEventSetCreate") == TRIES


def test_a_wait_that_succeeds_starts_the_count_of_tries_anew(
    watch: EventWatch, binding: Binding, driver: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nvml_events, "TRIES", 2)  # so that two failures in a row end it
    begin(watch, binding)
    for made in (2, 3, 4):
        binding.failures["nvmlEventSetWait_v2"] = 1
        binding.reach("nvmlEventSetCreate", made)
        drained(watch, binding)
    assert not watch.left(Seconds(0))


@pytest.mark.parametrize("code", [UNINITIALIZED, NOT_SUPPORTED, FUNCTION_NOT_FOUND])
@pytest.mark.parametrize("function", ["nvmlEventSetCreate", "nvmlEventSetWait_v2"])
def test_a_driver_without_events_is_asked_once(
    watch: EventWatch, binding: Binding, driver: State, function: str, code: int
) -> None:
    driver.fault(code, function)
    watch.start(binding, handles(binding))
    assert ended(watch)
    assert binding.count(function) == 1


def test_gpus_without_events_are_not_waited_for(
    watch: EventWatch, binding: Binding, driver: State
) -> None:
    driver.fault(NOT_SUPPORTED, "nvmlDeviceGetSupportedEventTypes")
    watch.start(binding, handles(binding))
    assert ended(watch)
    assert binding.count("nvmlEventSetWait_v2") == 0


def test_a_binding_without_events_needs_no_thread(watch: EventWatch) -> None:
    before = threading.active_count()
    watch.start(object(), {"GPU-aaaa": object()})
    assert threading.active_count() == before
    assert (watch.drain(), watch.left(Seconds(0))) == ([], True)


# -- ends and new beginnings


def test_a_thread_that_died_of_nonsense_is_replaced(
    watch: EventWatch,
    binding: Binding,
    driver: State,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    died = threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda _: died.set())
    with monkeypatch.context() as patch:
        patch.setattr(binding.real, "nvmlEventSetCreate", lambda: 1 / 0)
        watch.start(binding, handles(binding))
        assert died.wait(PATIENCE)
        assert ended(watch)
    begin(watch, binding)
    driver.xid(1, 0, 79)
    assert [i.code for i in drained(watch, binding)] == [79]


def test_a_closed_watch_ends_and_frees_nothing(watch: EventWatch, binding: Binding) -> None:
    begin(watch, binding)
    watch.close()
    assert ended(watch)
    assert binding.count("nvmlEventSetFree") == 0  # it may be another one's by now


def test_what_was_found_before_the_end_can_still_be_had(
    watch: EventWatch, binding: Binding, driver: State
) -> None:
    begin(watch, binding)
    driver.xid(1, 0, 79)
    binding.reach("nvmlEventSetWait_v2", binding.count("nvmlEventSetWait_v2") + 2)
    watch.close()
    assert [i.code for i in watch.drain()] == [79]


def test_a_watch_that_is_started_again_has_one_thread_and_the_new_gpus(
    watch: EventWatch, binding: Binding, driver: State
) -> None:
    before = threading.active_count()
    begin(watch, binding)
    for _ in range(3):
        watch.start(binding, {"GPU-cccc": handles(binding)["GPU-aaaa"]})
    binding.reach("nvmlDeviceRegisterEvents", 2 + 1)
    assert threading.active_count() == before + 1
    driver.xid(1, 1, 79)  # not watched any more
    driver.xid(2, 0, 31)
    assert [(i.device, i.code) for i in drained(watch, binding, events=2)] == [("GPU-cccc", 31)]


@pytest.mark.parametrize("function", ["nvmlEventSetCreate", "nvmlEventSetWait_v2"])
def test_a_driver_that_hangs_keeps_nobody_waiting(
    watch: EventWatch, binding: Binding, driver: State, function: str
) -> None:
    driver.hang(function)
    gpus = handles(binding)
    watch.start(binding, gpus)
    binding.reach(function, 1)
    done = threading.Event()

    def use() -> None:
        watch.drain()
        watch.close()
        watch.start(binding, gpus)
        watch.close()
        done.set()

    threading.Thread(target=use, daemon=True).start()
    assert done.wait(PATIENCE)
    assert not watch.left(Seconds(0))
    driver.drop("hang")
    assert ended(watch)


def test_a_watch_that_began_while_the_driver_hung_starts_when_it_is_over(
    watch: EventWatch, binding: Binding, driver: State
) -> None:
    driver.hang("nvmlEventSetWait_v2")
    begin(watch, binding)
    watch.start(binding, handles(binding))
    assert binding.count("nvmlEventSetCreate") == 1
    driver.drop("hang")
    binding.reach("nvmlEventSetCreate", 2)
    driver.xid(1, 0, 79)
    assert [i.code for i in drained(watch, binding)] == [79]


def test_a_flood_keeps_the_newest(
    binding: Binding, driver: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nvml_events, "KEPT", 3)
    watch = EventWatch()
    begin(watch, binding)
    for serial in range(1, 6):
        driver.xid(serial, 0, serial)
    assert [i.code for i in drained(watch, binding, events=5)] == [3, 4, 5]
    watch.close()
    assert ended(watch)


def test_a_set_that_was_freed_is_refused_by_the_stand_in(binding: Binding) -> None:
    """The real driver would crash, or worse: so a set that is freed twice is seen here."""
    real = binding.real
    events = real.nvmlEventSetCreate()
    real.nvmlEventSetFree(events)
    for call in (
        lambda: real.nvmlEventSetFree(events),
        lambda: real.nvmlEventSetWait_v2(events, 1),
    ):
        with pytest.raises(real.NVMLError) as refused:
            call()
        assert refused.value.value == INVALID_ARGUMENT
