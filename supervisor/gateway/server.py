"""The gateway's listener: its sockets, its beginning and its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import selectors
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from supervisor import listen
from supervisor.config.fleet import FleetConfig
from supervisor.config.gated import TokenConfig
from supervisor.core.snapshot import ModelRef
from supervisor.listen import ListenError
from supervisor.telemetry.otlp import Sender
from supervisor.tls.authorities import trusting
from supervisor.tls.certificates import Certificate, CertificateError
from supervisor.tls.encryption import plain
from supervisor.tls.handshakes import Handshakes

from .client import Client
from .connections import Connections
from .exchange import Exchange
from .gate import Entry, Gate
from .limits import Limits
from .roaming import Roaming
from .stages import Request

log = logging.getLogger("ullage.gateway")

BACKLOG = 2048  # connections that wait to be accepted: a thousand clients may come at once
LAST_ANSWERS = 1.0  # seconds for what is still to be said at the end
LET_IN = 0.5  # seconds in which those are let in at the end who have connected already
TURNS = 3  # of the loop, from when a connection is accepted to when its client is told of it


@dataclass(slots=True)
class Gateway:
    """Serves clients. `start` may be called again where the address could not be had; `fault` says
    why. `stop` once."""

    gate: Gate
    limits: Limits
    fault: str | None = None
    port: int = 0
    sender: Sender | None = None  # of traces
    certificate: Certificate | None = None  # with one the port speaks TLS; the socket never does
    fleet: FleetConfig = field(default_factory=FleetConfig)  # as configured
    clients: Connections = field(init=False)
    _servers: list[asyncio.Server | Handshakes] = field(default_factory=list)
    _sockets: list[socket.socket] = field(default_factory=list)
    _bound: os.stat_result | None = None

    def __post_init__(self) -> None:
        gate = self.gate
        self.clients = Connections(self._serve, self.limits, gate.admit, gate.fault)

    # -- the beginning and the end

    @property
    def addresses(self) -> list[str]:
        """Where it listens, for people."""
        config = self.gate.config
        if not self._servers:
            return []
        host = f"[{config.host}]" if ":" in config.host else config.host
        unix = [] if config.socket is None else [f"unix:{config.socket}"]
        scheme = "http" if self.certificate is None else "https"
        return [f"{scheme}://{host}:{self.port}", *unix]

    async def start(self) -> None:
        """Listen, unless it does already. What stands in the way is in `fault`, and in the log when
        it is new: the rest of the daemon is not to fall for it."""
        if self._servers or self.clients.closing:
            return
        if self.sender is not None:
            self.sender.start()
        try:
            await self._listen()
        except ListenError as error:
            if self.fault != str(error):
                log.error("the gateway does not listen: %s", error)
            self.fault = str(error)
            return
        self.fault = None
        log.info("the gateway listens on %s", ", ".join(self.addresses))
        if self.certificate is None and self.gate.config.exposed:
            log.warning("the gateway: %s; %s", *plain(self.gate.config.host, "gateway"))

    async def _listen(self) -> None:
        config, loop = self.gate.config, asyncio.get_running_loop()
        sockets: list[socket.socket] = []
        try:
            if self.certificate is not None:
                self.certificate.load()
            sockets.append(listen.tcp(config.host, config.port))
            if config.socket is not None:
                sockets.append(listen.unix(config.socket))
        except CertificateError as error:
            raise ListenError(f"gateway.{error.about}: {error}") from None
        except ListenError:
            for each in sockets:
                each.close()
            raise
        self.port = sockets[0].getsockname()[1]
        self._bound = None if config.socket is None else config.socket.lstat()
        made, self._sockets = self.clients, sockets
        if self.certificate is not None:
            self._servers.append(Handshakes(sockets[0], made, self.certificate))
        else:
            self._servers.append(await loop.create_server(made, sock=sockets[0], backlog=BACKLOG))
        for each in sockets[1:]:
            self._servers.append(await loop.create_unix_server(made, sock=each, backlog=BACKLOG))

    async def stop(self, within: float) -> None:
        """Nobody new comes in, nobody is held any longer; answers under way may take `within`
        seconds, and end with an error then."""
        await self._close()
        self.clients.close()
        self.gate.admission.stop()
        if self.gate.fleet is not None:
            self.gate.fleet.stop()
        await self._emptied(within)
        for exchange in list(self.gate.under_way):
            exchange.abandon()
        await self._emptied(LAST_ANSWERS)
        self.clients.abort()
        self.gate.links.close()
        if self.sender is not None:
            await asyncio.to_thread(self.sender.close)
        path, seen = self.gate.config.socket, self._bound
        if path is not None and seen is not None and listen.same_file(path, seen):
            path.unlink(missing_ok=True)

    async def _close(self) -> None:
        """Closes the listeners when nobody waits to be accepted: a queue that is closed with
        somebody in it resets them, and they are never told why."""
        loop, quiet = asyncio.get_running_loop(), 0
        until = loop.time() + LET_IN
        with selectors.DefaultSelector() as waiting:
            for each in self._sockets:
                waiting.register(each, selectors.EVENT_READ)
            while self._sockets and loop.time() < until:
                quiet = 0 if waiting.select(0) else quiet + 1
                if quiet > TURNS:
                    break
                await asyncio.sleep(0)
        self._sockets = []
        for server in self._servers:
            server.close()
        for _ in range(TURNS):
            await asyncio.sleep(0)

    async def _emptied(self, within: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self.clients.emptied()

    # -- who may come

    def admits(self, tokens: Iterable[TokenConfig]) -> None:
        """These tokens from now on. What is under way with another ends."""
        if self.gate.tokens.take(tokens):
            for exchange in list(self.gate.under_way):
                exchange.revoke()

    def in_fleet(self, fleet: FleetConfig) -> None:
        """These tokens and certificates of other hosts are good from now on."""
        self.gate.marks.take(fleet.tokens)
        before, self.fleet = self.fleet, replace(self.fleet, tokens=fleet.tokens, ca=fleet.ca)
        if fleet.ca != before.ca:
            self.gate.links.trusts(None if fleet.ca is None else trusting(fleet.ca))

    # -- what is served

    def _serve(self, client: Client, request: Request) -> None:
        gate = self.gate
        entry = gate.entry(client, request.head)
        if not isinstance(entry, Entry):
            client.answer(entry)
            return
        exchange = (Roaming if entry.roams else Exchange)(gate, client, request, entry)
        gate.under_way.add(exchange)
        exchange.begin()

    # -- what it is doing at this moment

    def in_flight(self) -> Mapping[ModelRef, int]:
        return self.gate.loop.traffic.flying

    def held(self) -> Iterable[tuple[ModelRef, int, float]]:
        yield from self.gate.admission.held()
        if self.gate.fleet is not None:
            yield from self.gate.fleet.told()

    def connections(self) -> Mapping[str, int]:
        links = self.gate.links
        idle = sum(map(len, links.idle.values()))
        open = {"clients": len(self.clients.open), "engines": len(links.open) - idle}
        return open | {"idle": idle}

    def traces(self) -> tuple[int, int] | None:
        return None if self.sender is None else (self.sender.sent, self.sender.lost)
