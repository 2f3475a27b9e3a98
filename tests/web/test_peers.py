"""Who connects to the Unix socket, by the kernel's word: real sockets, other accounts, groups."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import socket
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from supervisor import accounts
from supervisor.accounts import Accounts, Peer, SocketMode, peer_of
from supervisor.config.entrusted import ALL, READ, included
from supervisor.web.callers import Callers
from supervisor.web.server import Server
from tests.others import acting_as, folder_of_all

from .fakes import World, site

pytestmark = pytest.mark.slow

OTHER, THEIRS, GROUP = 54321, 54322, 54323  # an account, its group, and one of ours
TOKEN = "a-token-of-some-length"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="another account takes root")
LOOPS: list[Any] = [asyncio.new_event_loop]
try:
    from uvloop import new_event_loop

    LOOPS.append(new_event_loop)
except ImportError:
    pass


@pytest.fixture
def folder() -> Iterator[Path]:
    with folder_of_all() as made:
        yield made


@asynccontextmanager
async def serving(path: Path, mode: SocketMode, group: int | None) -> AsyncIterator[None]:
    made = site(World(), callers=Callers(lambda: TOKEN, group=group))
    server = Server(made, "127.0.0.1", 0, path, socket_mode=mode, socket_group=group)
    await server.start()
    try:
        yield
    finally:
        await server.stop()


def connected(path: Path, uid: int | None, groups: tuple[int, ...]) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    with nullcontext() if uid is None else acting_as(uid, THEIRS, groups):
        sock.connect(str(path))
    sock.setblocking(False)
    return sock


async def said(sock: socket.socket, method: str, path: str, head: str = "") -> tuple[int, Any]:
    reader, writer = await asyncio.open_unix_connection(sock=sock)
    body = '{"key": "x"}' if method == "PUT" else ""
    writer.write(
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{head}"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
    )
    raw = await reader.read()
    writer.close()
    return int(raw.split()[1]), json.loads(raw.partition(b"\r\n\r\n")[2])


def answers(
    folder: Path,
    ways: list[tuple[str, str]],
    uid: int | None = None,
    groups: tuple[int, ...] = (),
    mode: SocketMode = SocketMode.EVERYBODY,
    loop: Callable[[], Any] = asyncio.new_event_loop,
    head: str = "",
) -> list[tuple[int, Any]]:
    async def run() -> list[tuple[int, Any]]:
        path = folder / "s"
        async with serving(path, mode, GROUP if os.geteuid() == 0 else None):
            async with asyncio.timeout(60):
                return [await said(connected(path, uid, groups), *way, head) for way in ways]

    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(run())


WAYS = [("GET", "/api/v1/whoami"), ("PUT", "/api/v1/settings/x"), ("POST", "/api/v1/pause")]


@pytest.mark.parametrize("loop", LOOPS)
def test_our_own_account_may_do_everything(folder: Path, loop: Any) -> None:
    (status, who), (setting, _), (pausing, _) = answers(folder, WAYS, loop=loop)
    mine = pwd.getpwuid(os.geteuid())
    assert (status, who["via"]) == (200, "socket")
    assert who["name"] == f"uid:{mine.pw_uid}({mine.pw_name})"
    assert who["scopes"] == sorted(ALL)
    assert setting not in (401, 403)
    assert pausing not in (401, 403)


@as_root
@pytest.mark.parametrize("loop", LOOPS)
def test_another_account_looks_and_changes_nothing(folder: Path, loop: Any) -> None:
    (status, who), (setting, why), (pausing, _) = answers(folder, WAYS, OTHER, loop=loop)
    assert (status, who["name"]) == (200, f"uid:{OTHER}")
    assert who["scopes"] == sorted(included((READ,)))
    assert (setting, pausing) == (403, 403)
    assert (why["needs"], why["has"]) == ("admin", who["scopes"])
    assert why["detail"] == f"PUT /api/v1/settings/x needs admin; uid:{OTHER} has read"


@as_root
@pytest.mark.parametrize("loop", LOOPS)
def test_a_member_of_the_group_may_do_everything_whatever_its_first_group_is(
    folder: Path, loop: Any
) -> None:
    (_, who), (setting, _), _ = answers(
        folder, WAYS, OTHER, (7, GROUP), SocketMode.GROUP, loop=loop
    )
    assert (who["name"], who["scopes"]) == (f"uid:{OTHER}", sorted(ALL))
    assert setting not in (401, 403)


@as_root
def test_another_account_with_a_token_may_do_what_that_may(folder: Path) -> None:
    head = f"Authorization: Bearer {TOKEN}\r\n"
    (_, who), (setting, _), _ = answers(folder, WAYS, OTHER, head=head)
    assert who["name"] == f"uid:{OTHER}"  # where that is enough, it is who it is
    assert setting not in (401, 403)


@as_root
@pytest.mark.parametrize("mode", SocketMode)
def test_the_file_lets_in_whom_it_should(folder: Path, mode: SocketMode) -> None:
    async def run() -> None:
        path = folder / "s"
        async with serving(path, mode, GROUP):
            found = path.stat()
            assert stat.S_IMODE(found.st_mode) == mode.bits
            assert found.st_gid == GROUP
            for groups, may in [((), {SocketMode.EVERYBODY}), ((GROUP,), {*SocketMode})]:
                opens = mode in may - {SocketMode.OWNER}
                if opens:
                    connected(path, OTHER, groups).close()
                else:
                    with pytest.raises(PermissionError):
                        connected(path, OTHER, groups)

    asyncio.run(run())


@as_root
def test_who_connects_counts_and_not_who_it_becomes(folder: Path) -> None:
    """The kernel keeps what was so when it connected."""

    async def run() -> Any:
        path = folder / "s"
        async with serving(path, SocketMode.EVERYBODY, None):
            sock = connected(path, OTHER, ())  # and is root again
            return await said(sock, "POST", "/api/v1/pause")

    assert asyncio.run(run())[0] == 403


@as_root
def test_where_the_group_may_not_be_given_that_is_said_and_we_listen(
    folder: Path, monkeypatch: Any, caplog: Any
) -> None:
    def refuses(*_: Any, **__: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("supervisor.listen.os.chown", refuses)
    (status, _), *_ = answers(folder, WAYS[:1])
    assert status == 200
    assert f"stays with another group than {GROUP}" in caplog.text


@as_root
def test_a_group_that_it_has_already_is_not_given_again(
    folder: Path, monkeypatch: Any, caplog: Any
) -> None:
    """As the folder's with the set-group-ID bit, which is everybody's own way to do it."""

    def refuses(*_: Any, **__: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    os.chown(folder, -1, GROUP)
    os.chmod(folder, 0o2755)
    monkeypatch.setattr("supervisor.listen.os.chown", refuses)
    (status, _), *_ = answers(folder, WAYS[:1])
    assert status == 200
    assert (folder / "s").exists() is False  # it ended
    assert "another group" not in caplog.text


def test_of_a_tcp_connection_nothing_is_told() -> None:
    with socket.socket() as sock:
        assert peer_of(sock) is None
    assert peer_of(None) is None


def test_where_the_kernel_does_not_tell_nobody_is_taken_for_somebody() -> None:
    class Mute:
        family = socket.AF_UNIX

        def getsockopt(self, *_: Any) -> bytes:
            raise OSError(92, "Protocol not available")

    assert peer_of(Mute()) is None


def test_the_answer_of_macos_and_the_bsds_is_read_as_they_write_it(monkeypatch: Any) -> None:
    import struct

    words = struct.pack("=IIhxx16I", 0, 501, 3, 20, 12, 61, *[0] * 13)

    class Sock:
        family = socket.AF_UNIX

        def getsockopt(self, level: int, option: int, size: int) -> bytes:
            assert (level, option) == (0, 1)
            assert size == len(words)
            return words

    monkeypatch.setattr(accounts.sys, "platform", "darwin")
    assert peer_of(Sock()) == Peer(501, frozenset({20, 12, 61}))


def test_names_of_accounts_are_looked_up_beside_the_loop_and_may_hang(monkeypatch: Any) -> None:
    async def run() -> None:
        known = Accounts()
        await known.learn(0)
        assert known.called(0) == f"uid:0({pwd.getpwuid(0).pw_name})"
        await known.learn(OTHER)
        assert known.called(OTHER) == f"uid:{OTHER}"
        asked: list[int] = []
        monkeypatch.setattr(accounts, "_name", lambda uid: asked.append(uid))
        await known.learn(0)
        assert asked == []  # it is known

        async def late(*_: Any) -> Any:
            raise TimeoutError

        monkeypatch.setattr(known._aside, "call", late)
        await known.learn(7)
        assert known.called(7) == "uid:7"

    asyncio.run(run())
