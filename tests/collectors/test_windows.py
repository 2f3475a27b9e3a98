"""Windows' way of telling who holds GPU memory, and what its calls answer, tried anywhere."""

import ctypes
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors import win32, windows
from collectors.errors import CollectorError
from collectors.reading import Bytes, Sample, Tier, gib, mib
from collectors.win32 import Adapter, Commit
from collectors.windows import Instance, WindowsCollector, match, memory, nvidia_gpus, parse, sizes
from tests.nvml.fake_nvml import State

NVIDIA, INTEL = 0x10DE, 0x8086
BIG, SMALL = "NVIDIA GeForce RTX 4090", "NVIDIA GeForce RTX 3060"
OWN_IN_CPU = Adapter(0x9001, INTEL, "Intel(R) UHD Graphics 770")


def instance(pid: int, luid: int, physical: int = 0) -> str:
    return f"pid_{pid}_luid_0x{luid >> 32:08X}_0x{luid & 0xFFFFFFFF:08X}_phys_{physical}"


class Machine:
    """What Windows says of its GPUs, and the driver's list of them."""

    def __init__(self) -> None:
        self.held: dict[str, float] = {}
        self.adapters = [Adapter(0xABCD, NVIDIA, BIG), OWN_IN_CPU]
        self.gpus: dict[str, str] = {"GPU-aaaa": BIG}
        self.asked = 0
        self.collector = WindowsCollector(self.query, lambda: self.adapters, self.list)

    def query(self, path: str) -> Mapping[str, float]:
        assert path == r"\GPU Process Memory(*)\Dedicated Usage"
        return self.held

    def list(self) -> Mapping[str, str]:
        self.asked += 1
        return self.gpus

    def read(self, tiers: Tier = Tier.ALL) -> Sample:
        return self.collector.read(tiers)

    def holders(self) -> dict[tuple[int, str], int | None]:
        found = self.read().holders
        assert found is not None
        return {(h.pid, h.pool): h.size for h in found}


def test_an_instance_names_a_process_and_an_adapter() -> None:
    assert parse("pid_1234_luid_0x00000000_0x0000ABCD_phys_0") == Instance(1234, 0xABCD)
    assert parse("pid_7_luid_0x00000002_0x00000001_phys_1#3") == Instance(7, 0x2_0000_0001)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "_Total",
        "luid_0x00000000_0x0000ABCD_phys_0",
        "pid_12_luid_0x0_0xZZ_phys_0",
        "pid__luid_0x00000000_0x0000ABCD_phys_0",
        "pid_1_luid_0x00000000_0x0000ABCD_phys_0_eng_0_engtype_3D",
        "pid_١_luid_0x00000000_0x0000ABCD_phys_0",
    ],
)
def test_any_other_name_is_no_instance(name: str) -> None:
    assert parse(name) is None


@given(st.dictionaries(st.text(max_size=60), st.floats()))
def test_no_name_and_no_value_is_an_error(values: dict[str, float]) -> None:
    assert sizes(values) == {}


@given(
    st.dictionaries(
        st.tuples(st.integers(0, 9), st.integers(0, 2**64 - 1), st.integers(0, 2)),
        st.floats(-1e9, 1e12) | st.just(float("nan")) | st.just(float("inf")),
    )
)
def test_sizes_are_whole_and_never_more_than_what_was_told(
    told: dict[tuple[int, int, int], float],
) -> None:
    found = sizes({instance(*key): value for key, value in told.items()})
    assert all(size > 0 for size in found.values())
    assert sum(found.values()) <= sum(v for v in told.values() if 0 < v < 1e13)


def test_processes_hold_memory_of_the_gpu_with_the_adapters_name() -> None:
    machine = Machine()
    machine.held = {instance(40, 0xABCD): gib(8), instance(41, 0xABCD): mib(300)}
    assert machine.holders() == {(40, "GPU-aaaa"): gib(8), (41, "GPU-aaaa"): mib(300)}


def test_what_is_on_another_adapter_is_not_the_gpus() -> None:
    machine = Machine()
    machine.held = {instance(40, 0x9001): gib(1), instance(41, 0xABCD): mib(300)}
    assert machine.holders() == {(41, "GPU-aaaa"): mib(300)}


def test_an_adapter_that_alone_has_dedicated_memory_in_use_is_not_taken_for_the_gpu() -> None:
    machine = Machine()
    machine.held = {instance(40, 0x9001): gib(1)}
    assert machine.holders() == {}
    assert machine.asked == 0


def test_linked_gpus_and_repeated_names_are_summed() -> None:
    machine = Machine()
    machine.held = {
        instance(40, 0xABCD): mib(5),
        instance(40, 0xABCD, 1): mib(6),
        instance(40, 0xABCD) + "#1": mib(7),
    }
    assert machine.holders() == {(40, "GPU-aaaa"): mib(18)}


def test_a_process_that_holds_nothing_is_not_listed() -> None:
    machine = Machine()
    machine.held = {instance(40, 0xABCD): 0, instance(41, 0xABCD): 1}
    assert machine.holders() == {(41, "GPU-aaaa"): 1}


