"""A made-up /proc with who listens: processes, their sockets, namespaces and control groups."""

import os
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from pathlib import Path

from collectors.sock_diag import Made

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout"
LOOPBACK = "0100007F"
ANY, ANY_6 = "0" * 8, "0" * 32
OURS = "ours"
CONTAINER = "docker-" + "ab" * 32 + ".scope"


def socket_line(
    port: int, inode: int, state: str = "0A", address: str = LOOPBACK, uid: int = 1000
) -> str:
    other = "0" * len(address)
    rest = f"{state} 00000000:00000000 00:00000000 00000000 {uid:5} 0 {inode} 1 0000 100 0"
    return f"   0: {address}:{port:04X} {other}:0000 {rest}\n"


def listens(root: Path, *lines: str, net: str = OURS, v6: bool = False) -> None:
    """A network namespace's list of sockets, with these."""
    folder = _net(root, net)
    with (folder / ("tcp6" if v6 else "tcp")).open("a") as file:
        file.writelines(lines)


def addresses(root: Path, net: str, *these: str) -> None:
    """A network namespace has these, and its loopback."""
    folder = _net(root, net)
    v4 = [a for a in ("127.0.0.1", *these) if ":" not in a]
    leaves = "".join(f"           |-- {a}\n              /32 host LOCAL\n" for a in v4)
    broadcast = "        |-- 10.0.0.255\n           /32 link BROADCAST\n"
    (folder / "fib_trie").write_text(f"Main:\n  +-- 0.0.0.0/1 2 0 2\n{leaves}{broadcast}")
    v6 = [ip_address(a).packed.hex() for a in ("::1", *these) if ":" in a]
    (folder / "if_inet6").write_text("".join(f"{a} 01 80 10 80       lo\n" for a in v6))


def program(
    root: Path,
    pid: int,
    *inodes: int,
    parent: int = 1,
    name: str = "x",
    uid: int = 1000,
    command: Sequence[str] = (),
    group: str | None = None,
    net: str = OURS,
    visible: bool = True,
    inside: int | None = None,
) -> None:
    """A process that has these sockets open. `visible`: we may list what it has open; `inside`
    is its pid in a namespace of its own."""
    folder = root / f"proc/{pid}"
    folder.mkdir(parents=True)
    if visible:
        (folder / "fd").mkdir()
        (folder / "fd/0").symlink_to("/dev/null")
    for number, inode in enumerate(inodes if visible else (), start=7):
        (folder / f"fd/{number}").symlink_to(f"socket:[{inode}]")
    (folder / "comm").write_text(f"{name}\n")
    (folder / "cmdline").write_bytes(b"".join(f"{word}\0".encode() for word in command))
    pids = f"{pid}" if inside is None else f"{pid}\t{inside}"
    (folder / "status").write_text(
        f"Name:\t{name}\nPPid:\t{parent}\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\nNSpid:\t{pids}\n"
    )
    (folder / "net").symlink_to(_net(root, net))
    if group is not None:
        (folder / "cgroup").write_text(f"0::{group}\n")
        with (_group(root, group) / "cgroup.procs").open("a") as file:
            file.write(f"{pid}\n")


def made_in(root: Path, group: str, *uids: int) -> Callable[[int], list[Made]]:
    """The kernel's answer: sockets of these users, made in a control group."""
    folder = _group(root, group)
    with os.scandir(folder.parent) as entries:
        number = next(e.inode() for e in entries if e.name == folder.name)
    return lambda port: [Made(uid, number) for uid in uids or (1000,)]


def _group(root: Path, path: str) -> Path:
    mount = root / "sys/fs/cgroup"
    folder = mount / path.strip("/")
    folder.mkdir(parents=True, exist_ok=True)
    (mount / "cgroup.procs").touch()
    return folder


def _net(root: Path, name: str) -> Path:
    folder = root / "proc/net" if name == OURS else root / f"namespaces/{name}"
    if not folder.exists():
        folder.mkdir(parents=True)
        for file in ("tcp", "tcp6"):
            (folder / file).write_text(f"{HEAD}\n")
    return folder
