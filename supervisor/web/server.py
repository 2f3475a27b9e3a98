"""The application, and a server for it inside our own event loop."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware

from supervisor import listen
from supervisor.listen import ListenError

from . import shell, table
from .errors import ERRORS
from .guard import Guard, rules
from .patient import Patient
from .site import Site

__all__ = ["ListenError", "Server", "Site", "application"]

MOST_CONNECTIONS = 128  # a Prometheus, a page, a few commands; beyond that comes a 503
GRACE = 1  # seconds for answers under way when we stop
STOP = 2.5  # seconds after which the rest is not waited for


def application(site: Site) -> Starlette:
    """Every route behind the guard."""
    allowed = rules(site.bound_host, site.allowed_hosts, site.token)
    app = Starlette(
        routes=[*shell.routes(site), *table.routes(site)],
        exception_handlers=ERRORS,
        middleware=[Middleware(Guard, rules=allowed)],
    )
    app.router.redirect_slashes = False
    return app


class _Embedded(uvicorn.Server):
    """uvicorn, without its hands on our signals. `up` is set when it accepts connections."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()


class Server:
    """Serves a site on a TCP port and, if given, on a unix socket. `start` and `stop` once each.

    `port` is the one that was had, which matters when 0 was asked for. Times in seconds.
    """

    def __init__(
        self,
        site: Site,
        host: str = "127.0.0.1",
        port: int = 8552,
        socket_path: Path | None = None,
        *,
        head_timeout: float = Patient.head_timeout,
    ) -> None:
        self._site, self._host, self._socket_path = site, host, socket_path
        self._head_timeout = head_timeout
        self.port = port
        self._sockets: list[socket.socket] = []
        self._bound: os.stat_result | None = None
        self._server: _Embedded | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def addresses(self) -> list[str]:
        """Where it listens, for people."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        unix = [] if self._socket_path is None else [f"unix:{self._socket_path}"]
        return [f"http://{host}:{self.port}", *unix]

    async def start(self) -> None:
        """Returns once connections are accepted. Raises ListenError; then nothing is open."""
        self._bind()
        protocol = type("Patient", (Patient,), {"head_timeout": self._head_timeout})
        config = uvicorn.Config(
            application(self._site),
            http=protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",  # the guard logs what fails; hanging up on a client is no error
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=GRACE,
            limit_concurrency=MOST_CONNECTIONS,
        )
        self._server = server = _Embedded(config)
        self._task = asyncio.create_task(server.serve(self._sockets), name="http server")
        up = asyncio.create_task(server.up.wait(), name="http server is up")
        await asyncio.wait((self._task, up), return_when=asyncio.FIRST_COMPLETED)
        up.cancel()
        if self._task.done():
            self._close()
            await self._task  # raises what went wrong

    async def stop(self) -> None:
        """Answers under way get a second, then they are cut short. At most 3 seconds in all."""
        if self._server is None or self._task is None:
            return
        self._server.should_exit = True
        await asyncio.wait((self._task,), timeout=STOP)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._close()

    def _bind(self) -> None:
        try:
            self._sockets.append(listen.tcp(self._host, self.port))
            self.port = self._sockets[0].getsockname()[1]
            if self._socket_path is not None:
                self._sockets.append(listen.unix(self._socket_path))
                self._bound = self._socket_path.lstat()
        except ListenError:
            self._close()
            raise

    def _close(self) -> None:
        for each in self._sockets:
            each.close()
        self._sockets.clear()
        path, seen = self._socket_path, self._bound
        if path is not None and seen is not None and listen.same_file(path, seen):
            path.unlink(missing_ok=True)
