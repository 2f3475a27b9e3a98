"""macOS by calls: answers as bytes, and the calls themselves against a library that stands in."""

import ctypes
import ctypes.util
import os
import struct
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors import darwin
from collectors.darwin import (
    Darwin,
    Swap,
    VirtualMemory,
    parse_integer,
    parse_rusage,
    parse_string,
    parse_swap,
    parse_vm,
)
from collectors.reading import Bytes, gib, mib
from tests.nvml.fake_nvml import compiler

SOURCE = Path(__file__).with_name("fake_darwin.c")
PAGE = 16384
WORDS = 38


def answer(**counters: int) -> bytes:
    """host_statistics64's, with the offsets of mach/vm_statistics.h."""
    offsets = {"free": 0, "active": 4, "inactive": 8, "wired": 12, "purgeable": 88}
    offsets |= {"speculative": 92, "compressor": 128, "external": 136, "internal": 140}
    data = bytearray(WORDS * 4)
    for name, value in counters.items():
        wide = name in ("swapins", "swapouts")
        offset = {"swapins": 112, "swapouts": 120}.get(name) or offsets[name]
        struct.pack_into("=Q" if wide else "=I", data, offset, value)
    return bytes(data)


def test_every_counter_is_found_where_the_kernel_puts_it() -> None:
    data = answer(
        free=1,
        active=2,
        inactive=3,
        wired=4,
        purgeable=5,
        speculative=6,
        swapins=1 << 40,
        swapouts=7,
        compressor=8,
        external=9,
        internal=10,
    )
    assert parse_vm(data, WORDS, PAGE) == VirtualMemory(
        page=PAGE,
        active=2,
        inactive=3,
        wired=4,
        purgeable=5,
        speculative=6,
        swapped=(1 << 40) + 7,
        compressor=8,
        external=9,
    )


def test_a_structure_shorter_than_expected_is_not_trusted() -> None:
    data = answer(wired=4, active=1)
    assert parse_vm(data, WORDS - 1, PAGE) is None
    assert parse_vm(data[:-4], WORDS, PAGE) is None


def test_a_longer_structure_is_read_as_far_as_it_is_known() -> None:
    data = answer(wired=4, active=1) + bytes(100)
    found = parse_vm(data, WORDS + 25, PAGE)
    assert found is not None
    assert (found.wired, found.active) == (4, 1)


def test_an_answer_without_wired_pages_is_none_of_a_running_kernel() -> None:
    assert parse_vm(answer(active=100), WORDS, PAGE) is None


def vm(**counters: int) -> VirtualMemory:
    names = [field.name for field in fields(VirtualMemory)]
    return VirtualMemory(**(dict.fromkeys(names, 0) | {"page": PAGE} | counters))


def test_file_pages_and_purgeable_ones_are_not_used() -> None:
    memory = vm(
        active=100, inactive=50, speculative=5, wired=30, compressor=10, purgeable=3, external=60
    )
    assert memory.held == 195 * PAGE
    assert memory.used == (195 - 63) * PAGE


def test_what_is_wired_or_compressed_never_comes_back_by_itself() -> None:
    memory = vm(active=10, wired=30, compressor=5, purgeable=900, external=900)
    assert memory.used == 35 * PAGE


@given(st.binary(max_size=400), st.integers(0, 1 << 32))
def test_whatever_the_kernel_answers_is_understood_or_refused(data: bytes, count: int) -> None:
    memory = parse_vm(data, count, PAGE)
    if memory is not None:
        assert 0 < memory.wired * PAGE <= memory.used <= memory.held
    swap = parse_swap(data)
    assert swap is None or 0 <= swap.free <= swap.total
    size = parse_rusage(data)
    assert size is None or size >= 0
    assert parse_string(data) != ""
    assert (parse_integer(data) is None) == (len(data) not in (4, 8))


def test_integers_of_both_widths_are_read_and_keep_their_sign() -> None:
    assert parse_integer(struct.pack("=q", 64 << 30)) == 64 << 30
    assert parse_integer(struct.pack("=i", 4)) == 4
    assert parse_integer(struct.pack("=i", -1)) == -1
    assert parse_integer(b"") is None


def test_swap_is_total_available_and_used_in_this_order() -> None:
    data = struct.pack("=3Q2I", mib(2048), mib(1500), mib(548), PAGE, 1)
    assert parse_swap(data) == Swap(mib(2048), mib(1500))
    assert parse_swap(data[:20]) is None


def test_a_footprint_is_at_the_same_place_in_every_version_of_the_structure() -> None:
    first = bytearray(96)
    struct.pack_into("=Q", first, 72, gib(3))
    assert parse_rusage(bytes(first)) == gib(3)
    assert parse_rusage(bytes(first) + bytes(464 - 96)) == gib(3)
    assert parse_rusage(bytes(first[:95])) is None


def test_a_string_ends_at_its_zero() -> None:
    assert parse_string(b"Apple M2 Max\0rest") == "Apple M2 Max"
    assert parse_string(b"\0") is None


