"""A container's published port: whoever listens for it is followed to who serves."""

from pathlib import Path

import pytest

from collectors.listener import holder, listener
from tests.collectors.listening import (
    ANY,
    ANY_6,
    CONTAINER,
    LOOPBACK,
    addresses,
    listens,
    made_in,
    program,
    socket_line,
)

GROUP = f"/system.slice/{CONTAINER}"
OTHER = f"/system.slice/{CONTAINER.replace('ab', 'cd')}"
DAEMON = "/system.slice/docker.service"


def proxy(*, host: int = 8000, address: str = "172.17.0.2", port: int = 80) -> tuple[str, ...]:
    said = f"-proto tcp -host-ip 0.0.0.0 -host-port {host} -container-ip {address}"
    return ("/usr/bin/docker-proxy", *said.split(), "-container-port", str(port))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """docker-proxy, 20, listens on 8000 for port 80 of a container at 172.17.0.2."""
    listens(tmp_path, socket_line(8000, 501, address=ANY, uid=0))
    addresses(tmp_path, "ours", "172.17.0.1")
    listens(tmp_path, socket_line(80, 601, address=ANY), net="engine")
    addresses(tmp_path, "engine", "172.17.0.2")
    return tmp_path


def forwarder(root: Path, *, visible: bool = True, **said) -> None:
    program(root, 19, name="dockerd", uid=0, group=DAEMON, visible=visible)
    more = {"name": "docker-proxy", "command": proxy(), **said}
    program(root, 20, 501, parent=19, uid=0, group=DAEMON, visible=visible, **more)


def test_who_may_look_finds_the_one_that_has_the_socket_open(root: Path) -> None:
    forwarder(root)
    program(root, 40, net="engine", group=GROUP, name="tini")
    program(root, 41, 601, parent=40, net="engine", group=GROUP)
    program(root, 42, 601, parent=41, net="engine", group=GROUP)
    assert listener(8000, root) == 41
    assert holder(8000, root) is None, "who started the container is not told that it is another's"


def test_who_has_the_socket_open_is_seen_and_nobody_is_inferred(root: Path) -> None:
    program(root, 20, 501, name="vllm")
    assert holder(8000, root) == 20
    assert holder(8001, root) is None


def test_who_may_not_look_sees_nobody(root: Path) -> None:
    program(root, 20, 501, name="vllm", visible=False)
    assert holder(8000, root) is None


@pytest.mark.parametrize("visible", [True, False])
def test_who_may_not_look_finds_the_containers_first(root: Path, visible: bool) -> None:
    """Whether the proxy itself can be looked into or not."""
    forwarder(root, visible=visible)
    hidden = {"net": "engine", "group": GROUP, "visible": False}
    program(root, 40, inside=1, **hidden)
    program(root, 41, 601, inside=7, parent=40, **hidden)
    program(root, 42, inside=20, parent=18, name="bash", **hidden)
    assert listener(8000, root, made_in(root, DAEMON, 0)) == 40


def test_of_containers_that_listen_on_the_same_port_the_address_tells(root: Path) -> None:
    forwarder(root)
    program(root, 40, 601, net="engine", group=GROUP)
    listens(root, socket_line(80, 701, address=ANY_6), net="another", v6=True)
    addresses(root, "another", "172.17.0.3")
    program(root, 50, 701, net="another", group=OTHER)
    assert listener(8000, root) == 40
    (root / "proc/20/cmdline").write_bytes("\0".join(proxy(address="172.17.0.3")).encode())
    assert listener(8000, root) == 50


def test_an_address_that_two_have_is_nobodys(root: Path) -> None:
    forwarder(root)
    for pid, net in ((40, "engine"), (50, "another")):
        listens(root, socket_line(80, 701, address=ANY), net=net)
        addresses(root, net, "172.17.0.2")
        program(root, pid, 701, net=net)
    assert listener(8000, root) is None


def test_who_listens_on_a_containers_loopback_is_not_reached(root: Path) -> None:
    forwarder(root)
    (root / "namespaces/engine/tcp").write_text("head\n" + socket_line(80, 601, address=LOOPBACK))
    program(root, 40, 601, net="engine")
    assert listener(8000, root) is None
    listens(root, socket_line(80, 602, address="020011AC"), net="engine")
    program(root, 41, 602, net="engine")
    assert listener(8000, root) == 41


def test_ipv6_has_a_proxy_of_its_own(root: Path) -> None:
    (root / "proc/net/tcp").write_text("head\n")
    listens(root, socket_line(8000, 502, address=ANY_6, uid=0), v6=True)
    addresses(root, "engine", "fd00::2")
    program(root, 21, 502, name="docker-proxy", uid=0, command=proxy(address="fd00::2"))
    program(root, 40, 601, net="engine")
    assert listener(8000, root) == 40


def test_a_proxy_of_another_port_leads_nowhere(root: Path) -> None:
    forwarder(root, command=proxy(host=8001))
    program(root, 40, 601, net="engine")
    assert listener(8000, root) is None


@pytest.mark.parametrize(
    "command",
    [
        (),
        ("docker-proxy", "-host-port"),
        ("docker-proxy", "-host-port", "8000"),
        proxy(address="x"),
    ],
)
def test_a_proxy_that_does_not_say_where_to_leads_nowhere(root: Path, command) -> None:
    forwarder(root, command=command)
    program(root, 40, 601, net="engine")
    assert listener(8000, root) is None


def test_in_rootless_docker_the_proxy_beside_says_where_to(root: Path) -> None:
    group = "/user.slice/user-1000.slice/user@1000.service/app.slice/docker.service"
    program(root, 20, 501, name="rootlesskit", group=group)
    program(root, 21, name="docker-proxy", group=group, command=proxy(), net="rootless")
    program(root, 40, 601, net="engine")
    assert listener(8000, root) == 40


def test_pasta_says_the_port_and_the_one_that_listens_there_is_it(root: Path) -> None:
    command = ("pasta", "--config-net", "-t", "127.0.0.1/7990-8009:70-89", "-u", "none")
    program(root, 20, 501, name="pasta.avx2", command=command)
    program(root, 40, 601, net="engine")
    listens(root, socket_line(80, 503, address=ANY))
    program(root, 30, 503)
    assert listener(8000, root) == 40, "nothing is passed on to where it comes from"
    listens(root, socket_line(80, 701, address=ANY), net="another")
    program(root, 50, 701, net="another")
    assert listener(8000, root) is None, "either may be it"


@pytest.mark.parametrize("name", ["rootlessport", "ssh"])
def test_who_does_not_say_where_to_is_not_followed(root: Path, name: str) -> None:
    program(root, 20, 501, name=name, command=(name, "-t", "8000:80"))
    program(root, 40, 601, net="engine")
    assert listener(8000, root) is None


def test_of_a_pod_the_one_container_with_the_sockets_user_is_it(root: Path) -> None:
    forwarder(root)
    hidden = {"net": "engine", "visible": False}
    program(root, 40, 601, group=GROUP, inside=1, **hidden)
    program(root, 50, group=OTHER, uid=65535, inside=1, **hidden)
    assert listener(8000, root) == 40
    program(root, 51, group=OTHER, parent=50, inside=7, **hidden)
    assert listener(8000, root) is None, "two containers have it now"
