"""Reads the gateway's table: a frozen value, and a note for each mistake in it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from supervisor.units import format_duration, format_size, shown

from . import gated
from .checks import read_token
from .entrusted import GATEWAY
from .forms import is_loopback, split_url
from .gated import ANY_ORIGIN, GatewayConfig, TokenConfig
from .given import Given
from .settings import File, KeyPath

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_EVERYWHERE = frozenset({"0.0.0.0", "::"})
_OWN = ("allowed_hosts", "max_bodies", "aliases", "tokens")


def read(file: File, given: Given) -> GatewayConfig:
    """What the gateway is to do. Notes what is wrong, all of it."""
    table = file.gateway
    tokens = tuple(_tokens(table, given))
    if table.enabled:
        _address(file, given)
        _engines(file, given)
    _sizes_and_times(table, given)
    if ANY_ORIGIN in table.cors_origins and not _asks(file):
        given.problem(
            ("gateway", "cors_origins"),
            f'"{ANY_ORIGIN}" lets every page that a browser here opens use the models; name the'
            " sites, or make a token: `ullage token NAME`",
        )
    names = {n: getattr(table, n) for n in gated.Gateway.model_fields if n not in _OWN}
    hosts = dict.fromkeys((*file.listen.allowed_hosts, *table.allowed_hosts))
    return GatewayConfig(
        **names,
        allowed_hosts=tuple(hosts),
        max_bodies=max(table.max_bodies, table.max_body),
        aliases=MappingProxyType(_aliases(file, given)),
        tokens=tokens,
    )


def _tokens(table: gated.Gateway, given: Given) -> Iterator[TokenConfig]:
    seen: dict[bytes, str] = {}
    for name, token in table.tokens.items():
        path: KeyPath = ("gateway", "tokens", name)
        if not NAME.fullmatch(name):
            given.problem(path, "a token's name is letters, digits, dots, dashes, underscores")
        digest = digest_of(token, path, given, "ullage token NAME")
        if digest is None:
            continue
        twin = seen.setdefault(digest, name)
        if twin != name:
            given.problem(path, f"is the same token as {twin}; make one of its own for each")
        yield TokenConfig(
            name,
            digest,
            token.models,
            token.engines,
            token.max_in_flight,
            token.per_minute,
            token.priority,
            token.expires,
        )


def _asks(file: File) -> bool:
    """Whether it asks for a token."""
    known = file.listen.tokens.values()
    return bool(file.gateway.tokens) or any(GATEWAY in (t.scopes or ()) for t in known)


class _Kept(Protocol):
    """A table that knows a token, in a file or by its digest."""

    token_file: Path | None
    sha256: bytes | None


def digest_of(token: _Kept, path: KeyPath, given: Given, makes: str) -> bytes | None:
    """Its SHA-256. None: what is wrong has been noted. `makes` is the command that makes one."""
    said = given.keys(path)
    if {"sha256", "token_file"} <= said:
        given.problem((*path, "sha256"), "is given, and token_file too; give one of them")
    elif token.token_file is not None:
        try:
            return sha256(read_token(token.token_file).encode()).digest()
        except ValueError as error:
            given.problem((*path, "token_file"), str(error))
    elif not said & {"sha256", "token_file"}:
        right = f"is missing, or token_file; `{makes}` makes a token and this line"
        given.problem((*path, "sha256"), right)
    return token.sha256


def _address(file: File, given: Given) -> None:
    """Who can reach it, and whether the port can be its own."""
    table, listen = file.gateway, file.listen
    if not is_loopback(table.host) and not _asks(file) and not table.allow_anyone:
        given.problem(
            ("gateway", "host"),
            f"{shown(table.host)} can be reached from other machines, and there is no token; listen"
            " on 127.0.0.1, make one (`ullage token NAME`), or set gateway.allow_anyone = true",
        )
    if table.port and table.port == listen.port and overlap(table.host, listen.host):
        given.problem(
            ("gateway", "port"), "is listen.port too, where Ullage itself answers; give another"
        )
    if table.socket is not None and table.socket == listen.socket:
        given.problem(("gateway", "socket"), "is listen.socket too; give another")


def _engines(file: File, given: Given) -> None:
    """An engine that is asked at the gateway's own address would be asked for ever."""
    table = file.gateway
    for name, engine in file.engines.items():
        said: list[tuple[KeyPath, str | None]] = [(("engines", name, "url"), engine.url)]
        for model, served in engine.served.items():
            said.append((("engines", name, "served", model, "url"), served.url))
        for path, url in said:
            _, host, port = split_url(url) if url else (None, "", 0)
            if port and port == table.port and overlap(host, table.host):
                given.problem(
                    path,
                    f"{shown(url)} is where the gateway listens; say where the engine itself does,"
                    " or change gateway.port (`ullage adopt` explains)",
                )


def overlap(one: str, other: str) -> bool:
    """May both be the same address of this machine?"""
    a, b = ("127.0.0.1" if host == "localhost" else host.lower() for host in (one, other))
    return a == b or bool({a, b} & _EVERYWHERE)


def _sizes_and_times(table: gated.Gateway, given: Given) -> None:
    if table.max_body < 1024:
        given.problem(("gateway", "max_body"), "is too small for any request; the least is 1KiB")
    if table.max_bodies < table.max_body and given.has(("gateway", "max_bodies")):
        least = format_size(table.max_body)
        given.problem(("gateway", "max_bodies"), f"must not be less than max_body, {least}")
    if table.max_held_per_client > table.max_held and given.has(("gateway", "max_held_per_client")):
        most = f"must not be more than max_held, {table.max_held}"
        given.problem(("gateway", "max_held_per_client"), most)
    if table.drain_after > table.max_wait and given.has(("gateway", "drain_after")):
        most = format_duration(table.max_wait)
        why = f"comes after max_wait, {most}, when nobody waits any more"
        given.problem(("gateway", "drain_after"), why)


def _aliases(file: File, given: Given) -> dict[str, tuple[str, ...]]:
    """Each alias with the models that it leads to in the end, in their order."""
    aliases, known = file.gateway.aliases, {*file.models}
    for name, engine in file.engines.items():
        served = (*engine.served, *(f"{name}/{model}" for model in engine.served))
        known |= set(served)
    found: dict[str, tuple[str, ...]] = {}
    circles: set[frozenset[str]] = set()
    for alias in aliases:
        path: KeyPath = ("gateway", "aliases", alias)
        ends, circle = _ends(aliases, (alias,))
        if circle:
            if frozenset(circle) not in circles:
                circles.add(frozenset(circle))
                first = circle.index(min(circle))
                way = (*circle[first:], *circle[:first], circle[first])
                at = ("gateway", "aliases", circle[first])
                given.problem(at, f"leads back to itself: {' → '.join(way)}")
            continue
        engine_of = alias.partition("/")[0]
        if alias in known or ("/" in alias and engine_of in file.engines):
            given.problem(path, "is a model's own name, which it would hide; choose another")
        found[alias] = tuple(dict.fromkeys(ends))
    return found


def _ends(
    aliases: Mapping[str, tuple[str, ...]], way: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Where the last name of `way` leads, and the circle in it, if there is one."""
    ends: tuple[str, ...] = ()
    for name in aliases[way[-1]]:
        if name in way:
            return (), way[way.index(name) :]
        if name not in aliases:
            ends += (name,)
            continue
        more, circle = _ends(aliases, (*way, name))
        if circle:
            return (), circle
        ends += more
    return ends, ()
