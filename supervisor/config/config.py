"""The configuration: one frozen value, or every mistake at once."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

from collectors.reading import RAM, PoolId, PoolKind, Seconds
from supervisor.accounts import SocketMode
from supervisor.core.policy import (
    ACCELERATOR_RESERVE,
    HOST_RESERVE,
    EnginePolicy,
    ModelPolicy,
    Policy,
    PoolPolicy,
    Scope,
)
from supervisor.core.record import Mode
from supervisor.core.snapshot import EngineId

from . import (
    alerted,
    alerted_checks,
    bounds,
    checks,
    forms,
    gated,
    gated_checks,
    pressures,
    retained,
    scopes,
    settings,
)
from .engine import Engine
from .entrusted import Entrusted, guests, shown_tokens
from .entrusted_checks import entrusted
from .fleet import FleetConfig, placed, shown_fleet
from .fleet import read as read_fleet
from .forms import AMOUNT, POOLS
from .given import (
    RIVALS,
    ConfigError,
    Given,
    Problem,
    Stamp,
    default_state_dir,
    gather,
    lay_overrides,
    usual_places,
)
from .launches import launches
from .logged import LogFormat, LogLevel, Telemetry
from .logged import check as check_telemetry
from .mistakes import read_tables
from .served import LAUNCHED, Launching
from .settings import SETTINGS, KeyPath, Setting, dotted
from .spans import shown_spans
from .table import Table, form_of

__all__ = [
    "SETTINGS",
    "Config",
    "ConfigError",
    "EngineConfig",
    "LogFormat",
    "LogLevel",
    "Problem",
    "Setting",
    "default_state_dir",
    "effective",
    "load",
    "usual_places",
]


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """An engine that the operator named. `kind` None: find out what answers at `url`."""

    id: EngineId
    kind: str | None
    url: str
    key: str | None = field(default=None, repr=False)
    service: tuple[str, str] | None = None  # "systemd" or "container", and its name there
    options: Any = field(default=None, repr=False)  # its own table, where its kind has one


@dataclass(frozen=True, slots=True)
class Config:
    """Everything the operator may decide, checked. Times in seconds.

    `socket` is served in addition to the port. `allowed_hosts` are further names of this
    machine that a client may use. `sources` says of each key whence it is: "default",
    "file PATH", "environment NAME", "flag --name" or "override". `again` makes it anew, from what
    was read then, with overrides on top: texts by dotted key. `reread` reads that file anew, or
    looks for one where there was none. Both raise as `load` does. `looked` is the file, or where
    one was looked for; `stamp` is the file's when it was read; `place` says where a key stands in
    it.
    """

    mode: Mode
    policy: Policy
    engines: tuple[EngineConfig, ...]
    detect: bool
    listen_host: str
    listen_port: int
    socket: Path | None
    socket_group: str | None
    socket_mode: SocketMode
    token: str | None = field(repr=False)
    token_file: Path | None
    allowed_hosts: tuple[str, ...]
    tls_cert: Path | None
    tls_key: Path | None
    tokens: tuple[Entrusted, ...]
    gateway: gated.GatewayConfig
    alerts: alerted.AlertsConfig
    fleet: FleetConfig
    state_dir: Path
    sample_interval: Seconds
    holders_interval: Seconds
    lru_eviction_max_retries: int
    lru_eviction_retry_interval: Seconds
    settle: Seconds
    settle_step: Seconds
    log_level: LogLevel
    log_format: LogFormat
    telemetry: Telemetry
    sources: Mapping[str, str]
    again: Callable[[Mapping[str, str]], Config] = field(repr=False, compare=False)
    reread: Callable[[], Config] = field(repr=False, compare=False)
    tables: settings.File = field(repr=False, compare=False)
    looked: tuple[Path, ...] = field(repr=False, compare=False)
    stamp: Stamp | None = field(repr=False, compare=False)
    place: Callable[[KeyPath], str] = field(repr=False, compare=False)


def load(
    path: Path | None,
    environ: Mapping[str, str],
    flags: Mapping[str, object],
    *,
    kinds: frozenset[str],
    places: Sequence[Path] | None = None,
) -> Config:
    """Flags over environment over file over defaults. Raises ConfigError with every mistake.

    `flags` by dotted key ("listen.port"), None: not given. `kinds` are the engines there are.
    `places` stand for the usual ones, where a file is looked for when none is named.
    """
    environ = dict(environ)
    read = gather(path, environ, flags, places)
    if path is None and read.stamp is not None:
        (path,) = read.looked
    reread = partial(load, path, environ, flags, kinds=kinds, places=places)
    return _settled(read, environ, kinds, reread, {}, anew=True)


def _settled(
    read: Given,
    environ: Mapping[str, str],
    kinds: frozenset[str],
    reread: Callable[[], Config],
    overrides: Mapping[str, str],
    anew: bool = False,
) -> Config:
    """What was read, with `overrides` on top. Certificates are looked at when it is read `anew`."""
    given = copy.deepcopy(read)
    lay_overrides(given, overrides)
    file = read_tables(given)
    engines = checks.engines(file, given, kinds)
    launches(file, given, kinds)
    token = checks.listening(file, given)
    gateway = gated_checks.read(file, given)
    alerts = alerted_checks.read(file, given)
    fleet = read_fleet(file, given, checks.read_tokens, checks.read_authorities)
    tokens = entrusted(file, given, token, gateway.tokens)
    checks.pools(file, given)
    checks.timing(file, given)
    check_telemetry(file.telemetry, given)
    retained.check(file, given)
    checks.groups(file, given)
    checks.strangers(file, given)
    checks.certificates(file, given, anew)
    single = checks.single(file, given)
    policy = _policy(file, given, single)
    checks.contradictions(policy, given)
    if given.problems:
        raise ConfigError(given.problems)
    sources = {s.key: "default" for s in SETTINGS if s.env is not None}
    sources |= {dotted(p): whence for p, whence in given.sources.items()}
    for key, rival in RIVALS.items():
        if not given.has(key):
            sources[dotted(key)] = sources[dotted(rival)]
    state_dir = file.state_dir
    if state_dir is None:
        state_dir, sources["state_dir"] = default_state_dir(environ, root=os.geteuid() == 0)
    return Config(
        mode=file.mode,
        policy=policy,
        engines=tuple(
            EngineConfig(EngineId(e), t.kind, t.url or "", engines[e], _service(t), _options(t))
            for e, t in file.engines.items()
        ),
        detect=file.detect,
        listen_host=file.listen.host,
        listen_port=file.listen.port,
        socket=file.listen.socket,
        socket_group=file.listen.socket_group,
        socket_mode=file.listen.socket_mode,
        token=token,
        token_file=file.listen.token_file,
        allowed_hosts=file.listen.allowed_hosts,
        tls_cert=file.listen.tls_cert,
        tls_key=file.listen.tls_key,
        tokens=tokens,
        gateway=replace(gateway, guests=guests(tokens)),
        alerts=alerts,
        fleet=replace(fleet, socket=placed(file.fleet.socket, file.listen.socket, state_dir)),
        state_dir=state_dir,
        sample_interval=file.sample_interval,
        holders_interval=file.holders_interval,
        lru_eviction_max_retries=file.lru_eviction_max_retries,
        lru_eviction_retry_interval=file.lru_eviction_retry_interval,
        settle=file.settle.timeout,
        settle_step=file.settle.step,
        log_level=file.log_level,
        log_format=file.log_format,
        telemetry=file.telemetry,
        sources=sources,
        again=partial(_settled, read, environ, kinds, reread),
        reread=reread,
        tables=file,
        looked=read.looked,
        stamp=read.stamp,
        place=given.place,
    )


def effective(config: Config) -> list[tuple[str, str, str]]:
    """Every setting as it counts, after all merging: key, value, whence. No secrets."""
    rows = []
    for s in SETTINGS:
        if s.at is not None:
            text = s.form.show(attrgetter(s.at)(config))
            rows.append((s.key, text, config.sources.get(s.key, "default")))

    def row(path: KeyPath, text: str) -> None:
        key = dotted(path)
        inner = (s for k, s in config.sources.items() if k.startswith(f"{key}."))  # of a table
        rows.append((key, text, config.sources.get(key) or next(inner, "default")))

    policy = config.policy
    for pool in sorted({RAM, *policy.pools}):
        own = policy.pools.get(pool, PoolPolicy())
        kind = PoolKind.HOST if pool == RAM else PoolKind.DEDICATED
        default = HOST_RESERVE if kind is PoolKind.HOST else ACCELERATOR_RESERVE
        row(("pools", pool, "reserve"), AMOUNT.show(own.reserve or default))
        row(("pools", pool, "budget"), AMOUNT.show(own.budget))
        for name, text in (*bounds.shown_pool(own), *pressures.shown_pool(own)):
            row(("pools", pool, name), text)
    for names, text in (*bounds.shown_host(policy), *pressures.shown_host(policy)):
        row(names, text)
    if config.token_file is not None:
        row(("listen", "token_file"), str(config.token_file))
    for names, text in (*shown_tokens(config.tokens), *shown_fleet(config.fleet)):
        row(names, text)
    for names, text in shown_spans(config.tables.fleet.spans):
        row(names, text)
    for names, text in gated.shown_tokens(config.gateway):
        row(("gateway", *names), text)
    for names, text in alerted.shown_actions(config.alerts):
        row(("alerts", *names), text)
    for engine in config.engines:
        path = ("engines", engine.id)
        if engine.url:
            row((*path, "url"), engine.url)
        row((*path, "kind"), engine.kind or "none")
        row((*path, "key"), "not set" if engine.key is None else "set")
        if isinstance(engine.options, Launching):
            for names, text in _launched(engine.options):
                row((*path, *names), text)
        else:
            for name, text in _written(engine.options):
                row((*path, engine.kind or "", name), text)
        scope = policy.engines[engine.id]
        if scope.max_active is not None:
            row((*path, "max_active_backends"), str(scope.max_active))
        if scope.pools:
            row((*path, "pools"), POOLS.show(scope.pools))
        if engine.service is not None:
            starter, named = engine.service
            key = "service_unit" if starter == "systemd" else "service_container"
            row((*path, key), named)
        for names, text in _of_scope(scope):
            row((*path, *names), text)
    for model, wish in sorted(policy.models.items()):
        row(("models", model, "pinned"), "true" if wish.pinned else "false")
        if wish.memory is not None:
            row(("models", model, "memory"), AMOUNT.show(wish.memory))
        for names, text in _of_scope(wish):
            row(("models", model, *names), text)
    return rows


def _written(table: object) -> list[tuple[str, str]]:
    """What is said in a table of one kind of engine, without what is usual."""
    if not isinstance(table, Table):
        return []
    names = [name for name in type(table).model_fields if name in table.model_fields_set]
    forms = [(name, form_of(type(table), name)) for name in names]
    return [(n, form.show(getattr(table, n))) for n, form in forms if form is not None]


def _launched(engine: Launching) -> Iterator[tuple[KeyPath, str]]:
    """What is said of how models are started: of all of them, and of each."""
    own = Launching.model_fields.keys()
    yield from (((name,), text) for name, text in _written(engine) if name in own)
    for model, served in engine.served.items():
        yield from ((("served", model, name), text) for name, text in _written(served))


def _service(engine: Engine) -> tuple[str, str] | None:
    found = {"systemd": engine.service_unit, "container": engine.service_container}
    return next(((kind, name) for kind, name in found.items() if name is not None), None)


def _options(engine: Engine) -> Table | None:
    """What its adapter is told, beyond its address."""
    return engine if engine.kind in LAUNCHED else engine.http if engine.kind == "http" else None


def _of_scope(scope: Scope) -> Iterator[tuple[KeyPath, str]]:
    """What is said of an engine or a model."""
    if scope.ladder is not None:
        yield ("eviction_ladder",), forms.LADDER.show(scope.ladder)
    if scope.force_when_busy is not None:
        yield ("force_eviction_when_busy",), forms.SWITCH.show(scope.force_when_busy)
    own = {name: form_of(scopes.Scope, name) for name in bounds.NAMES}
    yield from bounds.shown_scope(scope, {name: form for name, form in own.items() if form})
    yield from retained.shown_scope(scope)
    said = pressures.shown_watchdog(scope.watchdog)
    yield from ((("watchdog", name), text) for name, text in said)


def _pool(table: settings.Pool) -> PoolPolicy:
    said = bounds.of_pool(table) | pressures.of_pool(table)
    return PoolPolicy(table.reserve, table.budget, **said)


def _policy(file: settings.File, given: Given, single: bool) -> Policy:
    parts = {t.model: t for t in file.fleet.spans.values() if t.model is not None}
    return Policy(
        pools={PoolId(p): _pool(t) for p, t in file.pools.items()},
        engines={
            EngineId(e): EnginePolicy(
                watchdog=scopes.watchdog(t.watchdog),
                ladder=t.eviction_ladder,
                force_when_busy=t.force_eviction_when_busy,
                max_active=t.max_active_backends,
                pools=t.pools,
                **retained.of_scope(t),
                **bounds.of_scope(t),
            )
            for e, t in file.engines.items()
        },
        models={
            m: ModelPolicy(
                watchdog=scopes.watchdog(t.watchdog),
                ladder=t.eviction_ladder,
                force_when_busy=t.force_eviction_when_busy,
                pinned=t.pinned,
                **retained.of_scope(t),
                memory=t.memory or (parts[m].memory if m in parts else None),
                part=m in parts,
                spans=m in parts and parts[m].leads,
                **bounds.of_scope(t),
            )
            for m, t in ({m: settings.Model() for m in parts} | file.models).items()
        },
        max_active=file.max_active_backends,
        single=single,
        watchdog=scopes.watchdog(file.watchdog),
        force_when_busy=file.force_eviction_when_busy,
        ladder=file.eviction_ladder,
        ranking=file.ranking,
        prefetch=file.prefetch,
        grace=file.relief_grace,
        **retained.of_scope(file),
        restore_margin=file.restore_margin,
        **bounds.of_host(file),
        **pressures.of_host(file),
    )
