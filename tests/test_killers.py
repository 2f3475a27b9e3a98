"""Programs that kill for want of memory, by how they were started and what their files say."""

from __future__ import annotations

from pathlib import Path

import pytest

from collectors.reading import Bytes, gib
from supervisor.cli.killers import Killer, earlyoom, killers, oomd


@pytest.mark.parametrize(
    ("words", "percent", "below"),
    [
        ("", 10.0, None),
        ("-r 60", 10.0, None),
        ("-m 5", 5.0, None),
        ("-m 5,2 -s 100", 5.0, None),
        ("-m5", 5.0, None),
        ("-M 1048576,524288", None, gib(1)),
        ("-m 4 -M 2097152", 4.0, gib(2)),
        ("-m 12.5", 12.5, None),
        ("-m", 10.0, None),
        ("--prefer (^|/)(m|M) -m 3", 3.0, None),
    ],
)
def test_earlyoom_acts_where_its_command_line_says(
    words: str, percent: float | None, below: Bytes | None
) -> None:
    assert earlyoom(words.split()) == Killer("earlyoom", percent, below)


def test_the_lower_of_two_thresholds_counts() -> None:
    assert Killer("x", 10.0, gib(2)).acts_at(gib(64)) == gib(2)
    assert Killer("x", 1.0, gib(2)).acts_at(gib(100)) == gib(1)
    assert Killer("x").acts_at(gib(64)) is None


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("", 30.0),
        ("#DefaultMemoryPressureDurationSec=5s\n", 30.0),
        ("[OOM]\nDefaultMemoryPressureDurationSec=20s\n", 20.0),
        ("DefaultMemoryPressureDurationSec=2min\n", 120.0),
        ("DefaultMemoryPressureDurationSec=20\n", 20.0),
        ("DefaultMemoryPressureDurationSec=soon\n", 30.0),
    ],
)
def test_oomd_waits_for_as_long_as_its_file_says(text: str, after: float) -> None:
    assert oomd([text]).after == after


def test_the_last_drop_in_counts_and_the_first_file(tmp_path: Path) -> None:
    def write(name: str, seconds: int) -> None:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"[OOM]\nDefaultMemoryPressureDurationSec={seconds}s\n")

    commands = {7: ("/usr/lib/systemd/systemd-oomd",)}

    def after() -> float | None:
        return killers(commands, tmp_path)[0].after

    assert after() == 30
    write("usr/lib/systemd/oomd.conf", 11)
    assert after() == 11
    write("etc/systemd/oomd.conf", 12)
    assert after() == 12
    write("usr/lib/systemd/oomd.conf.d/10-x.conf", 13)
    assert after() == 13
    write("etc/systemd/oomd.conf.d/10-x.conf", 14)  # takes the place of the one above
    assert after() == 14
    write("usr/lib/systemd/oomd.conf.d/20-y.conf", 15)
    assert after() == 15
    write("etc/systemd/oomd.conf.d/notes.txt", 16)
    assert after() == 15


def test_only_programs_of_that_name_are_meant(tmp_path: Path) -> None:
    commands = {
        1: ("/sbin/init",),
        5: ("vim", "earlyoom"),
        6: ("/usr/bin/earlyoom", "-m", "4"),
        7: (),
    }
    assert killers(commands, tmp_path) == (Killer("earlyoom", 4.0),)
    assert killers({}, tmp_path) == ()
