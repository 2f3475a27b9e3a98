"""Every answer of every test is held against what the table says of it."""

from __future__ import annotations

from functools import cache
from typing import Any

import httpx
from pydantic import TypeAdapter
from starlette.routing import compile_path

from supervisor.web import answers
from supervisor.web.bodies import Wish
from supervisor.web.openapi import ALWAYS, PROBLEM, WITH_BODY
from supervisor.web.operations import Operation
from supervisor.web.server import Site
from supervisor.web.table import operations


class Checked(httpx.AsyncBaseTransport):
    """Hands requests on. Raises AssertionError where an answer is not as it is described."""

    def __init__(self, inner: httpx.AsyncBaseTransport, site: Site) -> None:
        self._inner = inner
        self._table = [(compile_path(o.path)[0], o) for o in operations(site)]

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._inner.handle_async_request(request)
        await response.aread()
        method = "GET" if request.method == "HEAD" else request.method
        path = request.url.path
        mine = [o for regex, o in self._table if o.method == method and regex.match(path)]
        if mine and request.method != "HEAD":
            check(mine[0], response.status_code, response.headers, response.content)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


def check(operation: Operation, status: int, headers: httpx.Headers, content: bytes) -> None:
    """Raises AssertionError, or pydantic's own error, which says where."""
    kind = headers.get("content-type", "").partition(";")[0]
    at = f"{operation.method} {operation.path} answered {status}"
    background = operation.body is not None and issubclass(operation.body, Wish)
    if status == 202 and background and "location" in headers:
        model: Any = answers.Begun
    elif status in operation.statuses:
        model = operation.answer
    else:
        allowed = {*ALWAYS, *WITH_BODY, *operation.problems}
        assert status in allowed, f"{at}, which is not described: {content[:300]!r}"
        assert kind == PROBLEM, at
        model = answers.Problem
    if isinstance(model, str) or kind in operation.also:
        assert kind in (model, *operation.also) or kind == "application/openmetrics-text", at
        return
    text = content.replace(b"\\ud800", b"?")  # half a character: no text, and yet a name
    adapter(model).validate_json(text, strict=True)


@cache
def adapter(model: Any) -> TypeAdapter[Any]:
    return TypeAdapter(model)
