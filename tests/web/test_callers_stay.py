"""Streams that stay open, for as long as whoever reads them may; and wrong tokens at the API."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from supervisor.config.entrusted import METRICS, READ, Entrusted, included
from supervisor.guesses import WRONG_AT_ONCE, WRONG_EACH
from supervisor.web.callers import Callers
from supervisor.web.server import Server
from tests.rereading import House, told
from tests.web.fakes import World, site
from tests.web.test_callers import asked, caller
from tests.web.test_guard import STRANGER, US
from tests.web.test_server import say, serving

pytestmark = pytest.mark.slow

OLD, NEXT = "ullage-desk-0123456789", "ullage-desk-9876543210"
NOW = 1_000.0


def known(secret: str, *scopes: str, expires: float | None = None) -> Entrusted:
    return Entrusted("desk", sha256(secret.encode()).digest(), included(scopes), expires)


class Doors:
    """Who may come, as a test says it."""

    def __init__(self, main: str | None = None, *tokens: Entrusted) -> None:
        self.main, self.tokens, self.now = main, tokens, NOW
        self.callers = Callers(
            lambda: self.main, lambda: self.tokens, wall=lambda: self.now, clock=lambda: self.now
        )


def streamed(
    doors: Doors, secret: str | None, change: Callable[[], None], *, said: bool = True
) -> bytes:
    """All that comes of the events until their stream ends, after a change while it is open.
    `said`: that something has changed is told."""

    async def run() -> bytes:
        head = "" if secret is None else f"Authorization: Bearer {secret}\r\n"
        async with serving(site(World(), callers=doors.callers)) as server:
            text = f"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n{head}"
            reading = asyncio.create_task(
                say(server, f"{text}Accept: text/event-stream\r\nConnection: close\r\n\r\n")
            )
            async with asyncio.timeout(60):
                while not doors.callers.waking:
                    await asyncio.sleep(0)
                change()
                if said:
                    doors.callers.changed()
                answer = await reading
                while doors.callers.waking:
                    await asyncio.sleep(0)
                return answer

    return asyncio.run(run())


def replaced(doors: Doors) -> None:
    doors.tokens = (known(NEXT, READ),)


def lowered(doors: Doors) -> None:
    doors.tokens = (known(OLD, METRICS),)


def over(doors: Doors) -> None:
    doors.now = NOW + 1


@pytest.mark.parametrize("change", [replaced, lowered, over])
def test_a_stream_ends_when_its_token_goes_or_may_less_or_is_over(change: Any) -> None:
    doors = Doors(None, known(OLD, READ, expires=NOW + 0.5))
    found = streamed(doors, OLD, lambda: change(doors))
    assert b"200 OK" in found
    assert b"event: hello" in found


@pytest.mark.parametrize("main", [OLD, None])
def test_a_stream_of_the_main_token_or_of_nobody_ends_when_there_is_another(
    main: str | None,
) -> None:
    doors = Doors(main)
    assert b"event: hello" in streamed(doors, main, lambda: setattr(doors, "main", NEXT))


def test_a_token_ends_by_itself_though_nobody_says_that_anything_has_changed() -> None:
    doors = Doors(None, known(OLD, READ, expires=NOW + 0.01))
    assert b"event: hello" in streamed(doors, OLD, lambda: over(doors), said=False)


def test_a_stream_that_may_stay_is_not_cut_by_a_change() -> None:
    async def run() -> None:
        doors = Doors(None, known(OLD, READ))
        async with serving(site(World(), callers=doors.callers)) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(
                b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n"
                b"Authorization: Bearer " + OLD.encode() + b"\r\n\r\n"
            )
            async with asyncio.timeout(60):
                await reader.readuntil(b"event: hello")
                doors.tokens = (known(OLD, READ, expires=NOW + 99), known(NEXT, READ))
                doors.callers.changed()
                _feed(server).tell("config", ok=True)
                await reader.readuntil(b"event: config")
            writer.close()

    asyncio.run(run())


def _feed(server: Server) -> Any:
    return server._site.feed


# -- the main token's file


def test_the_main_token_is_another_once_its_file_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(OLD)
    file.chmod(0o600)

    async def story(house: House) -> None:
        by = Callers(lambda: house.overrides.current.token, lambda: ())

        def good(secret: str) -> bool:
            digest = sha256(secret.encode()).digest()
            return digest in {token.digest for token in by.known}

        assert (good(OLD), good(NEXT)) == (True, False)
        file.write_text(NEXT)
        found = await house.reloading.now("asked")
        assert [d.key for d in found.changed] == ["listen.token"]
        assert found.restart == ()
        assert OLD not in repr(found) and NEXT not in repr(found)  # noqa: PT018
        assert (good(OLD), good(NEXT)) == (False, True)
        file.unlink()
        (mistake,) = await house.refused()
        assert "cannot be read" in mistake
        assert good(NEXT)  # what was in force stays

    told(tmp_path, story, '[listen]\ntoken_file = "token"')


# -- guessing


def test_whoever_guesses_from_elsewhere_is_slowed_down_and_told_so() -> None:
    doors = Doors(OLD)

    def status(secret: str | None, client: Any = STRANGER) -> int:
        return asked("GET", "/api/v1/state", secret, doors.callers, client=client).status

    assert [status(f"guess-{i}") for i in range(WRONG_AT_ONCE)] == [401] * WRONG_AT_ONCE
    reply = asked("GET", "/api/v1/state", "guess", doors.callers, client=STRANGER)
    assert reply.status == 429
    assert reply.headers["retry-after"] == f"{WRONG_EACH:g}"
    assert b"too many wrong tokens" in reply.body
    assert status(OLD) == 429  # a guess that is right is told nothing
    assert status(None) == 401  # no token is no guess
    assert status(OLD, ("192.0.2.8", 1)) == 200
    assert status(OLD, US) == 200
    assert asked("GET", "/healthz", "guess", doors.callers, client=STRANGER).status == 200
    assert doors.callers.refused == {"unknown": WRONG_AT_ONCE, "slowed": 2, "none": 1}
    doors.now += WRONG_EACH
    assert status(OLD) == 200


def test_who_was_good_there_before_goes_on_while_somebody_guesses_beside_it() -> None:
    doors = Doors(OLD, known(NEXT, READ))
    assert asked("GET", "/api/v1/state", OLD, doors.callers, client=STRANGER).status == 200
    for i in range(WRONG_AT_ONCE + 1):
        asked("GET", "/api/v1/state", f"guess-{i}", doors.callers, client=STRANGER)
    reply = asked("GET", "/api/v1/state", OLD, doors.callers, client=STRANGER)
    assert caller(reply)[0] == "token"
    assert asked("GET", "/api/v1/state", NEXT, doors.callers, client=STRANGER).status == 429


def test_on_this_machine_wrong_ones_are_slowed_and_right_ones_are_not() -> None:
    doors = Doors(OLD)
    found = [asked("GET", "/api/v1/state", "x", doors.callers).status for _ in range(25)]
    assert found == [401] * WRONG_AT_ONCE + [429] * 5
    assert asked("GET", "/api/v1/state", OLD, doors.callers).status == 200


def test_where_no_token_is_asked_for_none_is_a_guess() -> None:
    doors = Doors()
    for _ in range(WRONG_AT_ONCE + 5):
        assert asked("GET", "/api/v1/state", "x", doors.callers).status == 200
    assert not doors.callers.guesses
