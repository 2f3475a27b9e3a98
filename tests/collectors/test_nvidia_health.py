"""How NVIDIA GPUs feel: units, words, and what is asked only once."""

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from collectors.nvidia import NvidiaCollector
from collectors.nvml import VALUES, Handle, Nvml
from collectors.nvml_health import RECOVERY
from collectors.reading import Health, Tier
from tests.nvml.fake_nvml import GIB, State
from tests.nvml.told import Told

NOT_SUPPORTED, NO_PERMISSION, FUNCTION_NOT_FOUND, UNKNOWN = 3, 4, 13, 999
RESET_REQUIRED, GPU_IS_LOST = 16, 15
MEMORY_TEMPERATURE, RECOVERY_ACTION = 82, 230

WELL = Health(
    utilization=0.12,
    memory_utilization=0.07,
    temperature=41.0,
    memory_temperature=62.0,
    power=65.0,
    power_limit=450.0,
    energy=7000.5,
    clock=2.52e9,
    memory_clock=10.501e9,
    throttled=(),
    ecc_corrected=3,
    ecc_uncorrected=0,
    pcie_generation=4,
    pcie_width=16,
    recovery="none",
)


class Counting:
    """The real binding, with the calls counted."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        import pynvml

        if name.startswith("nvmlDevice"):
            self.calls[name] += 1
        return getattr(pynvml, name)


@pytest.fixture
def well(driver: State) -> State:
    """One GPU that tells all there is to be told."""
    driver.without_gpu(1)
    driver.gpu(0, memutil=7, limit_mw=450_000, clock=2520, mem_clock=10501, reasons=0x1)
    driver.gpu(0, ecc_corrected=3, ecc_uncorrected=0, pcie_gen=4, pcie_width=16)
    driver.field(0, MEMORY_TEMPERATURE, 62)
    driver.field(0, RECOVERY_ACTION, 0)
    return driver


@pytest.fixture
def counting() -> Counting:
    return Counting()


@pytest.fixture
def collector(driver: State, counting: Counting, tmp_path: Path) -> NvidiaCollector:
    return NvidiaCollector(tmp_path, host_total=lambda: 125 * GIB, binding=counting, events=Told())


def health(collector: NvidiaCollector) -> Health:
    return (collector.read(Tier.MEMORY | Tier.HEALTH).health or {})["GPU-aaaa"]


def missing(found: Health) -> set[str]:
    return {name for name in Health.__slots__ if getattr(found, name) is None}


def test_health_is_in_base_units(collector: NvidiaCollector, well: State) -> None:
    assert health(collector) == WELL


def test_health_is_none_when_nobody_asked_and_costs_nothing(
    collector: NvidiaCollector, counting: Counting, well: State
) -> None:
    assert collector.read(Tier.MEMORY | Tier.PROCESSES).health is None
    counting.calls.clear()
    collector.read(Tier.MEMORY)
    assert set(counting.calls) == {"nvmlDeviceGetCount", "nvmlDeviceGetMemoryInfo"}


@pytest.mark.parametrize(
    ("function", "fields"),
    [
        ("nvmlDeviceGetUtilizationRates", {"utilization", "memory_utilization"}),
        ("nvmlDeviceGetFieldValues", {"memory_temperature", "recovery"}),
        ("nvmlDeviceGetPowerUsage", {"power"}),
        ("nvmlDeviceGetEnforcedPowerLimit", {"power_limit"}),
        ("nvmlDeviceGetTotalEnergyConsumption", {"energy"}),
        ("nvmlDeviceGetClockInfo", {"clock", "memory_clock"}),
        ("nvmlDeviceGetTotalEccErrors", {"ecc_corrected", "ecc_uncorrected"}),
        ("nvmlDeviceGetCurrPcieLinkGeneration", {"pcie_generation"}),
        ("nvmlDeviceGetCurrPcieLinkWidth", {"pcie_width"}),
    ],
)
@pytest.mark.parametrize("code", [NOT_SUPPORTED, FUNCTION_NOT_FOUND, NO_PERMISSION, UNKNOWN])
def test_each_reading_fails_alone(
    collector: NvidiaCollector, well: State, function: str, fields: set[str], code: int
) -> None:
    well.fault(code, function)
    assert missing(health(collector)) == fields


@pytest.mark.parametrize("code", [RESET_REQUIRED, GPU_IS_LOST])
def test_a_gpu_that_is_gone_is_not_half_read(
    collector: NvidiaCollector, driver: State, code: int
) -> None:
    collector.read(Tier.ALL)
    driver.fault(code, "nvmlDeviceGetPowerUsage", 1)
    sample = collector.read(Tier.ALL)
    assert [p.id for p in sample.pools] == ["GPU-aaaa"]
    assert [b.pool for b in sample.blind] == ["GPU-bbbb"]
    assert set(sample.health or {}) == {"GPU-aaaa"}


def test_an_older_driver_tells_temperature_and_throttling_by_older_names(
    collector: NvidiaCollector, well: State
) -> None:
    well.fault(FUNCTION_NOT_FOUND, "nvmlDeviceGetTemperatureV")
    well.fault(FUNCTION_NOT_FOUND, "nvmlDeviceGetCurrentClocksEventReasons")
    assert health(collector) == WELL


@pytest.mark.parametrize(
    ("bits", "words"),
    [
        (0x0, ()),
        (0x1 | 0x2 | 0x100, ()),
        (0x4, ("power cap",)),
        (0x8 | 0x40, ("hardware slowdown", "thermal (hardware)")),
        (0x8 | 0x80, ("hardware slowdown", "power brake")),
        (0x10 | 0x20, ("sync boost", "thermal (software)")),
    ],
)
def test_throttling_is_told_in_words_and_being_idle_is_none(
    collector: NvidiaCollector, well: State, bits: int, words: tuple[str, ...]
) -> None:
    well.gpu(0, reasons=bits)
    assert health(collector).throttled == words


def test_a_gpu_that_does_not_tell_is_not_said_to_be_unthrottled(
    collector: NvidiaCollector, driver: State
) -> None:
    assert health(collector).throttled is None


@pytest.mark.parametrize(("action", "word"), [*enumerate(RECOVERY), (9, "action 9")])
def test_the_recovery_action_is_a_word(
    collector: NvidiaCollector, well: State, action: int, word: str
) -> None:
    well.field(0, RECOVERY_ACTION, action)
    assert health(collector).recovery == word


def test_utilization_is_never_above_one(collector: NvidiaCollector, well: State) -> None:
    well.gpu(0, util=101, memutil=130)
    found = health(collector)
    assert (found.utilization, found.memory_utilization) == (1.0, 1.0)


def test_what_a_gpu_lacks_is_asked_once(
    collector: NvidiaCollector, counting: Counting, well: State
) -> None:
    for function in ("UtilizationRates", "TemperatureV", "CurrPcieLinkWidth"):
        well.fault(NOT_SUPPORTED, f"nvmlDeviceGet{function}")
    well.drop(f"field 0 {MEMORY_TEMPERATURE} ")
    first = health(collector)
    counting.calls.clear()
    assert health(collector) == first
    assert counting.calls == Counter(
        {
            "nvmlDeviceGetCount": 1,
            "nvmlDeviceGetMemoryInfo": 1,
            "nvmlDeviceGetTemperature": 1,
            "nvmlDeviceGetFieldValues": 1,
            "nvmlDeviceGetPowerUsage": 1,
            "nvmlDeviceGetEnforcedPowerLimit": 1,
            "nvmlDeviceGetTotalEnergyConsumption": 1,
            "nvmlDeviceGetClockInfo": 2,
            "nvmlDeviceGetCurrentClocksEventReasons": 1,
            "nvmlDeviceGetTotalEccErrors": 2,
            "nvmlDeviceGetCurrPcieLinkGeneration": 1,
        }
    )


def test_the_newer_form_of_the_memory_is_asked_for_once_of_an_old_driver(
    collector: NvidiaCollector, counting: Counting, well: State
) -> None:
    well.fault(FUNCTION_NOT_FOUND, "nvmlDeviceGetMemoryInfo_v2")
    collector.read(Tier.MEMORY)
    counting.calls.clear()
    collector.read(Tier.MEMORY)
    assert counting.calls["nvmlDeviceGetMemoryInfo"] == 1


def test_what_one_gpu_lacks_the_other_is_still_asked(
    collector: NvidiaCollector, driver: State
) -> None:
    driver.gpu(1, limit_mw=700_000)
    for _ in range(2):
        found = collector.read(Tier.ALL).health or {}
        assert [h.power_limit for h in found.values()] == [None, 700.0]


def test_a_reading_that_failed_for_another_reason_is_asked_again(
    collector: NvidiaCollector, well: State
) -> None:
    well.fault(UNKNOWN, "nvmlDeviceGetPowerUsage")
    assert health(collector).power is None
    well.drop("fault")
    assert health(collector).power == 65.0


def test_after_the_library_is_started_anew_everything_is_asked_again(
    collector: NvidiaCollector, well: State
) -> None:
    well.fault(NOT_SUPPORTED, "nvmlDeviceGetPowerUsage")
    health(collector)
    well.drop("fault")
    assert health(collector).power is None
    collector.close()
    assert health(collector).power == 65.0


class OneField:
    """A binding that answers one field value, and counts how often it is asked."""

    class NVMLError(Exception):
        value = UNKNOWN

    def __init__(self, code: int, kind: int) -> None:
        self.code, self.kind, self.asked = code, kind, 0

    def nvmlDeviceGetFieldValues(self, handle: object, ids: tuple[int, ...]) -> list[object]:
        self.asked += 1
        value = SimpleNamespace(**{name: 10 + i for i, name in enumerate(VALUES)})
        return [SimpleNamespace(nvmlReturn=self.code, valueType=self.kind, value=value)]


@pytest.mark.parametrize(
    ("kind", "value"), [*((i, 10.0 + i) for i in range(len(VALUES))), (99, None)]
)
def test_a_field_value_is_read_by_its_type(kind: int, value: float | None) -> None:
    assert Nvml(OneField(0, kind)).field(Handle(None), MEMORY_TEMPERATURE) == value


@pytest.mark.parametrize(("code", "asked"), [(2, 1), (3, 1), (13, 1), (4, 2), (999, 2)])
def test_a_field_that_the_driver_does_not_know_is_asked_once(code: int, asked: int) -> None:
    binding, handle = OneField(code, 0), Handle(None)
    library = Nvml(binding)
    assert [library.field(handle, MEMORY_TEMPERATURE) for _ in range(2)] == [None, None]
    assert binding.asked == asked
