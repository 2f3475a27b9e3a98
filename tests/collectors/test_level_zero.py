"""Level Zero's Sysman, against a small library of the same functions that says what it is told."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from collectors.level_zero import Memory, Sysman
from collectors.reading import Bytes, gib, mib

# One driver. Each line of the file named by FAKE_ZES is a memory module of a GPU: its PCI bus,
# location, physical size, size and free bytes; or the name of a function and what it returns.
LIBRARY = r"""
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct { uint32_t domain, bus, device, function; } address_t;
typedef struct { int32_t gen, width; int64_t bandwidth; } speed_t;
typedef struct {
  int32_t stype; void *next; address_t address; speed_t speed; uint8_t counters[3];
} pci_t;
typedef struct {
  int32_t stype; void *next; int32_t type; uint8_t sub; uint32_t sub_id;
  int32_t location; uint64_t physical; int32_t width, channels;
} properties_t;
typedef struct { int32_t stype; const void *next; int32_t health; uint64_t free, size; } state_t;
typedef struct { uint32_t bus, location; uint64_t physical, size, free; } module_t;

static module_t modules[16];
static uint32_t buses[16];
static uint32_t module_count, device_count, extra;

static uint32_t answer(const char *function) {
  FILE *file = fopen(getenv("FAKE_ZES"), "r");
  char line[256], name[64];
  uint32_t result = 0, code;
  if (!file) return 1;
  module_count = device_count = extra = 0;
  while (fgets(line, sizeof line, file)) {
    module_t m;
    uint32_t seen = 0;
    if (sscanf(line, "%63[a-zA-Z] %u", name, &code) == 2) {
      if (!strcmp(name, function)) result = code;
      if (!strcmp(name, "extra")) extra = code;
      continue;
    }
    if (sscanf(line, "%u %u %lu %lu %lu", &m.bus, &m.location, &m.physical, &m.size, &m.free) != 5)
      continue;
    modules[module_count++] = m;
    for (uint32_t i = 0; i < device_count; i++) seen |= buses[i] == m.bus;
    if (!seen) buses[device_count++] = m.bus;
  }
  fclose(file);
  return result;
}

static uint32_t fill(uint32_t *count, void **out, void **all, uint32_t n) {
  if (out && *count > n) *count = n;
  if (!out) *count = n + extra;
  else for (uint32_t i = 0; i < *count; i++) out[i] = all[i];
  return 0;
}

uint32_t zesInit(uint32_t flags) { return flags ? 1 : answer("zesInit"); }

uint32_t zesDriverGet(uint32_t *count, void **drivers) {
  void *one[] = {(void *)&modules};
  uint32_t result = answer("zesDriverGet");
  return result ? result : fill(count, drivers, one, 1);
}

uint32_t zesDeviceGet(void *driver, uint32_t *count, void **devices) {
  void *all[16];
  uint32_t result = answer("zesDeviceGet");
  for (uint32_t i = 0; i < device_count; i++) all[i] = &buses[i];
  return result || driver != modules ? 1 : fill(count, devices, all, device_count);
}

uint32_t zesDevicePciGetProperties(void *device, pci_t *known) {
  if (known->stype != 2) return 1;
  known->address = (address_t){0, *(uint32_t *)device, 0, 0};
  memset(known->counters, 1, sizeof known->counters);
  return answer("zesDevicePciGetProperties");
}

uint32_t zesDeviceEnumMemoryModules(void *device, uint32_t *count, void **out) {
  void *all[16];
  uint32_t result = answer("zesDeviceEnumMemoryModules"), n = 0;
  for (uint32_t i = 0; i < module_count; i++)
    if (modules[i].bus == *(uint32_t *)device) all[n++] = &modules[i];
  return result ? result : fill(count, out, all, n);
}

uint32_t zesMemoryGetProperties(void *memory, properties_t *known) {
  if (known->stype != 0xb) return 1;
  uint32_t result = answer("zesMemoryGetProperties");
  known->location = ((module_t *)memory)->location;
  known->physical = ((module_t *)memory)->physical;
  known->width = known->channels = -1;
  return result;
}

