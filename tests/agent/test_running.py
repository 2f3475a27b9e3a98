"""What is looked at before a host joins Ray."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from supervisor.agent import running, safety, seen
from supervisor.agent.backend import BackendError

RAYLET = ("/x/raylet", "--node_ip_address=10.0.0.5")
GOOD = safety.Facts(mode="token", version="2.60.0")


@pytest.fixture
def head() -> Iterator[socket.socket]:
    """Bound to a port of its own. Whoever wants it to answer listens."""
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        yield made


def address(head: socket.socket) -> str:
    return "{}:{}".format(*head.getsockname())


@pytest.fixture(autouse=True)
def node(monkeypatch: pytest.MonkeyPatch) -> dict[int, tuple[str, ...]]:
    """The processes of this machine."""
    found: dict[int, tuple[str, ...]] = {7: RAYLET}
    monkeypatch.setattr(running, "list_commands", lambda: found)
    monkeypatch.setattr(seen, "facts", lambda own: GOOD)
    monkeypatch.setattr(seen, "version", lambda: "2.60.0")
    return found


def wrong(address: str, node_ip: str | None = None) -> BackendError | None:
    try:
        asyncio.run(running.examiner(safety.Rules(), address, node_ip)())  # type: ignore[arg-type]
    except BackendError as error:
        return error
    return None


def test_a_head_that_does_not_answer_is_waited_for_and_not_joined(head: socket.socket) -> None:
    found = wrong(address(head))
    assert found is not None
    assert (found.code, str(found)) == ("absent", f"Ray's head does not answer at {address(head)}")
    head.listen()
    assert wrong(address(head)) is None


def test_where_the_head_is_may_be_left_to_ray() -> None:
    assert wrong("auto") is None


def test_a_node_that_is_not_there_is_waited_for(
    head: socket.socket, node: dict[int, tuple[str, ...]]
) -> None:
    head.listen()
    found = wrong(address(head), "10.0.0.6")
    assert found is not None
    assert (found.code, str(found)) == ("absent", "no node of Ray runs on this machine at 10.0.0.6")
    assert wrong(address(head), "10.0.0.5") is None
    node.clear()
    assert wrong(address(head)) is not None


@pytest.mark.parametrize("text", ["auto", ":6379", "10.0.0.1:", "10.0.0.1:ray", ""])
def test_what_is_no_address_is_left_to_ray(text: str) -> None:
    assert seen.listens_at(text) is None


@pytest.mark.parametrize("text", ["127.0.0.1:99999999", "no..name:1"])
def test_an_address_that_cannot_be_is_one_where_nobody_answers(text: str) -> None:
    assert seen.listens_at(text) is False
