"""Control groups: whose limits are ours, and what is left under them."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.cgroup import Groups, parse_limit, parse_membership, parse_stat
from collectors.reading import gib

GROUP = "sys/fs/cgroup/a"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """cgroup v2; we live in /a, which may use 8 GiB and uses 3, of which 1 is idle pages."""
    (tmp_path / GROUP).mkdir(parents=True)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/a\n")
    (tmp_path / GROUP / "memory.max").write_text(f"{gib(8)}\n")
    (tmp_path / GROUP / "memory.current").write_text(f"{gib(3)}\n")
    (tmp_path / GROUP / "memory.stat").write_text(f"anon 1\ninactive_file {gib(1)}\n")
    return tmp_path


def test_limits_and_use_are_read_each_time_and_the_groups_are_not(root: Path) -> None:
    groups = Groups(root)
    assert [(found.limit, found.room) for found in groups.limits()] == [(gib(8), gib(6))]
    (root / GROUP / "memory.max").write_text(f"{gib(16)}\n")
    (root / GROUP / "memory.current").write_text(f"{gib(4)}\n")
    (root / "proc/self/cgroup").write_text("0::/elsewhere\n")
    assert [(found.limit, found.room) for found in groups.limits()] == [(gib(16), gib(13))]
    groups.look_again()
    assert groups.limits() == []


def test_a_limit_that_is_lifted_is_none(root: Path) -> None:
    groups = Groups(root)
    assert groups.limits()
    (root / GROUP / "memory.max").write_text("max\n")
    assert groups.limits() == []


def test_looking_again_gives_the_descriptors_back(root: Path) -> None:
    groups = Groups(root)
    groups.limits()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        groups.look_again()
        groups.limits()
    assert len(os.listdir("/proc/self/fd")) == before


def test_controllers_that_share_a_hierarchy_are_found() -> None:
    text = "5:cpu,cpuacct:/c\n4:memory,hugetlb:/m:odd\n1:name=systemd:/s\n"
    assert parse_membership(text) == [(False, "/m:odd")]


def test_a_broken_line_is_no_membership() -> None:
    assert parse_membership("\nnonsense\n0::\n0::relative\n1::/not-zero\n") == []


@given(st.integers(min_value=0, max_value=1 << 61))
def test_every_number_below_the_sentinel_is_a_limit(n: int) -> None:
    assert parse_limit(f"{n}\n") == n


@given(st.text())
def test_any_other_text_is_no_limit(text: str) -> None:
    limit = parse_limit(text)
    assert limit is None or str(limit) == text.strip().lstrip("0") or limit == 0


@given(st.dictionaries(st.from_regex(rb"[a-z_]{1,12}", fullmatch=True), st.integers(0, 1 << 62)))
def test_a_key_of_memory_stat_is_found_wherever_it_stands(stat: dict[bytes, int]) -> None:
    data = b"".join(b"%s %d\n" % row for row in stat.items())
    for key, value in stat.items():
        assert parse_stat(data, key) == value
        assert parse_stat(b"x" + data, key) in (value, None)
    assert parse_stat(data, b"Missing") is None


@given(st.binary(max_size=80), st.sampled_from([b"inactive_file", b"x"]))
def test_any_text_has_a_value_or_none(data: bytes, key: bytes) -> None:
    value = parse_stat(key + b" " + data, key)
    assert value is None or value >= 0
    parse_membership(data.decode(errors="replace"))