def test_two_different_gpus_are_told_apart_by_their_names() -> None:
    machine = Machine()
    machine.adapters.append(Adapter(0xBEEF, NVIDIA, SMALL))
    machine.gpus = {"GPU-bbbb": SMALL, "GPU-aaaa": BIG}
    machine.held = {instance(40, 0xABCD): 1, instance(40, 0xBEEF): 2}
    assert machine.holders() == {(40, "GPU-aaaa"): 1, (40, "GPU-bbbb"): 2}


def test_of_two_gpus_of_one_name_nothing_is_claimed() -> None:
    machine = Machine()
    machine.adapters.append(Adapter(0xBEEF, NVIDIA, BIG))
    machine.gpus = {"GPU-aaaa": BIG, "GPU-bbbb": BIG}
    machine.held = {instance(40, 0xABCD): 1, instance(40, 0xBEEF): 2}
    sample = machine.read()
    assert sample.holders == ()
    assert sample.notes == (windows.UNMATCHED.format(BIG),) * 2


def test_the_only_gpu_is_the_only_adapter_whatever_they_are_called() -> None:
    assert match([Adapter(1, NVIDIA, "GeForce")], {"GPU-aaaa": BIG}) == {1: "GPU-aaaa"}
    assert match([Adapter(1, NVIDIA, "GeForce")], {"GPU-aaaa": BIG, "GPU-bbbb": SMALL}) == {}
    assert match([Adapter(1, INTEL, "Arc")], {"GPU-aaaa": BIG}) == {}
    assert match([Adapter(1, NVIDIA, BIG)], {}) == {}


def test_an_adapter_that_is_gone_does_not_count() -> None:
    machine = Machine()
    machine.adapters.insert(0, Adapter(0x1111, NVIDIA, BIG))  # from before the driver's update
    machine.held = {instance(40, 0xABCD): 1}
    assert machine.holders() == {(40, "GPU-aaaa"): 1}


def test_the_driver_is_asked_once_and_again_when_an_adapter_is_new() -> None:
    machine = Machine()
    machine.held = {instance(40, 0xABCD): 1, instance(41, 0x9001): 1}
    machine.read()
    machine.read()
    assert machine.asked == 1
    machine.adapters = [Adapter(0xABCE, NVIDIA, BIG), OWN_IN_CPU]
    machine.held = {instance(40, 0xABCE): 1}
    assert machine.holders() == {(40, "GPU-aaaa"): 1}


def test_a_driver_that_answers_later_is_asked_again() -> None:
    machine = Machine()
    machine.held = {instance(40, 0xABCD): 1}
    machine.gpus = {}
    assert machine.holders() == {}
    machine.gpus = {"GPU-aaaa": BIG}
    assert machine.holders() == {(40, "GPU-aaaa"): 1}


def test_nobody_is_asked_unless_processes_are() -> None:
    def refused(path: str) -> Mapping[str, float]:
        raise AssertionError(path)

    assert WindowsCollector(refused).read(Tier.MEMORY | Tier.HEALTH) == Sample()


def test_the_drivers_gpus_are_known_by_uuid_and_name(driver: State) -> None:
    assert nvidia_gpus() == {"GPU-aaaa": "NVIDIA RTX 4090", "GPU-bbbb": "NVIDIA H100"}


@pytest.mark.parametrize("function", ["nvmlInitWithFlags", "nvmlDeviceGetUUID"])
def test_without_the_driver_there_are_no_gpus(driver: State, function: str) -> None:
    driver.fault(9, function)
    assert nvidia_gpus() == {}


# -- RAM


def ram(available: int, commit: Commit | None) -> tuple[int, int]:
    told = SimpleNamespace(total=gib(32), available=available)
    found = memory(lambda: told, lambda: commit)
    return found.total, found.available


def test_no_more_ram_is_available_than_the_system_may_still_promise() -> None:
    assert ram(gib(20), Commit(gib(30), gib(40))) == (gib(32), gib(10))
    assert ram(gib(5), Commit(gib(30), gib(40))) == (gib(32), gib(5))
    assert ram(gib(5), Commit(gib(41), gib(40))) == (gib(32), 0)


def test_where_the_commit_limit_cannot_be_read_ram_alone_counts() -> None:
    assert ram(gib(20), None) == (gib(32), gib(20))


# -- the calls


