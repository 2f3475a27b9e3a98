"""RAM of processes, from /proc trees made of text and from this very process."""

import mmap
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors import darwin, process
from collectors.process import (
    LARGE,
    cgroup_of,
    list_commands,
    name_of,
    parse_maps,
    parse_stat,
    parse_status,
    read_processes,
    read_times,
    share_out,
)
from collectors.reading import Bytes, MappedFile, gib, mib

TICKS = os.sysconf("SC_CLK_TCK")
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")

STAT = "{pid} ({name}) {state} 1 1 1 0 -1 4194304 100 0 0 0 {user} {system} 0 0 20 0 "
STAT += "{threads} 0 {started} 1 2"
STATUS = """Name:\tx
State:\tS (sleeping)
VmRSS:\t 999 kB
RssAnon:\t{anon} kB
RssFile:\t{file} kB
RssShmem:\t{shmem} kB
VmSwap:\t0 kB
"""


class Proc:
    """A /proc made of files. Sizes in MiB."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "proc").mkdir()
        (root / "program").write_text("")
        info = (root / "program").stat()
        device = f"{os.major(info.st_dev):02x}:{os.minor(info.st_dev):02x}"
        self.program = f"exe:{device}:{info.st_ino}"

    def add(
        self,
        pid: int = 42,
        *,
        name: str = "llama-server",
        state: str = "S",
        anon: int = 0,
        file: int = 0,
        shmem: int = 0,
        started: int = 500,
        threads: int = 1,
        maps: str | None = "",
    ) -> int:
        folder = self.root / f"proc/{pid}"
        folder.mkdir()
        told = {"state": state, "user": 300, "system": 50, "threads": threads, "started": started}
        stat = STAT.format(pid=pid, name=name, **told)
        (folder / "stat").write_text(stat)
        sizes = {"anon": anon * 1024, "file": file * 1024, "shmem": shmem * 1024}
        (folder / "status").write_text(STATUS.format(**sizes))
        if maps is not None:  # None: another user's process
            (folder / "maps").write_text(maps)
            (folder / "exe").symlink_to(self.root / "program")
        return pid


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    return Proc(tmp_path)


def line(size: int, path: str, inode: int = 7, rights: str = "r--s", at: int = 1 << 40) -> str:
    """One line of maps. `size` in MiB."""
    high = at + mib(size)
    return f"{at:x}-{high:x} {rights} 00000000 08:01 {inode}                    {path}\n"


def mapped(proc: Proc, pid: int) -> dict[str, int]:
    return {m.file: m.size for m in read_processes([pid], proc.root)[pid].mapped}


def test_a_process_holds_its_anonymous_and_its_shared_memory(proc: Proc) -> None:
    pid = proc.add(anon=100, shmem=20)
    memory = read_processes([pid], proc.root)[pid]
    assert (memory.anonymous, memory.mapped, memory.resident) == (mib(120), (), mib(120))
    assert (memory.pid, memory.name) == (42, "llama-server")
    assert (memory.started, memory.cpu) == (500 / TICKS, 350 / TICKS)


def test_mapped_weights_are_told_by_file_and_the_rest_by_program(proc: Proc) -> None:
    pid = proc.add(file=1000, maps=line(960, "/models/a.gguf"))
    assert mapped(proc, pid) == {"08:01:7": mib(960), proc.program: mib(40)}


def test_weights_that_are_only_partly_resident_get_what_there_is(proc: Proc) -> None:
    pid = proc.add(file=100, maps=line(4000, "/models/a.gguf"))
    assert mapped(proc, pid) == {"08:01:7": mib(100)}


def test_the_largest_file_is_served_first(proc: Proc) -> None:
    maps = line(300, "/models/draft.gguf", 8) + line(900, "/models/a.gguf", 7)
    pid = proc.add(file=1000, maps=maps)
    assert mapped(proc, pid) == {"08:01:7": mib(900), "08:01:8": mib(100)}


def test_a_file_mapped_in_pieces_is_one_file(proc: Proc) -> None:
    maps = line(10, "/models/a.gguf") + line(14, "/models/a.gguf", at=1 << 41)
    pid = proc.add(file=100, maps=maps)
    assert mapped(proc, pid) == {"08:01:7": mib(24), proc.program: mib(76)}


@pytest.mark.parametrize(
    "maps",
    [
        pytest.param(line(500, "/usr/lib/libcuda.so"), id="library"),
        pytest.param(line(500, "/usr/lib/libtorch.so.2.4"), id="library-with-a-version"),
        pytest.param(
            line(480, "/usr/bin/engine") + line(20, "/usr/bin/engine", rights="r-xp"), id="code"
        ),
        pytest.param(line(500, "/dev/nvidia0"), id="device"),
        pytest.param(line(500, "/dev/shm/x"), id="shared-memory"),
        pytest.param(line(15, "/usr/lib/locale/locale-archive"), id="small"),
        pytest.param("7f0000000000-7f0040000000 rw-p 00000000 00:00 0 \n", id="anonymous"),
        pytest.param("7f0000000000-7f0040000000 rw-p 00000000 00:00 0   [heap]\n", id="heap"),
    ],
)
def test_what_is_no_data_file_counts_to_the_program(proc: Proc, maps: str) -> None:
    assert mapped(proc, proc.add(file=500, maps=maps)) == {proc.program: mib(500)}


def test_a_data_file_named_like_a_library_folder_is_still_data(proc: Proc) -> None:
    pid = proc.add(file=500, maps=line(500, "/data/my models/a b.gguf"))
    assert mapped(proc, pid) == {"08:01:7": mib(500)}


def test_two_processes_of_one_program_name_what_they_share_alike(proc: Proc) -> None:
    for pid in (1, 2):
        proc.add(pid, file=300, maps=line(200, "/models/a.gguf"))
    assert mapped(proc, 1) == mapped(proc, 2)


def test_another_users_process_holds_its_file_pages_alone(proc: Proc) -> None:
    pid = proc.add(anon=5, file=300, maps=None)
    assert mapped(proc, pid) == {"pid:42": mib(300)}
    assert read_processes([pid], proc.root)[pid].resident == mib(305)


def test_a_process_that_is_gone_is_absent(proc: Proc) -> None:
    proc.add(1)
    assert read_processes([1, 2], proc.root).keys() == {1}


@pytest.mark.parametrize("state", ["Z", "X"])
def test_a_process_that_has_ended_but_is_still_listed_is_absent(proc: Proc, state: str) -> None:
    assert read_processes([proc.add(state=state)], proc.root) == {}


def test_a_process_whose_first_thread_has_ended_is_there_while_another_hangs(proc: Proc) -> None:
    assert read_processes([proc.add(state="Z", threads=2)], proc.root).keys() == {42}
    assert read_times([42], proc.root).keys() == {42}


@pytest.mark.parametrize("torn", ["", "42 (x", "42 (x) S 1 1"])
def test_a_stat_cut_short_by_the_end_of_its_process_is_absent(proc: Proc, torn: str) -> None:
    pid = proc.add()
    (proc.root / "proc/42/stat").write_text(torn)
    assert read_processes([pid], proc.root) == {}


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=15))
def test_a_program_may_have_any_name(name: str) -> None:
    text = STAT.format(pid=1, name=name, state="R", user=1, system=2, threads=1, started=3)
    stat = parse_stat(text.encode())
    assert (stat.name, stat.state, stat.cpu, stat.started) == (name, "R", 3, 3)


def test_a_kernel_thread_holds_nothing() -> None:
    status = parse_status(b"Name:\tkworker\nState:\tI (idle)\nPPid:\t2\n")
    assert (status.anonymous, status.file, status.holds, status.parent) == (0, 0, False, 2)


def test_page_tables_come_back_with_their_process_and_huge_pages_do_not() -> None:
    rows = "RssAnon:\t100 kB\nRssFile:\t8 kB\nVmPTE:\t20 kB\nHugetlbPages:\t2048 kB\n"
    rows += "RssShmem:\t40 kB\n"
    status = parse_status(f"Name:\tx\n{rows}".encode())
    assert (status.anonymous, status.file, status.holds) == (160 * 1024, 8 * 1024, True)
    assert status.shared == 40 * 1024


def test_a_kernel_that_does_not_tell_the_parts_apart_counts_all_as_anonymous() -> None:
    status = parse_status(b"Name:\tx\nVmSize:\t900 kB\nVmRSS:\t300 kB\n")
    assert (status.anonymous, status.file, status.holds) == (300 * 1024, 0, True)


@pytest.mark.parametrize(
    ("written", "name"),
    [("a b", "a b"), (r"a\nb", "a\nb"), (r"a\\nb", r"a\nb"), ("RssAnon:\t5 kB", "RssAnon:\t5 kB")],
)
def test_a_name_is_what_the_program_called_itself(written: str, name: str) -> None:
    status = parse_status(f"Name:\t{written}\nPPid:\t3\n".encode())
    assert (status.name, status.parent, status.anonymous) == (name, 3, 0)


@given(st.binary(max_size=120))
def test_any_status_can_be_read(data: bytes) -> None:
    for text in (data, b"Name:\tx\nRssFile:\t5 kB\nVmLck:\t" + data):
        status = parse_status(text)
        assert min(status.anonymous, status.file, status.parent) >= 0


@given(
    st.integers(0, mib(4000)),
    st.dictionaries(st.sampled_from("abcdef"), st.integers(1, mib(2000)), max_size=6),
)
def test_the_parts_always_add_up_to_what_is_resident(resident: int, files: dict[str, int]) -> None:
    parts = share_out(Bytes(resident), {k: Bytes(v) for k, v in files.items()}, "rest")
    assert sum(p.size for p in parts) == resident
    assert all(0 < p.size <= files.get(p.file, resident) for p in parts)
    assert all(files[p.file] >= LARGE for p in parts if p.file != "rest")
    assert len({p.file for p in parts}) == len(parts)


def test_commands_are_split_into_their_words(proc: Proc) -> None:
    lines = {1: b"llama-server\0--alias\0my model\0", 2: b"", 3: b"VLLM::EngineCore\0\0\0"}
    for pid, data in lines.items():
        (proc.root / f"proc/{pid}").mkdir()
        (proc.root / f"proc/{pid}/cmdline").write_bytes(data)
    (proc.root / "proc/self").mkdir()
    (proc.root / "proc/4").mkdir()  # gone while we looked
    assert list_commands(proc.root) == {
        1: ("llama-server", "--alias", "my model"),
        3: ("VLLM::EngineCore",),
    }


@pytest.mark.parametrize(
    ("text", "group"),
    [
        ("0::/system.slice/ollama.service\n", "/system.slice/ollama.service"),
        ("0::/\n", "/"),
        ("9:name=systemd:/x\n4:memory:/docker/0123\n0::/x\n", "/docker/0123"),
        ("9:name=systemd:/x\n3:cpuset:/y\n", None),
        ("", None),
    ],
)
def test_the_group_of_a_process_is_the_one_that_pays_for_its_memory(
    proc: Proc, text: str, group: str | None
) -> None:
    pid = proc.add()
    (proc.root / f"proc/{pid}/cgroup").write_text(text)
    assert cgroup_of(pid, proc.root) == group
    assert cgroup_of(pid + 1, proc.root) is None


# -- the real thing


@on_linux
def test_this_process_has_a_group() -> None:
    group = cgroup_of(os.getpid())
    assert group is None or group.startswith("/")


@pytest.fixture
def weights(tmp_path: Path) -> Iterator[tuple[Path, mmap.mmap]]:
    """A file of 24 MiB, mapped and touched by this process."""
    path = tmp_path / "weights.gguf"
    path.write_bytes(b"\1" * mib(24))
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as view:
        assert sum(view[i] for i in range(0, len(view), 4096)) == mib(24) // 4096
        yield path, view


@on_linux
def test_this_process_is_seen_to_map_its_weights(weights: tuple[Path, mmap.mmap]) -> None:
    [memory] = read_processes([os.getpid()]).values()
    inode = str(weights[0].stat().st_ino)
    sizes = {m.file.rpartition(":")[2]: m.size for m in memory.mapped}
    assert sizes[inode] == mib(24)
    assert memory.anonymous > mib(1)
    assert memory.cpu > 0


def test_this_process_knows_its_own_command_and_name() -> None:
    assert list_commands()[os.getpid()]
    assert name_of(os.getpid())


class Mac:
    """A system that tells the footprint of these processes, in bytes."""

    def __init__(self, sizes: dict[int, Bytes]) -> None:
        self.footprint = sizes.get


@pytest.fixture
def without_proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This machine's root, were there no /proc."""
    monkeypatch.setattr(process, "HOST", tmp_path)
    return tmp_path


