"""Errors, in the form that the client's own API has for them, so that its library understands.

Each has besides, in an object "ullage", what we know: who holds the bytes, how long it may take.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import msgspec

from supervisor.engines.serves import Api

from .reply import Reply

LONGEST = 2000  # characters of a message: it may quote what was sent
Headers = tuple[tuple[bytes, bytes], ...]

_encode: Final = msgspec.json.Encoder().encode

# Where a status has no word of its own, 400's or 500's is used.
_OPENAI: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
    500: "server_error",
}
_ANTHROPIC: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def fault(
    api: Api,
    status: int,
    message: str,
    code: str | None = None,
    ullage: Mapping[str, Any] | None = None,
    headers: Headers = (),
    param: str | None = None,
) -> Reply:
    """A whole answer that is an error. `code` is for programs, as "model_not_found"; `param` names
    what is wrong in the request."""
    type = b"application/problem+json" if api is Api.NATIVE else b"application/json"
    return Reply(status, _encode(_body(api, status, message, code, ullage, param)), type, headers)


def event(
    api: Api,
    status: int,
    message: str,
    code: str | None = None,
    ullage: Mapping[str, Any] | None = None,
    part: str = "",
) -> bytes:
    """An error as the last piece of an answer that has begun: an event of a stream of events, or
    in Ollama's API a line of JSON. `part` is the surface's name: OpenAI's responses have a form of
    their own."""
    body = _body(api, status, message, code, ullage, None)
    if api is Api.OLLAMA:
        return _encode(body) + b"\n"
    if api is Api.OPENAI and part != "responses":
        return b"data: " + _encode(body) + b"\n\n"
    if api is Api.OPENAI:
        body = {"type": "error", "code": code, "message": _cut(message), "param": None} | body
    return b"event: error\ndata: " + _encode(body) + b"\n\n"


def _body(
    api: Api,
    status: int,
    message: str,
    code: str | None,
    ullage: Mapping[str, Any] | None,
    param: str | None,
) -> dict[str, Any]:
    message = _cut(message)
    more: dict[str, Any] = {} if ullage is None else {"ullage": dict(ullage)}
    if api is Api.OPENAI:
        told = {"message": message, "type": _word(_OPENAI, status), "code": code, "param": param}
        return {"error": told, **more}
    if api is Api.ANTHROPIC:
        kind = _word(_ANTHROPIC, status)
        return {"type": "error", "error": {"type": kind, "message": message}, **more}
    if api is Api.OLLAMA:
        return {"error": message, **more}
    title = HTTPStatus(status).phrase
    problem = {"type": "about:blank", "title": title, "status": status, "detail": message}
    return problem | ({} if code is None else {"code": code}) | more


def _word(words: Mapping[int, str], status: int) -> str:
    return words.get(status) or words[400 if status < 500 else 500]


def _cut(message: str) -> str:
    """Without what is no text: names come from clients and engines."""
    text = message.encode(errors="replace").decode()
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"
