"""Where a control group with a limit may be made, in hierarchies made of files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.group import ROOM, NoGroup, make

V2 = "30 24 0:26 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw,nsdelegate"
UNIFIED = "31 24 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw"
V1 = "32 24 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"
CPU = "33 24 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct"


def machine(root: Path, mounts: list[str], own: list[str], divided: dict[str, str]) -> Path:
    """`divided` has what each group of version 2 hands down."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/mountinfo").write_text("\n".join(mounts))
    (root / "proc/self/cgroup").write_text("\n".join(own))
    for folder, controllers in divided.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        (root / folder / "cgroup.subtree_control").write_text(controllers)
    return root


def test_the_group_above_ours_may_be_the_one_that_can_be_divided(tmp_path: Path) -> None:
    slice_ = "sys/fs/cgroup/user.slice"
    own = ["0::/user.slice/session-1.scope"]
    root = machine(tmp_path, [V2], own, {slice_: "cpu memory", f"{slice_}/session-1.scope": ""})
    found = make(root)
    assert found.folder.parent == root / slice_
    assert (found.folder / "memory.max").read_text() == str(ROOM)
    found.limit(5)
    assert (found.folder / "memory.max").read_text() == "5"
    (found.folder / "memory.current").write_text("77\n")
    (found.folder / "memory.events").write_text("low 0\nmax 3\noom 2\noom_kill 1\n")
    assert (found.used, found.kills) == (77, 1)


def test_where_version_2_counts_no_memory_version_1_does(tmp_path: Path) -> None:
    ours = "sys/fs/cgroup/memory/box/own"
    own = ["4:memory:/box/own", "3:cpu,cpuacct:/", "0::/"]
    root = machine(tmp_path, [CPU, UNIFIED, V1], own, {"sys/fs/cgroup/unified": "pids"})
    (root / ours).mkdir(parents=True)
    found = make(root)
    assert found.folder.parent == root / ours
    assert (found.folder / "memory.limit_in_bytes").exists()
    (found.folder / "memory.oom_control").write_text("under_oom 0\noom_kill 4\n")
    assert found.kills == 4


def test_in_a_container_that_sees_a_part_alone_it_is_below_that(tmp_path: Path) -> None:
    part = "32 24 0:28 /box /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"
    root = machine(tmp_path, [part], ["4:memory:/box"], {"sys/fs/cgroup/memory": ""})
    assert make(root).folder.parent == root / "sys/fs/cgroup/memory"


@pytest.mark.parametrize("mounts", [[], [CPU], [V2]], ids=["none", "no memory", "not handed down"])
def test_where_there_is_none_to_be_had_it_is_said(tmp_path: Path, mounts: list[str]) -> None:
    root = machine(tmp_path, mounts, ["0::/"], {"sys/fs/cgroup": "cpu pids"})
    with pytest.raises(NoGroup, match="no control group counts memory here"):
        make(root)


def test_what_may_not_be_written_is_named_and_nothing_is_left_behind(tmp_path: Path) -> None:
    root = machine(tmp_path, [V1], ["4:memory:/"], {})
    with pytest.raises(NoGroup, match=r"sys/fs/cgroup/memory: No such file"):
        make(root)
    (root / "sys/fs/cgroup").mkdir(parents=True)
    (root / "sys/fs/cgroup/memory").write_text("no folder")
    with pytest.raises(NoGroup, match="Not a directory"):
        make(root)
