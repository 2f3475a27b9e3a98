"""Puts an agent together by the configuration, and runs it until it is told to end."""

from __future__ import annotations

import asyncio
import logging
import signal
from dataclasses import dataclass
from functools import partial

from collectors.process import list_commands
from supervisor.accounts import group_id
from supervisor.config.config import Config
from supervisor.extras import needs
from supervisor.fleet.decided import Rules
from supervisor.fleet.hosts import HostId
from supervisor.fleet.liveness import Delays

from . import safety, seen
from .agent import Agent, Terms
from .backend import Backend, BackendError
from .bridge import Bridge
from .link import NAME, Examine, Link
from .serving import Server
from .single import Single

log = logging.getLogger("ullage.fleet")

PORT_ANYWHERE = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Given:
    """What is said on the command line. `node_ip`: of which of Ray's nodes on this machine."""

    alone: bool = False
    node_ip: str | None = None


def daemon_of(config: Config) -> str:
    """Where this host's daemon answers: its socket, else its port."""
    if config.socket is not None:
        return f"unix:{config.socket}"
    anywhere = config.listen_host in ("0.0.0.0", "::")
    host = PORT_ANYWHERE if anywhere else config.listen_host
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if config.tls_cert else 'http'}://{shown}:{config.listen_port}"


def terms_of(config: Config) -> Terms:
    fleet = config.fleet
    return Terms(
        HostId(fleet.name),
        Delays(fleet.silent, fleet.lost),
        Rules(factor=fleet.factor, offers=fleet.offers),
        fleet.valid,
        aliases=config.gateway.aliases,
    )


def examiner(rules: safety.Rules, address: str, node_ip: str | None = None) -> Examine:
    """Looks at this machine's Ray before each attempt to join it: one that is not there yet, or
    whose head is not, would be waited for in vain, one that is open to strangers is not joined."""

    def look() -> None:
        if (version := seen.version()) is None:
            raise BackendError("refused", f"the agent {needs('fleet')}", 409)
        own = seen.processes(list_commands())
        facts = seen.facts(own=own) or safety.Facts(version=version)
        if found := safety.refusals(facts, rules):
            raise BackendError("refused", "; ".join(map(str, found)), 409)
        if not seen.has_node(own, node_ip):
            where = "" if node_ip is None else f" at {node_ip}"
            raise BackendError("absent", f"no node of Ray runs on this machine{where}")
        if seen.listens_at(address) is False:
            raise BackendError("absent", f"Ray's head does not answer at {address}")

    return partial(asyncio.to_thread, look)


def backend_of(config: Config, bridge: Bridge, given: Given) -> Backend:
    fleet = config.fleet
    if given.alone:
        return Single(fleet.name, bridge)
    token = None if config.token_file is None else str(config.token_file)
    told = {
        "host": fleet.name,
        "daemon": daemon_of(config),
        "token_file": token,
        "address": fleet.ray,
        "node_ip": given.node_ip,
        "patience": NAME,
        "require_token": fleet.require_token,
    }
    rules = safety.Rules(fleet.require_token, fleet.allow_outside)
    return Link(told, fleet.silent, examiner(rules, fleet.ray, given.node_ip))


async def serve(config: Config, given: Given) -> BackendError | None:
    """Until SIGTERM or SIGINT. What it gives back is why this host may not join at all. Raises
    ListenError where the agent's socket cannot be had."""
    token = None if config.token_file is None else str(config.token_file)
    bridge = Bridge(daemon_of(config), token)
    backend = backend_of(config, bridge, given)
    agent = Agent(terms_of(config), bridge, backend)
    group = None if config.socket_group is None else group_id(config.socket_group)
    server = Server(agent, config.fleet.socket, config.socket_mode, group)
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await server.start()
    try:
        await agent.start()
        log.info("the agent of %s answers at unix:%s", config.fleet.name, config.fleet.socket)
        refused = backend.refused if isinstance(backend, Link) else None
        if refused is not None:
            refused.add_done_callback(lambda _: ended.set())
        await ended.wait()
        return refused.result() if refused is not None and refused.done() else None
    finally:
        await agent.stop()
        await server.stop()
