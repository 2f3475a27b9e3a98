"""Control groups of our own, on a tree of files; and on the kernel's where it lets us."""

import errno
import os
import subprocess

import pytest

from collectors.reading import mib
from supervisor.children.cgroup import LEAF, Group, Groups, NoGroup
from tests.children.programs import (
    DEAF,
    DOUBLE,
    PYTHON,
    child_of,
    forks,
    keeping,
    run,
    runs,
    start,
    until,
)

OWN = "system.slice/ullage.service"


class Tree:
    """A machine whose kernel has these control groups. What is written to it is kept in order."""

    def __init__(self, root, own=OWN, shown="/", handed="", controllers="cpu memory", busy=()):
        self.root = root
        self.base = root / "sys/fs/cgroup" / own
        self.base.mkdir(parents=True)
        proc = root / "proc/self"
        proc.mkdir(parents=True)
        (proc / "cgroup").write_text(f"1:name=systemd:/x\n0::{shown.rstrip('/')}/{own}\n")
        (proc / "mountinfo").write_text(
            f"30 20 0:27 / /proc rw - proc proc rw\n"
            f"35 24 0:30 {shown} /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n"
        )
        (self.base / "cgroup.controllers").write_text(controllers)
        (self.base / "cgroup.subtree_control").write_text(handed)
        (self.base / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in busy))
        self.written = []
        self.refuses = {}  # the end of a path → errno

    def groups(self, ours=()):
        return Groups(self.root, self.write, lambda pid: pid in ours)

    def write(self, file, text):
        for end, number in self.refuses.items():
            if str(file).endswith(end):
                raise OSError(number, os.strerror(number))
        if file.name == "cgroup.subtree_control" and (self.base / "cgroup.procs").read_text():
            raise OSError(errno.EBUSY, "Device or resource busy")
        if file.name == "cgroup.procs":
            left = (self.base / "cgroup.procs").read_text().split()
            left.remove(text)
            (self.base / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in left))
        self.written.append((str(file.relative_to(self.base)), text))
        file.write_text(text)


def test_a_group_with_a_limit_is_made_below_our_own(tmp_path):
    tree = Tree(tmp_path, handed="memory")
    group = tree.groups().make("a.1", mib(512))
    assert group.folder == tree.base / "ullage-a.1"
    assert group.entry == str(group.folder / "cgroup.procs")
    assert tree.written == [
        ("ullage-a.1/memory.max", str(512 << 20)),
        ("ullage-a.1/memory.oom.group", "1"),
    ]


def test_without_a_limit_nothing_is_handed_down(tmp_path):
    tree = Tree(tmp_path, controllers="")
    assert tree.groups().make("a").folder.is_dir()
    assert tree.written == []


def test_memory_is_handed_down_where_it_was_not_and_we_step_aside_for_it(tmp_path):
    tree = Tree(tmp_path, busy=(17, 18))
    tree.groups(ours=(17, 18)).make("a", mib(1))
    assert tree.written[:3] == [
        (f"{LEAF}/cgroup.procs", "17"),
        (f"{LEAF}/cgroup.procs", "18"),
        ("cgroup.subtree_control", "+memory"),
    ]


def test_nobody_else_s_program_is_moved(tmp_path):
    tree = Tree(tmp_path, busy=(17, 99))
    with pytest.raises(NoGroup, match=r"holds other programs too, as pid 99; .*Delegate=yes"):
        tree.groups(ours=(17,)).make("a", mib(1))
    assert tree.written == []
    assert not (tree.base / "ullage-a").exists()


def test_from_where_we_stepped_aside_groups_are_made_beside_us(tmp_path):
    tree = Tree(tmp_path, own=f"{OWN}/{LEAF}")
    assert tree.groups().make("a").folder == tmp_path / "sys/fs/cgroup" / OWN / "ullage-a"


def test_where_the_mount_shows_a_part_of_the_tree_our_group_is_found_in_it(tmp_path):
    tree = Tree(tmp_path, own="inner", shown="/docker/0123")
    assert tree.groups().make("a").folder == tmp_path / "sys/fs/cgroup/inner/ullage-a"


@pytest.mark.parametrize(
    ("refuses", "why"),
    [
        ({"memory.max": errno.EACCES}, r"no group of 1MiB below .*Permission denied; give"),
        ({"subtree_control": errno.EROFS}, "Read-only file system"),
    ],
)
def test_what_cannot_be_had_is_said_and_nothing_is_left(tmp_path, refuses, why):
    tree = Tree(tmp_path)
    tree.refuses = refuses
    with pytest.raises(NoGroup, match=why):
        tree.groups().make("a", mib(1))
    assert not (tree.base / "ullage-a").exists()


def test_memory_that_is_not_counted_there_cannot_be_limited(tmp_path):
    with pytest.raises(NoGroup, match="memory is not counted below"):
        Tree(tmp_path, controllers="cpu pids").groups().make("a", mib(1))


def test_without_control_groups_of_version_2_there_are_none(tmp_path):
    with pytest.raises(NoGroup, match="no control groups"):
        Groups(tmp_path).make("a")
    tree = Tree(tmp_path / "b")
    (tmp_path / "b/proc/self/cgroup").write_text("4:memory:/x\n")
    with pytest.raises(NoGroup, match="version 2"):
        tree.groups().make("a")


def test_a_group_knows_who_is_in_it_and_below(tmp_path):
    folder = tmp_path / "ullage-a"
    (folder / "inner/most").mkdir(parents=True)
    (folder / "cgroup.procs").write_text("10\n11\n")
    (folder / "inner/most/cgroup.procs").write_text("12\n")
    group = Group(folder)
    assert group.pids() == {10, 11, 12}
    group.kill()  # the kernel has no such file before 5.14
    assert not (folder / "cgroup.kill").exists()
    (folder / "cgroup.kill").touch()
    group.kill()
    assert (folder / "cgroup.kill").read_text() == "1"
    assert not group.was_short()
    (folder / "memory.events").write_text("low 0\nmax 12\noom 1\noom_kill 2\n")
    assert group.was_short()
    (folder / "memory.events").write_text("low 0\noom_kill 0\n")
    assert not group.was_short()


def test_a_group_that_is_gone_holds_nobody(tmp_path):
    group = Group(tmp_path / "gone")
    group.kill()
    group.remove()
    assert group.pids() == frozenset()


@pytest.fixture
def real():
    try:
        group = Groups().make("test")
    except NoGroup as why:
        pytest.skip(str(why))
    yield group
    group.kill()
    group.remove()


def test_the_kernel_s_group_ends_whoever_is_in_it(real):
    if not (real.folder / "cgroup.kill").exists():
        pytest.skip("this kernel cannot end a group at once")
    process = subprocess.Popen([*PYTHON, DEAF], stdout=subprocess.PIPE)
    process.stdout.readline()
    (real.folder / "cgroup.procs").write_text(str(process.pid))
    assert real.pids() == {process.pid}
    real.kill()
    assert process.wait(10) == -9
    process.stdout.close()
    real.remove()
    assert not real.folder.exists()


def test_a_child_is_in_its_group_from_its_first_moment_with_all_that_it_starts(real, tmp_path):
    async def story():
        async with keeping(tmp_path, m=start(forks(DOUBLE))) as keep:
            await keep.start("m")
            pid = await child_of(keep, "m")
            child = keep.children["m"]
            group, main = child.kindred.group, child.kindred.main.pid
            await until(lambda: group.pids() == {main, pid}, "the one between them has ended")
            await keep.stop("m")
            assert not runs(pid)
            assert not child.kindred.group.folder.exists()

    run(story())