def test_without_proc_the_process_table_of_the_system_is_asked(without_proc: Path) -> None:
    pid = os.getpid()
    memory = read_processes([pid, 2**22 + 1], without_proc)
    assert memory.keys() == {pid}
    assert memory[pid].mapped == ()
    assert memory[pid].anonymous > mib(5)
    assert memory[pid].started > 0
    assert read_times([pid], without_proc)[pid].started == memory[pid].started
    assert list_commands(without_proc)[pid]
    assert name_of(pid, without_proc)
    assert name_of(2**22 + 1, without_proc) is None


def test_a_mac_tells_what_comes_back_when_a_process_ends(
    without_proc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Metal holds of it is not resident, nor is what has been compressed."""
    pid = os.getpid()
    monkeypatch.setattr(darwin, "HERE", Mac({pid: gib(24)}))
    assert read_processes([pid], without_proc)[pid].anonymous == gib(24)
    monkeypatch.setattr(darwin, "HERE", Mac({}))
    assert mib(5) < read_processes([pid], without_proc)[pid].anonymous < gib(24)


def test_on_a_mac_what_is_resident_beyond_the_footprint_is_mapped(
    without_proc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights that are mapped and clean are no part of the footprint."""
    pid = os.getpid()
    monkeypatch.setattr(darwin, "HERE", Mac({pid: mib(1)}))
    memory = read_processes([pid], without_proc)[pid]
    [file] = memory.mapped
    assert (memory.anonymous, file.file) == (mib(1), f"pid:{pid}")
    assert file.size > mib(4)


def test_of_a_machine_on_record_without_proc_no_process_is_known(tmp_path: Path) -> None:
    """A Mac's capture is shown on other machines, whose processes are not in it."""
    pid = os.getpid()
    assert read_processes([pid], tmp_path) == {}
    assert read_times([pid], tmp_path) == {}
    assert list_commands(tmp_path) == {}
    assert name_of(pid, tmp_path) is None


def test_a_name_that_cannot_be_read_is_none(proc: Proc) -> None:
    assert name_of(42, proc.root) is None


def test_maps_are_read_by_file_with_their_address_space() -> None:
    data = (line(20, "/a.gguf", 1) + line(30, "/b.gguf", 2)).encode()
    assert parse_maps(data) == {"08:01:1": mib(20), "08:01:2": mib(30)}
    assert share_out(mib(60), parse_maps(data), "rest") == (
        MappedFile("08:01:2", mib(30)),
        MappedFile("08:01:1", mib(20)),
        MappedFile("rest", mib(10)),
    )