class Pdh:
    """pdh.dll, with counters made of values: instance → (status, value)."""

    def __init__(self, values: dict[str, tuple[int, int]], growing: int = 0) -> None:
        self.values, self.growing = values, growing
        self.refused: str | None = None
        self.opened = 0
        self._names: list[Any] = []

    def _status(self, function: str) -> int:
        # ctypes gives Windows' unsigned codes as signed ones.
        return ctypes.c_int32(0xC0000BB8).value if function == self.refused else 0

    def PdhOpenQueryW(self, source: None, user: object, query: Any) -> int:
        self.opened += 1
        return self._status("PdhOpenQueryW")

    def PdhAddEnglishCounterW(self, query: object, path: str, user: object, counter: Any) -> int:
        return self._status("PdhAddEnglishCounterW")

    def PdhCollectQueryData(self, query: object) -> int:
        return self._status("PdhCollectQueryData")

    def PdhCloseQuery(self, query: object) -> int:
        self.opened -= 1
        return 0

    def PdhGetFormattedCounterArrayW(
        self, counter: object, kind: Any, size: Any, count: Any, buffer: Any
    ) -> int:
        assert kind.value == 0x400
        if self.refused == "PdhGetFormattedCounterArrayW":
            return self._status(self.refused)
        if not self.values:
            return 0
        needed = ctypes.sizeof(win32._Item) * len(self.values) + 64
        offered, size._obj.value = size._obj.value, needed + 64 * max(0, self.growing)
        if buffer is None or offered < needed or self.growing > 0:
            self.growing -= 1
            return ctypes.c_int32(0x800007D2).value
        items = ctypes.cast(buffer, ctypes.POINTER(win32._Item))
        self._names = [ctypes.c_wchar_p(name) for name in self.values]
        for i, (status, large) in enumerate(self.values.values()):
            items[i] = win32._Item(self._names[i], win32._Value(status, large))
        count._obj.value = len(self.values)
        return 0


def test_a_counter_is_read_for_all_its_instances() -> None:
    pdh = Pdh({"one": (0, gib(8)), "two": (1, 5), "gone": (0x800007D1, 7)})
    assert win32.counters("path", pdh) == {"one": gib(8), "two": 5}
    assert pdh.opened == 0


def test_instances_that_come_between_the_size_and_the_list_are_waited_for() -> None:
    assert win32.counters("path", Pdh({"one": (0, 1)}, growing=2)) == {"one": 1}
    with pytest.raises(CollectorError, match="0x800007d2"):
        win32.counters("path", Pdh({"one": (0, 1)}, growing=99))


def test_a_counter_without_instances_is_empty() -> None:
    assert win32.counters("path", Pdh({})) == {}


@pytest.mark.parametrize(
    "function",
    [
        "PdhOpenQueryW",
        "PdhAddEnglishCounterW",
        "PdhCollectQueryData",
        "PdhGetFormattedCounterArrayW",
    ],
)
def test_a_refusal_is_an_error_with_its_number(function: str) -> None:
    pdh = Pdh({"one": (0, 1)})
    pdh.refused = function
    with pytest.raises(CollectorError, match=r"path: Windows refuses it .*0xc0000bb8"):
        win32.counters("path", pdh)


class Kernel:
    """kernel32.dll, as far as the commit charge goes. Sizes in pages of 4 KiB."""

    def __init__(self, works: bool = True) -> None:
        self.works = works

    def K32GetPerformanceInfo(self, known: Any, size: Any) -> int:
        info = known._obj
        assert size.value == info.size == ctypes.sizeof(info) == 104
        info.charged, info.limit, info.page = 1000, 3000, 4096
        return int(self.works)


def test_the_commit_charge_is_in_bytes() -> None:
    assert win32.commit(Kernel()) == Commit(Bytes(1000 * 4096), Bytes(3000 * 4096))
    assert win32.commit(Kernel(works=False)) is None


class Key:
    def __init__(self, values: Mapping[str, object], below: "Mapping[str, Key]") -> None:
        self.values, self.below = values, below

    def __enter__(self) -> "Key":
        return self

    def __exit__(self, *error: object) -> None: ...


class Registry:
    """winreg, with the one folder that is looked at."""

    HKEY_LOCAL_MACHINE = "HKLM"

    def __init__(self, **keys: Mapping[str, object]) -> None:
        self.folder = Key({}, {name: Key(values, {}) for name, values in keys.items()})

    def OpenKey(self, above: object, name: str) -> Key:
        if above == "HKLM":
            assert name == r"SOFTWARE\Microsoft\DirectX"
            return self.folder
        assert isinstance(above, Key)
        return above.below[name]

    def QueryInfoKey(self, key: Key) -> tuple[int, int, int]:
        return len(key.below), len(key.values), 0

    def EnumKey(self, key: Key, index: int) -> str:
        return list(key.below)[index]

    def QueryValueEx(self, key: Key, name: str) -> tuple[object, int]:
        if name not in key.values:
            raise FileNotFoundError(name)
        return key.values[name], 11


def test_adapters_are_those_that_directx_has_noted() -> None:
    registry = Registry(
        first={"AdapterLuid": 0xABCD, "VendorId": NVIDIA, "Description": BIG, "Revision": 1},
        other={"Version": "4.09.00.0904"},
        broken={"AdapterLuid": "0xABCD", "VendorId": NVIDIA, "Description": BIG},
    )
    assert win32.adapters(registry) == [Adapter(0xABCD, NVIDIA, BIG)]


def test_a_registry_that_cannot_be_read_knows_no_adapters() -> None:
    class Locked(Registry):
        def OpenKey(self, above: object, name: str) -> Key:
            raise PermissionError(name)

    assert win32.adapters(Locked()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has them")
def test_elsewhere_there_is_nothing_to_call(tmp_path: Path) -> None:
    assert not windows.present()
    for call in (win32.commit, win32.adapters, lambda: win32.counters("path")):
        with pytest.raises(CollectorError):
            call()
