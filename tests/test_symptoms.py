"""What the doctor reads: of trees that look like /proc and /sys."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from collectors.machine import Machine
from collectors.reading import (
    RAM,
    Blind,
    Device,
    Holder,
    MemoryPool,
    PoolId,
    PoolKind,
    gib,
)
from supervisor.cli import symptoms
from supervisor.cli.checkup import Engine
from supervisor.cli.killers import Killer
from tests.collectors.listening import listens, program, socket_line
from tests.others import SERVICE, acting_as, folder_of_others

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it is Linux's /proc")

GPU = PoolId("GPU-aaaa")


class Tree:
    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def link(self, path: str, target: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.symlink_to(target)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n"


def test_sockets_that_listen_are_told_with_their_address(tree: Tree) -> None:
    rows = (
        "   0: 0100007F:2CAA 00000000:0000 0A 0:0 00:0 0 0 0 1\n"
        "   1: 00000000:1F90 00000000:0000 0A 0:0 00:0 0 0 0 2\n"
        "   2: 0501A8C0:1F91 00000000:0000 0A 0:0 00:0 0 0 0 3\n"
        "   3: 0100007F:1F92 0100007F:9999 01 0:0 00:0 0 0 0 4\n"
        "   4: nonsense 00000000:0000 0A\n"
    )
    tree.write("proc/net/tcp", HEAD + rows)
    six = (
        "   0: 00000000000000000000000000000000:1F93 0:0 0A\n"
        "   1: 00000000000000000000000001000000:1F94 0:0 0A\n"
        "   2: 0000000000000000FFFF00000100007F:1F95 0:0 0A\n"
    )
    tree.write("proc/net/tcp6", HEAD + six)
    assert list(symptoms.listening(tree.root)) == [
        ("127.0.0.1", 11434),
        ("0.0.0.0", 8080),
        ("192.168.1.5", 8081),
        ("::", 8083),
        ("::1", 8084),
        ("127.0.0.1", 8085),
    ]
    assert list(symptoms.listening(tree.root / "nowhere")) == []


def test_the_first_pid_namespace_is_told_from_others(tree: Tree) -> None:
    assert symptoms.own_pids(tree.root) is None
    tree.link("proc/self/ns/pid", "pid:[4026531836]")
    assert symptoms.own_pids(tree.root) is False
    (tree.root / "proc/self/ns/pid").unlink()
    tree.link("proc/self/ns/pid", "pid:[4026532999]")
    assert symptoms.own_pids(tree.root) is True


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        (".dockerenv", "", "container"),
        ("run/.containerenv", "", "container"),
        ("proc/1/cgroup", "0::/kubepods/besteffort/pod1\n", "container"),
        ("proc/1/cgroup", "0::/init.scope\n", None),
    ],
)
def test_a_container_is_known_by_its_marks(
    tree: Tree, path: str, text: str, expected: str | None
) -> None:
    assert symptoms.container(tree.root) is None
    tree.write(path, text)
    assert symptoms.container(tree.root) == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [("rw,hidepid=2", True), ("rw,hidepid=invisible", True), ("rw,hidepid=0", False),
     ("rw,hidepid=off", False), ("rw,nosuid", False)],
)  # fmt: skip
def test_hidden_processes_are_known_by_how_proc_is_mounted(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, options: str, expected: bool
) -> None:
    assert symptoms.hidden(tree.root) is None
    tree.write(
        "proc/self/mounts", f"tmpfs /tmp tmpfs hidepid=2 0 0\nproc /proc proc {options} 0 0\n"
    )
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert symptoms.hidden(tree.root) is expected
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert symptoms.hidden(tree.root) is False, "nothing is hidden from root"


def test_graphics_cards_are_counted_on_the_bus(tree: Tree) -> None:
    assert symptoms.cards(tree.root) is None
    for name, vendor, kind in (
        ("0000:01:00.0", "0x10de", "0x030000"),
        ("0000:01:00.1", "0x10de", "0x040300"),  # its sound
        ("0000:02:00.0", "0x10de", "0x030200"),
        ("0000:00:02.0", "0x8086", "0x030000"),
    ):
        tree.write(f"sys/bus/pci/devices/{name}/vendor", f"{vendor}\n")
        tree.write(f"sys/bus/pci/devices/{name}/class", f"{kind}\n")
    assert symptoms.cards(tree.root) == 2


LIMITS = "Limit  Soft Limit  Hard Limit  Units\nMax open files            {}   {}   files\n"


def test_a_daemon_has_the_files_that_it_took_and_a_new_one_as_many_as_it_may(tree: Tree) -> None:
    assert symptoms.files(tree.root, None) is None
    tree.write("proc/self/limits", LIMITS.format(1024, 65536))
    tree.write("proc/77/limits", LIMITS.format(4096, 65536))
    tree.write("proc/78/limits", LIMITS.format("unlimited", "unlimited"))
    assert [symptoms.files(tree.root, pid) for pid in (None, 77, 78)] == [65536, 4096, None]


def test_the_host_is_read_as_a_whole(tree: Tree) -> None:
    tree.write("proc/meminfo", "MemTotal:  65536 kB\nSwapTotal:   0 kB\nHugePages_Total: 0\n")
    tree.write("proc/sys/vm/overcommit_memory", "2\n")
    tree.write("proc/900/cmdline", "/usr/bin/earlyoom\0-m\x003\0")
    found = symptoms.of_host(tree.root)
    assert (found["ram"], found["swap"], found["overcommit"]) == (65536 * 1024, 0, 2)
    assert found["killers"] == (Killer("earlyoom", 3.0),)
    assert found["pids"] == {900}
    assert "synced" not in found, "another machine's clock is not ours to read"
    empty = symptoms.of_host(tree.root / "nowhere")
    assert {k: v for k, v in empty.items() if v is not None} == {}


def machine() -> Machine:
    device = Device("GPU-aaaa", GPU, "NVIDIA RTX 4090", 0, "nvidia")
    return Machine(
        pools=(
            MemoryPool(PoolId(RAM), PoolKind.HOST, gib(64), gib(30)),
            MemoryPool(GPU, PoolKind.DEDICATED, gib(24), gib(20)),
        ),
        devices=(device,),
        holders=(Holder(7, GPU, gib(1)), Holder(8, PoolId(RAM), gib(1))),
        blind=(Blind(PoolId("GPU-bbbb"), "Xid 79"),),
        notes=("a note",),
        faults={"amd": "no answer"},
    )


def test_of_the_collectors_what_is_wrong_is_kept_with_its_name() -> None:
    found = symptoms.of_machine(machine())
    assert found == {
        "gpus": ("NVIDIA RTX 4090",),
        "notes": ("a note",),
        "faults": {"amd": "no answer", "GPU-bbbb": "Xid 79"},
        "holders": frozenset({7}),
    }
    assert symptoms.holders_of(Machine()) is None


def test_pools_have_the_names_that_people_call_them_by_and_their_usual_reserve() -> None:
    assert list(symptoms.pools(machine())) == [
        ("ram", "RAM", gib(64), int(gib(64) * 0.12)),
        (str(GPU), "NVIDIA RTX 4090", gib(24), int(gib(24) * 0.03)),
    ]


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ('[listen]\ntoken = "0123456789abcdef"\n', True),
        ('[engines.a]\n  key="abc"\n', True),
        ('[listen]\ntoken_file = "token"\n', False),
        ('# token = "x"\nmode = "observe"\n', False),
    ],
)
def test_a_configuration_with_a_token_in_it_is_a_secret(
    tmp_path: Path, text: str, secret: bool
) -> None:
    file = tmp_path / "ullage.toml"
    file.write_text(text)
    file.chmod(0o604)
    found = symptoms.config_file(str(file))
    assert found is not None
    assert (found.mode & 0o777, found.secret) == (0o604, secret)
    assert symptoms.config_file(str(tmp_path / "none")) is None


def test_a_state_directory_that_is_not_there_yet_is_judged_by_where_it_would_be(
    tmp_path: Path,
) -> None:
    found = symptoms.of_folder(tmp_path / "a" / "b")
    assert (found["state"].path, found["writable"]) == (str(tmp_path / "a" / "b"), True)
    assert found["disk"] > 0
    tmp_path.chmod(0o777)
    found = symptoms.of_folder(tmp_path)
    assert (found["state"].mode & 0o777, found["writable"]) == (0o777, True)


@pytest.mark.skipif(os.geteuid() != 0, reason="another account takes root")
def test_of_a_state_directory_that_others_may_not_look_into_nothing_is_told() -> None:
    """So it is of the service as it is shipped: /var/lib/ullage leads into /var/lib/private."""
    with folder_of_others() as closed:
        state = closed.parent / "ullage"
        state.symlink_to(closed / "ullage")
        (closed / "ullage").mkdir()
        with acting_as(SERVICE):
            found = symptoms.of_folder(state)
        assert found == {"state": None, "writable": None, "disk": None}
        assert symptoms.of_folder(state)["state"] is not None  # root sees it


def test_clocks_are_read_without_a_right() -> None:
    found = symptoms.clocks()
    assert found["asleep"] >= 0
    assert found["synced"] in (True, False, None)


def test_an_engine_is_traced_where_its_process_is_seen(tmp_path: Path) -> None:
    listens(tmp_path, socket_line(8000, 501), socket_line(8001, 502))
    program(tmp_path, 40, 501)
    program(tmp_path, 41, 502, visible=False)
    engines = [Engine(str(port), "vllm", port) for port in (8000, 8001, 8002)]
    found = {e.port: e.traced for e in symptoms.traced(engines, tmp_path)}
    assert found == {8000: True, 8001: False, 8002: None}, "nobody is seen to listen at the last"
