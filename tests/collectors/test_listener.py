"""Who listens on a port: sockets and descriptors made of text and links, and this very process."""

import os
import socket
import sys
from pathlib import Path

import pytest

from collectors.process import listener

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout"


def socket_line(port: int, inode: int, state: str = "0A", address: str = "0100007F") -> str:
    other = "0" * len(address)
    rest = f"{state} 00000000:00000000 00:00000000 00000000  1000        0 {inode} 1 0000 100 0"
    return f"   0: {address}:{port:04X} {other}:0000 {rest}\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Port 8080 has socket 501, port 9090 on IPv6 has 502; 8081 is only connected to."""
    connected = socket_line(8081, 503, state="01")
    (tmp_path / "proc/net").mkdir(parents=True)
    (tmp_path / "proc/net/tcp").write_text(f"{HEAD}\n{socket_line(8080, 501)}{connected}")
    (tmp_path / "proc/net/tcp6").write_text(f"{HEAD}\n{socket_line(9090, 502, address='0' * 32)}")
    return tmp_path


def program(root: Path, pid: int, inode: int, parent: int = 1, name: str = "x") -> None:
    """A process that has this socket open."""
    folder = root / f"proc/{pid}"
    (folder / "fd").mkdir(parents=True)
    (folder / "comm").write_text(f"{name}\n")
    (folder / "status").write_text(f"Name:\t{name}\nPPid:\t{parent}\n")
    (folder / "fd/0").symlink_to("/dev/null")
    (folder / "fd/7").symlink_to(f"socket:[{inode}]")


def test_who_listens_is_found_by_the_socket(root: Path) -> None:
    program(root, 40, 501)
    program(root, 50, 502)
    program(root, 60, 503)
    found = {port: listener(port, root) for port in (8080, 9090, 8081, 808)}
    assert found == {8080: 40, 9090: 50, 8081: None, 808: None}


def test_of_a_server_and_its_workers_the_server_listens(root: Path) -> None:
    program(root, 70, 501, parent=90)
    program(root, 90, 501)  # pids may wrap around
    program(root, 95, 501, parent=90)
    assert listener(8080, root) == 90


def test_a_socket_that_the_init_system_keeps_is_the_services(root: Path) -> None:
    program(root, 1, 501, parent=0, name="systemd")
    assert listener(8080, root) is None, "the service has not started yet"
    program(root, 40, 501)
    assert listener(8080, root) == 40


def test_in_a_container_the_first_process_may_be_the_server(root: Path) -> None:
    program(root, 1, 501, parent=0, name="vllm")
    program(root, 40, 501)
    assert listener(8080, root) == 1


@pytest.mark.parametrize("name", ["docker-proxy", "rootlessport", "ssh"])
def test_who_only_passes_on_holds_no_model(root: Path, name: str) -> None:
    program(root, 40, 501, name=name)
    assert listener(8080, root) is None


def test_another_users_descriptors_are_not_visible(root: Path) -> None:
    (root / "proc/40").mkdir()  # no fd folder that we may list
    assert listener(8080, root) is None


@pytest.mark.parametrize("torn", ["", HEAD, f"{HEAD}\n 0: 0100007F:1F90 0000", "\0\n\xff\n"])
def test_a_torn_list_of_sockets_names_nobody(root: Path, torn: str) -> None:
    (root / "proc/net/tcp").write_text(torn)
    program(root, 40, 501)
    assert listener(8080, root) is None


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_this_process_is_seen_to_listen(address: str) -> None:
    with socket.socket() as server:
        server.bind((address, 0))
        port = server.getsockname()[1]
        assert listener(port) is None, "bound is not yet listening"
        server.listen()
        assert listener(port) == os.getpid()
    assert listener(port) is None
