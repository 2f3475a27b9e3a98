"""Who listens on a port: sockets and descriptors made of text and links, and this very process."""

import os
import socket
import sys
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from collectors.listener import holder, listener
from collectors.sock_diag import Made
from tests.collectors.listening import (
    ANY,
    ANY_6,
    CONTAINER,
    HEAD,
    LOOPBACK,
    listens,
    made_in,
    program,
    socket_line,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Port 8080 has socket 501, port 9090 on IPv6 has 502; 8081 is only connected to."""
    listens(tmp_path, socket_line(8080, 501), socket_line(8081, 503, state="01"))
    listens(tmp_path, socket_line(9090, 502, address=ANY_6), v6=True)
    return tmp_path


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


LAN = "0A01A8C0"  # 192.168.1.10
LOOPBACK_6 = "0" * 24 + "01000000"


@pytest.mark.parametrize("address", [LOOPBACK, ANY])
def test_of_two_addresses_with_the_same_port_who_is_asked_on_loopback_listens(
    root: Path, address: str
) -> None:
    """As a proxy has the network's, and the engine behind it the machine's own."""
    listens(root, socket_line(8188, 601, address=LAN), socket_line(8188, 602, address=address))
    program(root, 50, 601, name="nginx")
    program(root, 60, 602)
    assert listener(8188, root) == holder(8188, root) == 60
    listens(root, socket_line(8189, 603, address=ANY), socket_line(8189, 604))
    program(root, 51, 603)
    program(root, 61, 604)
    assert listener(8189, root) == 61, "who has the address itself is asked"
    listens(root, socket_line(8191, 607, address=ANY))
    listens(root, socket_line(8191, 608, address=LOOPBACK_6), v6=True)
    program(root, 53, 608, name="ssh")
    program(root, 63, 607)
    assert listener(8191, root) == 63, "127.0.0.1 is his"
    listens(root, socket_line(8190, 605, address=LAN))
    program(root, 52, 605)
    assert listener(8190, root) == 52, "nobody else is there"


def test_so_does_the_kernel_tell_of_those_that_we_may_not_look_into(root: Path) -> None:
    ours, proxy = "/system.slice/vllm.service", "/system.slice/nginx.service"
    program(root, 40, 501, visible=False, group=ours)
    program(root, 50, visible=False, group=proxy)
    (own,), (other,) = made_in(root, ours)(8080), made_in(root, proxy)(8080)
    lan, here = ip_address("192.168.1.10"), ip_address("127.0.0.1")
    asks = [replace(other, address=lan), replace(own, address=here)]
    assert listener(8080, root, lambda port: asks) == 40


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
    program(root, 40, 501, visible=False)
    assert listener(8080, root) is None


def test_of_a_service_that_we_may_not_look_into_its_first_process_serves(root: Path) -> None:
    group = "/system.slice/vllm.service"
    program(root, 40, 501, visible=False, group=group)
    program(root, 41, visible=False, parent=40, group=group)
    program(root, 42, visible=False, group="/system.slice/other.service")
    assert listener(8080, root, made_in(root, group)) == 40
    assert listener(8080, root) is None, "nobody tells of its control group"


def test_a_service_may_have_groups_of_its_own_below_it(root: Path) -> None:
    group = "/system.slice/vllm.service"
    program(root, 40, 501, visible=False, group=f"{group}/main")
    program(root, 41, visible=False, parent=40, group=f"{group}/workers")
    assert listener(8080, root, made_in(root, group)) == 40
    assert listener(8080, root, made_in(root, f"{group}/workers")) == 40


def test_whoever_was_told_the_port_comes_before_who_started_it(root: Path) -> None:
    """As of two servers under one supervisor."""
    group = "/system.slice/supervisor.service"
    program(root, 40, visible=False, group=group)
    told = ("vllm", "serve", "--port", "8080")
    program(root, 41, 501, visible=False, parent=40, group=group, command=told)
    program(root, 42, visible=False, parent=41, group=group, command=told)
    program(root, 43, visible=False, parent=40, group=group, command=("tei", "--port=8081"))
    assert listener(8080, root, made_in(root, group)) == 41


@pytest.mark.parametrize(
    "command",
    [
        ("curl", "http://localhost:8080"),
        ("webui", "--backend", "localhost:8080"),
        ("x", "--port", "18080"),
        ("x", "--ports", "8080"),
        ("x", "8080"),
    ],
)
def test_whoever_names_the_port_in_another_way_may_be_its_client(root: Path, command) -> None:
    group = "/system.slice/vllm.service"
    program(root, 40, 501, visible=False, group=group)
    program(root, 41, visible=False, parent=40, group=group, command=command)
    assert listener(8080, root, made_in(root, group)) == 40


def test_of_a_container_it_is_the_first_process_whoever_came_in_since(root: Path) -> None:
    group = f"/system.slice/{CONTAINER}"
    program(root, 40, 501, visible=False, group=group, parent=30, inside=1)
    program(root, 41, visible=False, group=group, parent=40, inside=7)
    program(root, 42, visible=False, group=group, parent=30, inside=19, name="bash")
    assert listener(8080, root, made_in(root, group)) == 40


def test_a_server_that_has_another_user_than_its_container_is_found_by_that(root: Path) -> None:
    group = f"/system.slice/{CONTAINER}"
    program(root, 40, visible=False, group=group, uid=0, inside=1, name="tini")
    program(root, 41, 501, visible=False, group=group, parent=40, inside=7)
    assert listener(8080, root, made_in(root, group, 1000)) == 41
    assert listener(8080, root, made_in(root, group, 33)) == 40, "it has given up its rights since"


def test_two_of_a_service_that_may_be_it_are_nobody(root: Path) -> None:
    group = "/system.slice/vllm.service"
    program(root, 40, 501, visible=False, group=group)
    program(root, 50, visible=False, group=group)
    assert listener(8080, root, made_in(root, group)) is None


SESSION = "/user.slice/user-1000.slice/user@1000.service/app.slice/terminal-7.scope"


def test_in_a_terminal_the_one_program_that_runs_is_it(root: Path) -> None:
    program(root, 30, visible=False, group=SESSION, name="bash")
    program(root, 40, 501, visible=False, group=SESSION, parent=30)
    program(root, 41, visible=False, group=SESSION, parent=40)
    program(root, 50, visible=False, group=SESSION, uid=0)
    assert listener(8080, root, made_in(root, SESSION)) == 40


def test_in_a_terminal_with_several_programs_it_is_who_was_told_the_port(root: Path) -> None:
    program(root, 30, visible=False, group=SESSION, name="bash")
    program(root, 40, 501, visible=False, group=SESSION, parent=30)
    program(root, 50, visible=False, group=SESSION, parent=30)
    assert listener(8080, root, made_in(root, SESSION)) is None
    (root / "proc/40/cmdline").write_bytes(b"vllm\0serve\0-p\0" + b"8080\0")
    assert listener(8080, root, made_in(root, SESSION)) == 40


def test_in_a_session_that_passes_ports_on_nobody_is_guessed(root: Path) -> None:
    program(root, 20, visible=False, group=SESSION, name="sshd-session")
    program(root, 30, visible=False, group=SESSION, parent=20, name="bash")
    program(root, 40, visible=False, group=SESSION, parent=30, name="vim")
    assert listener(8080, root, made_in(root, SESSION)) is None


def test_nobody_is_guessed_in_the_first_group_or_in_one_that_is_gone(root: Path) -> None:
    ask = made_in(root, "/init.scope")
    program(root, 1, visible=False, parent=0, group="/init.scope", name="systemd")
    assert listener(8080, root, ask) is None
    gone = [Made(1000, 987654321)]
    assert listener(8080, root, lambda port: gone) is None
    assert listener(8080, root, lambda port: [Made(1000, None)]) is None
    assert listener(8080, root, lambda port: []) is None


def test_of_sockets_of_two_services_neither_is_it(root: Path) -> None:
    asks = []
    for pid in (40, 50):
        group = f"/system.slice/{pid}.service"
        program(root, pid, visible=False, group=group)
        asks.append(made_in(root, group))
    assert listener(8080, root, asks[0]) == 40
    assert listener(8080, root, lambda port: [*asks[0](port), *asks[1](port)]) is None


@pytest.mark.parametrize("name", ["dockerd", "rootlesskit"])
def test_a_service_that_only_passes_on_holds_no_model(root: Path, name: str) -> None:
    group = "/system.slice/docker.service"
    program(root, 40, 501, visible=False, group=group, uid=0, name=name)
    assert listener(8080, root, made_in(root, group, 0)) is None


def test_whose_open_files_can_be_seen_is_found_without_asking(root: Path) -> None:
    def ask(port: int) -> list[Made]:
        raise AssertionError("the kernel was asked")

    program(root, 40, 501)
    assert listener(8080, root, ask) == 40
    assert listener(8088, root, ask) is None, "nobody listens"


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
