"""How a refusal is answered: so that it arrives."""

from __future__ import annotations

import asyncio
from typing import Any

from supervisor.web.guard import LITTLE, Guard, Rules

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
