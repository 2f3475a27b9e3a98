"""What the kernel says of graphics cards and of whoever has them open."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors import drm
from collectors.reading import gib, mib

from .drm_tree import card, client, write

CAPTURES = Path(__file__).parent.parent / "captures"
PCI = "0000:03:00.0"
UNITS = {"": 1, " KiB": 1 << 10, " MiB": 1 << 20, " GiB": 1 << 30}


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [
        ("0", 0),
        ("4097", 4097),
        ("12 KiB", 12 << 10),
        ("5 MiB", 5 << 20),
        ("3 GiB", 3 << 30),
        ("\t7   MiB ", 7 << 20),
    ],
)
def test_a_size_is_bytes_unless_a_unit_says_otherwise(text, bytes_):
    assert drm.size(text) == bytes_


@pytest.mark.parametrize("text", ["", "KiB", "-1", "1.5 MiB", "12 kB", "1 MiB MiB", "N/A", "٣"])
def test_what_is_no_size_is_none_and_never_zero(text):
    assert drm.size(text) is None


@given(st.integers(0, 2**50), st.sampled_from(sorted(UNITS)))
def test_every_number_in_every_unit_is_read_exactly(number, unit):
    assert drm.size(f"{number}{unit}") == number * UNITS[unit]


@given(st.text(max_size=40))
def test_no_text_breaks_the_reading_of_a_size(text):
    told = drm.size(text)
    assert told is None or told >= 0


@given(st.text(max_size=300) | st.binary(max_size=300).map(lambda b: b.decode(errors="replace")))
def test_no_text_breaks_the_reading_of_an_open_file(text):
    fields = drm.parse(text)
    if fields is not None:
        assert fields["drm-driver"]
        assert all(size >= 0 for size in of(fields).memory.values())


def test_an_open_file_that_is_no_device_is_none():
    assert drm.parse("pos:\t0\nflags:\t0100002\nmnt_id:\t27\n") is None
    assert drm.parse("drm-driver:\t\n") is None
    assert drm.parse("") is None


def test_fields_keep_what_follows_the_first_colon():
    assert drm.parse("drm-driver:\txe\ndrm-pdev:\t0000:03:00.0\n") == {
        "drm-driver": "xe",
        "drm-pdev": PCI,
    }


# -- what a client holds


def of(fields):
    return drm.Client("amdgpu", PCI, "7", (1,), fields)


def test_resident_counts_before_the_old_name_and_that_before_what_was_requested():
    fields = {
        "drm-resident-vram": "1 MiB",
        "drm-memory-vram": "2048 KiB",
        "drm-total-vram": "3 MiB",
        "drm-memory-gtt": "64 KiB",
        "drm-total-gtt": "1 GiB",
        "drm-total-cpu": "4096",
    }
    assert of(fields).memory == {"vram": mib(1), "gtt": 64 << 10, "cpu": 4096}


def test_the_order_of_the_lines_does_not_matter():
    fields = {"drm-total-vram": "3 MiB", "drm-resident-vram": "0"}
    assert of(fields).memory == {"vram": 0}
    assert of(dict(reversed(fields.items()))).memory == {"vram": 0}


def test_cycles_of_an_engine_are_no_memory():
    fields = {"drm-total-cycles-rcs": "777", "drm-cycles-rcs": "7", "drm-total-vram0": "1 MiB"}
    assert of(fields).memory == {"vram0": mib(1)}


def test_a_number_that_cannot_be_read_leaves_the_next_best():
    fields = {"drm-resident-vram": "?", "drm-total-vram": "3 MiB", "drm-resident-gtt": "?"}
    assert of(fields).memory == {"vram": mib(3)}


SIZES = st.integers(0, 2**40)


@given(st.dictionaries(st.sampled_from(["vram", "gtt", "cpu", "system"]), st.tuples(SIZES, SIZES)))
def test_resident_parts_are_never_more_than_was_requested(regions):
    fields = {}
    for region, (one, other) in regions.items():
        fields[f"drm-total-{region}"] = str(max(one, other))
        fields[f"drm-resident-{region}"] = str(min(one, other))
    assert of(fields).memory == {region: min(sizes) for region, sizes in regions.items()}


# -- clients


def test_a_client_in_two_processes_is_given_once_with_both(tmp_path):
    for pid, fd in ((412, 9), (77, 3), (412, 10)):
        client(tmp_path, pid, fd, PCI, 5, drm_resident_vram="1 MiB")
    (found,) = drm.clients(tmp_path)
    assert found.pids == (77, 412)
    assert (found.driver, found.pci, found.id) == ("amdgpu", PCI, "5")
    assert found.memory == {"vram": mib(1)}


def test_one_number_on_two_cards_or_of_two_drivers_is_two_clients(tmp_path):
    client(tmp_path, 10, 3, PCI, 5)
    client(tmp_path, 10, 4, "0000:07:00.0", 5)
    client(tmp_path, 10, 5, PCI, 5, driver="amdxdna_accel_driver")
    assert len(drm.clients(tmp_path)) == 3


def test_only_the_processes_and_devices_that_are_asked_for_are_looked_at(tmp_path):
    client(tmp_path, 10, 3, PCI, 5)
    client(tmp_path, 11, 3, PCI, 6)
    client(tmp_path, 10, 4, "0000:07:00.0", 7)
    assert [c.id for c in drm.clients(tmp_path, [10])] == ["5", "7"]
    assert [c.id for c in drm.clients(tmp_path, only={PCI})] == ["5", "6"]
    assert drm.clients(tmp_path, only=()) == []


def test_a_device_that_is_on_no_bus_has_no_address(tmp_path):
    write(tmp_path, "proc/9/fd/3")
    write(tmp_path, "proc/9/fdinfo/3", "drm-driver: asahi\ndrm-client-id: 1\n")
    (found,) = drm.clients(tmp_path)
    assert found.pci == ""


def test_a_client_without_a_number_cannot_be_told_apart_and_is_left_out(tmp_path):
    write(tmp_path, "proc/9/fd/3")
    write(tmp_path, "proc/9/fdinfo/3", f"drm-driver: amdgpu\ndrm-pdev: {PCI}\n")
    assert drm.clients(tmp_path) == []


def test_processes_that_end_or_are_secret_are_left_out(tmp_path):
    client(tmp_path, 10, 3, PCI, 5)
    write(tmp_path, "proc/11/comm", "secret\n")  # no fd: another user's
    write(tmp_path, "proc/12/fd/3")  # closed before its fdinfo was read
    (tmp_path / "proc/13/fdinfo").mkdir(parents=True)
    (tmp_path / "proc/13/fd").write_text("")  # no folder
    write(tmp_path, "proc/14/fd/3")
    (tmp_path / "proc/14/fdinfo/3").mkdir(parents=True)  # refuses to be read
    assert [c.pids for c in drm.clients(tmp_path, [*drm.all_pids(tmp_path), 999])] == [(10,)]


def test_bytes_that_are_no_text_do_not_break_the_reading(tmp_path):
    write(tmp_path, "proc/9/fd/3")
    file = write(tmp_path, "proc/9/fdinfo/3")
    file.write_bytes(b"drm-driver: xe\ndrm-client-id: 1\ndrm-client-name: \xff\xfe\n")
    (found,) = drm.clients(tmp_path)
    assert found.driver == "xe"


def test_without_processes_or_cards_there_is_nothing(tmp_path):
    assert drm.clients(tmp_path) == []
    assert drm.all_pids(tmp_path) == []
    assert drm.nodes(tmp_path) == []


def test_this_process_has_no_graphics_device_open():
    assert drm.clients(Path("/"), [os.getpid()]) == []


# -- which open files are devices


@pytest.fixture
def null():
    """An open device of this machine that stands for a graphics device, as a path in /proc."""
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("open files are shown by Linux alone")
    file = os.open("/dev/null", os.O_RDONLY)
    yield f"/proc/self/fd/{file}"
    os.close(file)


def test_a_device_is_known_by_the_major_number_of_its_driver(null, tmp_path, monkeypatch):
    assert not drm.Devices(tmp_path, None).has(null)
    monkeypatch.setattr(drm, "ACCEL", os.major(os.stat("/dev/null").st_rdev))
    assert drm.Devices(tmp_path, None).has(null)
    with open(write(tmp_path, "dev/file")) as file:  # "/dev/" in its path, and no device
        assert not drm.Devices(tmp_path, None).has(f"/proc/self/fd/{file.fileno()}")


def test_a_device_of_another_address_is_not_opened(null, tmp_path, monkeypatch):
    number = os.stat("/dev/null").st_rdev
    monkeypatch.setattr(drm, "DRM", os.major(number))
    link = tmp_path / f"sys/dev/char/{os.major(number)}:{os.minor(number)}/device"
    link.parent.mkdir(parents=True)
    link.symlink_to(f"../../../{PCI}")
    assert drm.Devices(tmp_path, {PCI}).has(null)
    assert not drm.Devices(tmp_path, {"0000:07:00.0"}).has(null)


# -- cards


def test_cards_are_listed_by_index_without_their_connectors(tmp_path):
    card(tmp_path, 10, "0000:0a:00.0")
    card(tmp_path, 2, PCI, driver="xe", vendor="0x8086")
    write(tmp_path, "sys/class/drm/card2-DP-1/status", "connected")
    write(tmp_path, "sys/class/drm/renderD130/dev", "226:130")
    write(tmp_path, "sys/class/drm/version", "drm 1.1.0")
    two, ten = drm.nodes(tmp_path)
    assert (two.index, two.pci, two.vendor, two.driver) == (2, PCI, 0x8086, "xe")
    assert (two.render, two.path) == ("renderD130", tmp_path / "sys/class/drm/card2/device")
    assert (ten.index, ten.render) == (10, "renderD138")


def test_a_card_that_no_driver_has_and_one_without_a_bus(tmp_path):
    write(tmp_path, "sys/class/drm/card0/device/uevent", "OF_NAME=gpu\n")  # part of a chip
    write(tmp_path, "sys/class/drm/card1/device/uevent", f"PCI_SLOT_NAME={PCI}\n")
    write(tmp_path, "sys/class/drm/card1/device/vendor", "0x1002\n")
    (found,) = drm.nodes(tmp_path)
    assert (found.index, found.driver, found.render) == (1, None, None)


def test_where_no_text_names_the_address_the_link_does(tmp_path):
    device = tmp_path / f"sys/devices/pci0000:00/{PCI}"
    write(device, "vendor", "0x8086")
    (tmp_path / "sys/class/drm/card0").mkdir(parents=True)
    (tmp_path / "sys/class/drm/card0/device").symlink_to(device)
    assert [found.pci for found in drm.nodes(tmp_path)] == [PCI]


def test_the_power_state_is_the_kernels_word(tmp_path):
    card(tmp_path, 0, PCI)
    (found,) = drm.nodes(tmp_path)
    assert drm.runtime_status(found) is None
    write(found.path, "power/runtime_status", "suspended\n")
    assert drm.runtime_status(found) == drm.SUSPENDED


@pytest.mark.parametrize("text", ["", "abc", "1_0", "0x10", "1.5", "1" * 30])
def test_a_file_without_a_number_is_none(tmp_path, text):
    assert drm.number(write(tmp_path, "file", text)) is None


def test_a_number_may_be_negative_and_a_file_may_refuse(tmp_path):
    assert drm.number(write(tmp_path, "file", "-5\n")) == -5
    assert drm.number(tmp_path) is None  # a folder refuses to be read, as a busy driver does
    assert drm.attribute(tmp_path / "absent") is None


# -- whole machines


def test_a_desktops_clients_are_found_once_each():
    found = {c.id: c for c in drm.clients(CAPTURES / "rx-7900-xtx")}
    assert {i: c.pids for i, c in found.items()} == {
        "12": (1488,),
        "18": (1711,),
        "21": (1745,),
        "61": (3310, 3412),
        "77": (4242,),
    }
    assert found["77"].memory["vram"] == gib(14) + mib(212) + 652 * 1024
    assert found["18"].memory["vram"] == mib(98)  # an exact MiB, written as such
