"""A capture of a Mac has what its collector reads, and nothing that names a person or a Mac."""

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from collectors import apple_texts as texts
from collectors import capture_mac
from collectors.apple import AppleCollector
from collectors.darwin import Entry
from collectors.reading import Bytes, Tier, gib
from tests.collectors.test_apple import M2, Mac

SERIAL, UUID = "C02SECRET123", "12345678-9abc-def0-1234-56789abcdef0"


class Talkative(Mac):
    """Its commands print more than is read, as the real ones do."""

    def run(self, argv: Sequence[str]) -> str:
        text = super().run(argv)
        if tuple(argv) == texts.VM_STAT:
            return text
        secrets = f'"IOPlatformSerialNumber" = "{SERIAL}"\n      "uuid" = "{UUID}"\n'
        return f"kern.hostname: {SERIAL}\n{secrets}{text}"


def written(folder: Path, mac: Mac) -> dict[str, str]:
    """The files of a capture, put where they are read."""
    files = capture_mac.printed(mac, mac.run)
    (folder / "macos").mkdir(parents=True)
    for name, text in files.items():
        (folder / "macos" / name).write_text(text)
    return files


def test_a_mac_that_was_recorded_is_read_again_as_it_was(tmp_path: Path) -> None:
    mac = Talkative()
    mac.silent = frozenset(("hw.memsize", "machdep.cpu.brand_string", "vm.swapusage", "memory"))
    mac.silent |= {"kern.memorystatus_vm_pressure_level"}
    live = mac.read(Tier.ALL)
    assert written(tmp_path, mac).keys() == {
        *("sysctl.txt", "vm_stat.txt", "ioreg.txt", "users.txt", "metal.txt", "processes.txt")
    }
    assert AppleCollector(tmp_path).read(Tier.ALL) == live
    assert live.pools[0].total == gib(64)
    assert live.processes


def test_what_is_not_read_of_a_mac_is_not_in_its_capture(tmp_path: Path) -> None:
    mac = Talkative()
    assert SERIAL in mac.run(texts.SYSCTL)
    told = "".join(written(tmp_path, mac).values())
    assert SERIAL not in told
    assert UUID not in told
    assert "hw.memsize: 68719476736" in told
    assert '"IOUserClientCreator" = "pid 389, WindowServer"' in told


def test_a_process_of_a_mac_is_a_number_and_a_name_whatever_is_in_it() -> None:
    mac = Mac()
    listed = [Entry(0, 0, "kernel_task"), Entry(7, 1, "two\nlines\x1b[31m"), Entry(9, 1, "  ")]
    mac.processes = lambda: listed  # type: ignore[method-assign]
    mac.sizes = {7: Bytes(4096), 9: None}
    text = capture_mac.printed(mac, mac.run)["processes.txt"]
    assert text == "0 0 - kernel_task\n7 1 4096 two?lines?[31m\n9 1 - ?\n"
    assert texts.parse_processes(text).keys() == {0, 7, 9}


def test_what_a_mac_does_not_answer_has_no_file() -> None:
    mac = Mac()
    mac.metal, mac.silent = None, frozenset(("commands", "processes"))
    assert capture_mac.printed(mac, mac.run) == {}


def test_a_mac_on_record_is_asked_for_what_was_recorded(tmp_path: Path) -> None:
    files = capture_mac.files(M2)
    recorded = {p.name: p.read_text() for p in (M2 / "macos").iterdir()}
    assert files.keys() == recorded.keys()
    for name in ("processes.txt", "sysctl.txt", "vm_stat.txt"):
        assert files[name] == recorded[name]
    assert files["metal.txt"] == "recommendedMaxWorkingSetSize: 51539607552\n"


@pytest.mark.skipif(sys.platform == "darwin", reason="this is a Mac")
def test_what_is_no_mac_is_not_recorded_as_one(tmp_path: Path) -> None:
    assert capture_mac.files(Path("/")) == {}
    assert capture_mac.files(tmp_path) == {}
