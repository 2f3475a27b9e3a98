"""How a refusal is answered: so that it arrives."""

from __future__ import annotations

import asyncio
from typing import Any

from supervisor.web.guard import LITTLE, SMALL_BODY, Guard, Rules

SCOPE = {
    "type": "http",
    "method": "POST",
    "path": "/api/v1/pin",
    "headers": [(b"host", b"evil.example"), (b"content-type", b"application/json")],
    "client": ("127.0.0.1", 4242),
    "server": ("127.0.0.1", 8552),
}


def refused(*pieces: bytes) -> list[str]:
    """What happens, in its order: "read N" of the body, "answer STATUS"."""
    happened: list[str] = []
    left = list(pieces)

    async def receive() -> dict[str, Any]:
        piece = left.pop(0)
        happened.append(f"read {len(piece)}")
        return {"type": "http.request", "body": piece, "more_body": bool(left)}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            happened.append(f"answer {message['status']}")

    async def never(*_: Any) -> None:
        raise AssertionError("it got past the guard")

    asyncio.run(Guard(never, Rules())(dict(SCOPE), receive, send))
    return happened


def test_what_a_refused_client_has_sent_is_read_before_it_is_answered() -> None:
    """Closed over unread bytes, a connection is reset, and the answer is lost with it."""
    assert refused(b"{}", b"{}") == ["read 2", "read 2", "answer 421"]


def test_a_long_body_of_a_refused_client_is_not_read_to_its_end() -> None:
    big = b"x" * LITTLE
    assert refused(big, b"x", b"never read") == [f"read {LITTLE}", "read 1", "answer 421"]


def asking(guard: Guard, *pieces: bytes, stays: asyncio.Event | None = None) -> Any:
    """A request that may pass, by its body; its status when it is answered. With `stays`, its body
    does not end until then."""
    left = list(pieces)
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        if left:
            more = len(left) > 1 or stays is not None
            return {"type": "http.request", "body": left.pop(0), "more_body": more}
        assert stays is not None
        await stays.wait()
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    async def told() -> int:
        headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
        await guard(SCOPE | {"headers": headers}, receive, send)
        return statuses[0]

    return told()


async def fine(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def test_bodies_of_many_clients_are_held_up_to_a_number_and_small_ones_in_any_case() -> None:
    async def story() -> None:
        guard, end = Guard(fine, Rules(largest_bodies=1000)), asyncio.Event()
        large, small = b"x" * (SMALL_BODY + 600), b"x" * SMALL_BODY
        slow = asyncio.create_task(asking(guard, large, stays=end))
        await asyncio.sleep(0)
        assert await asking(guard, large) == 503
        assert await asking(guard, large[:-1], b"x") == 503
        assert await asking(guard, small) == 200
        assert await asking(guard, large[:-200]) == 200
        end.set()
        assert await slow == 200
        assert await asking(guard, large) == 200  # of those who went nothing is left

    asyncio.run(story())