# -- the calls


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if sys.platform != "linux" or compiler() is None:
        pytest.skip("the stand-in needs Linux and a C compiler")
    out = tmp_path_factory.mktemp("darwin") / "libfake.so"
    options = ["-O1", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Werror"]
    subprocess.run([compiler() or "cc", *options, "-o", str(out), str(SOURCE)], check=True)
    return out


class Fake:
    """The stand-in's variables, and the system as seen through it."""

    def __init__(self, library: Path) -> None:
        self.path = str(library)
        self._library = ctypes.CDLL(self.path)

    def system(self) -> Darwin:
        return Darwin(self.path, self.path, self.path, self.path)

    def set(self, name: str, value: int) -> None:
        kind = ctypes.c_bool if name == "fake_knows" else ctypes.c_int
        kind.in_dll(self._library, name).value = value

    def get(self, name: str) -> int:
        return ctypes.c_int.in_dll(self._library, name).value


@pytest.fixture
def fake(library: Path) -> Fake:
    fake = Fake(library)
    before = {"fake_words": WORDS, "fake_failing": 0, "fake_ports": 0, "fake_devices": 0}
    for name, value in (before | {"fake_knows": 1}).items():
        fake.set(name, value)
    return fake


def test_the_kernels_counters_are_asked_for_as_it_wants_to_be_asked(fake: Fake) -> None:
    page = os.sysconf("SC_PAGE_SIZE")
    memory = fake.system().memory()
    assert memory == vm(
        page=page,
        active=1000,
        inactive=2000,
        speculative=50,
        wired=300,
        compressor=600,
        purgeable=40,
        external=700,
        swapped=15,
    )


def test_a_kernel_with_a_longer_structure_is_understood(fake: Fake) -> None:
    fake.set("fake_words", 60)
    assert fake.system().memory() is not None


def test_a_kernel_with_a_shorter_structure_is_not_trusted(fake: Fake) -> None:
    fake.set("fake_words", 26)
    assert fake.system().memory() is None


def test_the_hosts_port_is_asked_for_once(fake: Fake) -> None:
    system = fake.system()
    system.memory()
    system.memory()
    assert fake.get("fake_ports") == 1


def test_sysctls_are_read_by_name(fake: Fake) -> None:
    system = fake.system()
    assert parse_integer(system.sysctl("hw.memsize") or b"") == gib(64)
    assert parse_integer(system.sysctl("kern.memorystatus_vm_pressure_level") or b"") == 2
    assert parse_string(system.sysctl("machdep.cpu.brand_string") or b"") == "Apple M2 Max"
    assert parse_swap(system.sysctl("vm.swapusage") or b"") == Swap(mib(2), mib(1))
    assert system.sysctl("iogpu.wired_limit_mb") is None  # this one has no such setting


def test_metal_is_asked_as_its_own_method_would_be_called(fake: Fake) -> None:
    system = fake.system()
    assert system.working_set() == gib(48)
    assert system.working_set() == gib(48)
    assert fake.get("fake_devices") == 1


def test_a_device_that_does_not_know_the_message_is_not_sent_it(fake: Fake) -> None:
    fake.set("fake_knows", 0)
    assert fake.system().working_set() is None


def test_a_process_that_may_not_be_looked_at_has_no_footprint(fake: Fake) -> None:
    assert fake.system().footprint(42) == gib(24)
    assert fake.system().footprint(43) is None


def test_a_call_that_fails_is_no_answer(fake: Fake) -> None:
    fake.set("fake_failing", 1)
    system = fake.system()
    assert system.memory() is None
    assert system.sysctl("hw.memsize") is None
    assert system.footprint(42) is None
    assert system.working_set() is None


def test_a_library_without_these_functions_is_no_answer() -> None:
    strange = Darwin(*[ctypes.util.find_library("m") or "libm.so.6"] * 4)
    assert (strange.memory(), strange.sysctl("hw.memsize")) == (None, None)
    assert (strange.footprint(1), strange.working_set()) == (None, None)


@pytest.mark.skipif(sys.platform == "darwin", reason="here the calls do answer")
def test_on_another_system_nothing_is_answered_and_nothing_raised() -> None:
    system = Darwin()
    assert (system.memory(), system.sysctl("hw.memsize")) == (None, None)
    assert (system.working_set(), darwin.footprint(os.getpid())) == (None, None)


def test_the_process_table_names_every_process_and_its_parent() -> None:
    listed = Darwin().processes()
    assert listed is not None
    [me] = [e for e in listed if e.pid == os.getpid()]
    assert me.parent == os.getppid()
    assert me.name


@pytest.mark.skipif(sys.platform != "darwin", reason="needs macOS")
def test_this_mac_answers_every_call() -> None:
    system = Darwin()
    memory, total = system.memory(), parse_integer(system.sysctl("hw.memsize") or b"")
    assert memory is not None
    assert total is not None
    assert 0 < memory.used <= memory.held <= total
    assert parse_swap(system.sysctl("vm.swapusage") or b"") is not None
    assert (system.footprint(os.getpid()) or 0) > Bytes(1 << 20)