uint32_t zesMemoryGetState(void *memory, state_t *state) {
  if (state->stype != 0x1e) return 1;
  uint32_t result = answer("zesMemoryGetState");
  state->free = ((module_t *)memory)->free;
  state->size = ((module_t *)memory)->size;
  return result;
}
"""

SYSTEM, DEVICE = 0, 1
FUNCTIONS = (
    "zesDriverGet",
    "zesDeviceGet",
    "zesDevicePciGetProperties",
    "zesDeviceEnumMemoryModules",
    "zesMemoryGetProperties",
    "zesMemoryGetState",
)
LOST = 0x70000001
A, B = "0000:03:00.0", "0000:83:00.0"

Says = Callable[..., str]


def compiled(source: str, out: Path) -> Path:
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if sys.platform != "linux" or compiler is None:
        pytest.skip("the stand-in library needs Linux and a C compiler")
    command = [compiler, "-x", "c", "-O1", "-fPIC", "-shared", "-o", str(out), "-"]
    subprocess.run(command, input=source, text=True, check=True)
    return out


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(LIBRARY, tmp_path_factory.mktemp("zes") / "libze_loader.so.1")


@pytest.fixture
def says(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Says:
    """Has the library say these lines. Returns its path."""
    told = tmp_path / "zes.txt"
    monkeypatch.setenv("FAKE_ZES", str(told))

    def say(*lines: str) -> str:
        told.write_text("".join(f"{line}\n" for line in lines))
        return str(library)

    return say


def module(bus: int, size: int, free: int, *, physical: int = 0, where: int = DEVICE) -> str:
    return f"{bus} {where} {physical} {size} {free}"


def memory(name: str, *only: str) -> dict[str, Memory]:
    sysman = Sysman.load(name)
    assert sysman is not None
    return sysman.memory(only)


def test_a_card_has_the_size_and_the_free_bytes_that_the_library_says(says: Says) -> None:
    name = says(module(3, gib(12), gib(7), physical=gib(16)))
    assert memory(name, A) == {A: Memory(gib(12), gib(7))}


def test_the_modules_of_a_card_are_one_memory_and_cards_are_kept_apart(says: Says) -> None:
    name = says(
        module(3, gib(64), gib(60)), module(0x83, gib(16), mib(5)), module(3, gib(64), gib(1))
    )
    assert memory(name, A, B) == {A: Memory(gib(128), gib(61)), B: Memory(gib(16), mib(5))}


def test_only_the_cards_that_are_meant_are_asked(says: Says) -> None:
    name = says(module(3, gib(12), gib(7)), module(0x83, gib(16), gib(16)))
    assert memory(name, B).keys() == {B}
    assert memory(name) == {}


def test_a_size_that_is_left_empty_is_the_physical_one(says: Says) -> None:
    name = says(module(3, 0, gib(7), physical=gib(12)))
    assert memory(name, A) == {A: Memory(gib(12), gib(7))}


def test_system_memory_of_an_integrated_gpu_is_not_its_own(says: Says) -> None:
    assert memory(says(module(3, gib(31), gib(20), where=SYSTEM)), A) == {}


@pytest.mark.parametrize(
    ("size", "free", "physical"), [(gib(12), gib(13), gib(16)), (0, 0, 0), (0, mib(1), 0)]
)
def test_numbers_that_cannot_be_are_not_told(
    says: Says, size: int, free: int, physical: int
) -> None:
    assert memory(says(module(3, size, free, physical=physical)), A) == {}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_whatever_the_library_refuses_is_left_out(says: Says, function: str) -> None:
    assert memory(says(module(3, gib(12), gib(7)), f"{function} {LOST}"), A) == {}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_card_that_was_lost_is_found_again(says: Says, function: str) -> None:
    card = module(3, gib(12), gib(7))
    sysman = Sysman.load(says(card, f"{function} {LOST}"))
    assert sysman is not None
    assert sysman.memory([A]) == {}
    says(card)
    assert sysman.memory([A]) == {A: Memory(gib(12), gib(7))}


def test_a_card_that_comes_later_is_found(says: Says) -> None:
    sysman = Sysman.load(says(module(3, gib(12), gib(7))))
    assert sysman is not None
    assert sysman.memory([A, B]).keys() == {A}
    says(module(3, gib(12), gib(7)), module(0x83, gib(16), gib(16)))
    assert sysman.memory([A, B]).keys() == {A, B}


def test_a_list_that_shrinks_while_it_is_read_is_taken_as_it_is(says: Says) -> None:
    assert memory(says(module(3, gib(12), gib(7)), "extra 5"), A) == {
        A: Memory(Bytes(gib(12)), gib(7))
    }


def test_an_absurd_count_is_not_believed(says: Says) -> None:
    assert memory(says(module(3, gib(12), gib(7)), "extra 4000000000"), A) == {}


def test_a_library_that_will_not_start_is_as_good_as_none(says: Says) -> None:
    assert Sysman.load(says(f"zesInit {0x78000001}")) is None


def test_without_the_library_there_is_nothing_to_ask(tmp_path: Path) -> None:
    assert Sysman.load(str(tmp_path / "libze_loader.so.1")) is None
    (tmp_path / "broken.so").write_text("not a library")
    assert Sysman.load(str(tmp_path / "broken.so")) is None


def test_a_library_without_sysman_is_too_old(tmp_path: Path) -> None:
    old = compiled("int zeInit(int flags) { return flags; }", tmp_path / "old.so")
    assert Sysman.load(str(old)) is None
