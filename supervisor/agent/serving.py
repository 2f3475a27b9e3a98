"""The agent's own API: HTTP over a Unix socket of this host, for commands, page and gateway."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from collectors.reading import Seconds
from supervisor import listen
from supervisor.accounts import SocketMode
from supervisor.fleet.checked import Checked

from .agent import Agent
from .backend import BackendError
from .told import Refused

LARGEST: Final = 64 * 1024  # bytes of a body
LONGEST: Final = 600.0  # seconds that a placement is waited for
STOP: Final = 2.5  # seconds in which answers under way come to an end
MANY: Final = 512  # connections at once


def application(agent: Agent) -> Starlette:
    async def fleet(request: Request) -> Response:
        return _json(agent.fleet())

    async def place(request: Request) -> Response:
        body = Checked(await _body(request), "the body")
        model, dry = body.text("model"), body.flag("dry", False)
        within, avoid = body.number_or_none("within"), body.texts("avoid")
        if within is not None and within > LONGEST:
            raise ValueError(f"within is {within:g}; it may be {LONGEST:g} seconds at most")
        seconds = None if within is None else Seconds(within)
        return _json(await agent.place(model, dry, seconds, avoid))

    async def drain(request: Request) -> Response:
        body = Checked(await _body(request), "the body")
        seconds = body.number("for", 0.0)
        return _json(await agent.drain(body.text("host"), seconds or None))

    async def undrain(request: Request) -> Response:
        host = request.query_params.get("host")
        if not host:
            raise ValueError("say which host: /drain?host=NAME")
        return _json(await agent.undrain(host))

    async def why(request: Request) -> Response:
        limit = request.query_params.get("limit", "20")
        if not (limit.isdecimal() and 0 < int(limit) <= 1000):
            raise ValueError(f"limit is {limit!r}; it has to be a number from 1 to 1000")
        model = request.query_params.get("model")
        return _json({"placements": agent.why(model, int(limit))})

    return Starlette(
        routes=[
            Route("/fleet", fleet),
            Route("/place", place, methods=["POST"]),
            Route("/drain", drain, methods=["POST"]),
            Route("/drain", undrain, methods=["DELETE"]),
            Route("/why", why),
        ],
        exception_handlers={
            Refused: lambda _, e: _json(e.body, e.status),
            BackendError: lambda _, e: _problem(e.status, e.code, e.detail),
            ValueError: lambda _, e: _problem(422, "wrong", str(e)),
            404: lambda r, _: _problem(404, "unknown", f"there is nothing at {r.url.path}"),
            405: lambda r, _: _problem(405, "wrong", f"{r.method} is not for {r.url.path}"),
        },
    )


async def _body(request: Request) -> Any:
    """Raises ValueError."""
    raw = b""
    async for part in request.stream():
        raw += part
        if len(raw) > LARGEST:
            raise ValueError(f"the body is longer than {LARGEST} bytes")
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        raise ValueError("the body is no JSON") from None


def _json(body: Any, status: int = 200) -> Response:
    return JSONResponse(body, status)


def _problem(status: int, code: str, detail: str) -> Response:
    return _json({"code": code, "detail": detail}, status)


class _Embedded(uvicorn.Server):
    """uvicorn, without its hands on our signals."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Server:
    """Serves an agent at `path`. Raises ListenError where somebody else does."""

    def __init__(self, agent: Agent, path: Path, mode: SocketMode, group: int | None) -> None:
        self._agent, self._path, self._mode, self._group = agent, path, mode, group
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        bound = listen.unix(self._path, self._mode, self._group)
        self._seen = os.lstat(self._path)
        self._server = _Embedded(
            uvicorn.Config(
                application(self._agent),
                lifespan="off",
                ws="none",
                log_config=None,
                log_level="critical",
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=1,
                limit_concurrency=MANY,
            )
        )
        self._bound = bound
        self._task = asyncio.create_task(self._server.serve([bound]), name="agent's server")

    async def stop(self) -> None:
        if self._task is None:
            return
        self._server.should_exit = True
        await asyncio.wait((self._task,), timeout=STOP)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._bound.close()
        if listen.same_file(self._path, self._seen):
            self._path.unlink(missing_ok=True)
