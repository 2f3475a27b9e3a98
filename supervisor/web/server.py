"""The application, and a server for it inside our own event loop."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware

from supervisor import listen
from supervisor.accounts import SocketMode
from supervisor.config.forms import is_loopback
from supervisor.listen import ListenError
from supervisor.tls.certificates import Certificate, CertificateError
from supervisor.tls.encryption import plain
from supervisor.tls.handshakes import Handshakes

from . import shell, table
from .audited import Refusals, audited
from .errors import ERRORS
from .guard import Guard, rules
from .operations import Needs, routes_of
from .patient import Patient
from .site import Site

__all__ = ["ListenError", "Server", "Site", "application"]

log = logging.getLogger("ullage.web")

MOST_CONNECTIONS = 128  # a Prometheus, a page, a few commands; beyond that comes a 503
GRACE = 1  # seconds for answers under way when we stop
STOP = 2.5  # seconds after which the rest is not waited for


def application(site: Site) -> Starlette:
    """Every route behind the guard."""
    operations, audit = table.operations(site), site.loop.journal.audit
    needs = Needs(operations)
    routes = routes_of(audited(operation, audit) for operation in operations)
    allowed = rules(site.bound_host, site.allowed_hosts, site.callers, needs)
    app = Starlette(
        routes=[*shell.routes(site), *routes],
        exception_handlers=ERRORS,
        middleware=[
            Middleware(Refusals, audit=audit),
            Middleware(Guard, rules=allowed),
        ],
    )
    app.router.redirect_slashes = False
    return app


class _Embedded(uvicorn.Server):
    """uvicorn, without its hands on our signals. `up` is set when it accepts connections.

    `bound` is a further socket that speaks TLS, by the `certificate`.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        bound: socket.socket | None = None,
        certificate: Certificate | None = None,
    ) -> None:
        super().__init__(config)
        self.up = asyncio.Event()
        self._bound, self._certificate = bound, certificate
        self._encrypted: Handshakes | None = None

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._bound is not None and self._certificate is not None:
            self._encrypted = Handshakes(self._bound, self._protocol, self._certificate)
        self.up.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._encrypted is not None:
            self._encrypted.close()
        await super().shutdown(sockets)

    def _protocol(self) -> asyncio.Protocol:
        kind = cast(type[Patient], self.config.http_protocol_class)
        return kind(self.config, self.server_state, self.lifespan.state)


class Server:
    """Serves a site on a TCP port and, if given, on a unix socket. `start` and `stop` once each.

    With a `certificate` the port speaks TLS; the socket never does. `port` is the one that was
    had, which matters when 0 was asked for. Times in seconds.
    """

    def __init__(
        self,
        site: Site,
        host: str = "127.0.0.1",
        port: int = 8552,
        socket_path: Path | None = None,
        *,
        socket_mode: SocketMode = SocketMode.GROUP,
        socket_group: int | None = None,
        certificate: Certificate | None = None,
        head_timeout: float = Patient.head_timeout,
    ) -> None:
        self._site, self._host, self._socket_path = site, host, socket_path
        self._socket_mode, self._socket_group = socket_mode, socket_group
        self._certificate = certificate
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
        scheme = "http" if self._certificate is None else "https"
        return [f"{scheme}://{host}:{self.port}", *unix]

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
        others, encrypted = self._sockets, None
        if self._certificate is not None:
            encrypted, *others = self._sockets
        self._server = server = _Embedded(config, encrypted, self._certificate)
        self._task = asyncio.create_task(server.serve(others), name="http server")
        up = asyncio.create_task(server.up.wait(), name="http server is up")
        await asyncio.wait((self._task, up), return_when=asyncio.FIRST_COMPLETED)
        up.cancel()
        if self._certificate is None and not is_loopback(self._host):
            log.warning("the API: %s; %s", *plain(self._host, "listen"))
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
            if self._certificate is not None:
                self._certificate.load()
            self._sockets.append(listen.tcp(self._host, self.port))
            self.port = self._sockets[0].getsockname()[1]
            if self._socket_path is not None:
                self._sockets.append(
                    listen.unix(self._socket_path, self._socket_mode, self._socket_group)
                )
                self._bound = self._socket_path.lstat()
        except CertificateError as error:
            raise ListenError(f"cannot listen: listen.{error.about}: {error}") from None
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
