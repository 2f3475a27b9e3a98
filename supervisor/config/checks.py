"""Checks of the configuration that look at more than one key, or at a file that it names."""

from __future__ import annotations

import re
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path

from supervisor.accounts import GROUP, group_id
from supervisor.core.contradictions import contradictions as find
from supervisor.core.ladder import Rung
from supervisor.core.policy import Policy
from supervisor.core.snapshot import REMOTE
from supervisor.tls.authorities import read as read_certificates
from supervisor.tls.certificates import CERT, KEY, CertificateError, pair, read
from supervisor.units import format_duration, shown

from . import plain_file
from .engine import Engine
from .entrusted import CLOSING
from .forms import SECRET, SHORTEST_TOKEN, is_loopback, split_url
from .given import Given
from .served import LAUNCHED
from .settings import File, KeyPath

LONGEST_SECRET = 65536  # bytes of its file; what is beyond is not read
STARTED_HERE = frozenset(LAUNCHED) - {"kubernetes"}
MOST_TOKENS = 4  # that are good at once: two are enough to go from one to the next

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_ADVICE = "listen on 127.0.0.1, or set listen.token_file"


def engines(file: File, given: Given, kinds: frozenset[str]) -> dict[str, str | None]:
    """The key of each engine. Notes what is wrong with any of them."""
    keys: dict[str, str | None] = {}
    seen: dict[tuple[str, str, int, str], str] = {}
    for name, engine in file.engines.items():
        path: KeyPath = ("engines", name)
        if not _NAME.fullmatch(name):
            given.problem(path, "an engine's name is letters, digits, dots, dashes, underscores")
        if name == "v1":
            given.problem(path, "/engines/v1 is a path of the gateway's own; choose another name")
        if engine.kind is not None and engine.kind not in kinds:
            close = get_close_matches(engine.kind, kinds, 1)
            hint = f"did you mean {close[0]}?" if close else f"write {' or '.join(sorted(kinds))}"
            given.problem((*path, "kind"), f"{shown(engine.kind)} is no kind of engine; {hint}")
        elif written := given.keys((*path, "http")):
            if engine.kind != "http":
                given.problem((*path, "http"), 'needs kind = "http" in the table of its engine')
            for key, message in engine.http.mistakes(written):
                given.problem((*path, "http", key), message)
        keys[name] = _secret(given, (*path, "key"), engine.key, engine.key_file, SECRET.read)
        _service(engine, path, given)
        if REMOTE in engine.pools and engine.kind in STARTED_HERE:
            why = f"names {REMOTE}, and an engine of kind {engine.kind} starts its models here"
            given.problem((*path, "pools"), why)
        if engine.kind in LAUNCHED:
            continue  # its models have addresses of their own
        if engine.url is None:
            if not given.has((*path, "url")):  # else what is wrong with it has been said
                given.problem((*path, "url"), 'is missing; write it as "http://127.0.0.1:8080"')
            continue
        parts, host, port = split_url(engine.url)
        if not is_loopback(host) and not engine.allow_remote:
            given.problem(
                (*path, "url"),
                f"{shown(host)} is not this machine; if that is meant, set allow_remote = true,"
                ' and pools = ["remote"] where its models take no memory of this one',
            )
        host = "127.0.0.1" if host == "localhost" else host
        if (host, port) == (file.listen.host, file.listen.port):
            given.problem((*path, "url"), f"{shown(engine.url)} is where Ullage itself listens")
        twin = seen.setdefault((parts.scheme, host, port, parts.path), name)
        if twin != name:
            given.problem((*path, "url"), f"is the same as that of engine {twin}; leave one out")
    return keys


def _service(engine: Engine, path: KeyPath, given: Given) -> None:
    """What an engine as a whole runs in."""
    if engine.service_unit is not None and engine.service_container is not None:
        given.problem((*path, "service_unit"), "is given, and service_container too; give one")
    for key in ("service_unit", "service_container"):
        if getattr(engine, key) is not None and engine.kind in LAUNCHED:
            why = "is not for an engine whose models are started one by one; leave it out"
            given.problem((*path, key), why)
    named = engine.service_unit or engine.service_container
    stops = Rung.STOP in (engine.eviction_ladder or ())
    if stops and named is None and engine.kind not in LAUNCHED:
        why = "stop needs service_unit or service_container, the name of what is ended"
        given.problem((*path, "eviction_ladder"), why)


def listening(file: File, given: Given) -> str | None:
    """The token. Notes what is wrong with it, and with listening beyond this machine without."""
    listen = file.listen
    token = _secret(given, ("listen", "token"), listen.token, listen.token_file, _token)
    wanted = given.has(("listen", "token")) or given.has(("listen", "token_file"))
    wanted |= any(CLOSING & set(t.scopes or ()) for t in listen.tokens.values())
    group = listen.socket_group
    if group is not None and group != GROUP and group_id(group) is None:
        right = f"there is no group {shown(group)} here; `groupadd` makes one, or leave it out"
        given.problem(("listen", "socket_group"), right)
    if not is_loopback(listen.host) and not wanted:
        given.problem(
            ("listen", "host"),
            f"{shown(listen.host)} can be reached from other machines, and there is no token;"
            f" {_ADVICE}",
        )
    return token


def certificates(file: File, given: Given, anew: bool) -> None:
    """Both files or none of them; read `anew`, for one that is bad later is no mistake of who
    changes something else."""
    for table, listens in ((file.listen, "listen"), (file.gateway, "gateway")):
        for missing, there in ((CERT, KEY), (KEY, CERT)):
            said = given.has((listens, there)) and getattr(table, there) is not None
            if said and not given.has((listens, missing)):
                given.problem((listens, missing), f"is missing: {listens}.{there} is given")
        files = pair(table.tls_cert, table.tls_key)
        if files is not None and anew:
            try:
                read(files)
            except CertificateError as error:
                given.problem((listens, error.about), str(error))


def pools(file: File, given: Given) -> None:
    for name, pool in file.pools.items():
        path: KeyPath = ("pools", name)
        if pool.reserve is not None and pool.reserve.fraction >= 1:
            given.problem((*path, "reserve"), "all of the pool leaves nothing for any model")
        if pool.budget is not None and not pool.budget.size and not pool.budget.fraction:
            given.problem(
                (*path, "budget"), "0 would allow no model at all; for no budget, leave it out"
            )


def strangers(file: File, given: Given) -> None:
    for name, table in file.foreign.items():
        if not name.strip():
            given.problem(("foreign", name), 'is the name of no process; write [foreign."steam*"]')
        elif table.rule is None and not given.has(("foreign", name, "rule")):
            right = "is missing; write ignore, yield, refuse or alert"
            given.problem(("foreign", name, "rule"), right)


def timing(file: File, given: Given) -> None:
    if file.settle.step > file.settle.timeout:
        limit = format_duration(file.settle.timeout)
        given.problem(("settle", "step"), f"must not be longer than settle.timeout, {limit}")
    if file.holders_interval < file.sample_interval:
        least = format_duration(file.sample_interval)
        given.problem(("holders_interval",), f"must not be shorter than sample_interval, {least}")


def single(file: File, given: Given) -> bool:
    """At most one model at once? It has two names."""
    both = given.has(("single_active_backend",)) and given.has(("single_model_mode",))
    if both and file.single_active_backend != file.single_model_mode:
        given.problem(
            ("single_model_mode",),
            "differs from single_active_backend, which is the same setting; give one of them",
        )
    return file.single_active_backend or file.single_model_mode


def contradictions(policy: Policy, given: Given) -> None:
    """What cannot both be meant."""
    for path, message in find(policy):
        if path == ("single_active_backend",) and not given.has(path):
            path = ("single_model_mode",)
        given.problem(path, message)


def groups(file: File, given: Given) -> None:
    for name, group in file.groups.items():
        if group.models is None and not given.has(("groups", name, "models")):
            given.problem(("groups", name, "models"), 'is missing; write it as ["a", "b"]')


def read_token(file: Path) -> str:
    """A token that stands in a file. Raises ValueError: what is wrong with it."""
    return _token(_read_secret(file))


def read_tokens(file: Path) -> tuple[str, ...]:
    """Tokens that stand in a file, one a line. Raises ValueError: what is wrong with one."""
    lines = _read_secret(file).split("\n")
    found = []
    for number, line in enumerate(map(str.strip, lines), start=1):
        try:
            if line or number == 1:
                found.append(_token(line))
        except ValueError as error:
            where = f"line {number} of {shown(str(file))} " if len(lines) > 1 else ""
            raise ValueError(f"{where}{error}") from None
    if len(found) > MOST_TOKENS:
        raise ValueError(f"{shown(str(file))} has {len(found)} tokens; {MOST_TOKENS} at most")
    return tuple(found)


def read_authorities(file: Path) -> str:
    """Certificates that stand in a file. Raises ValueError: what is wrong with it."""
    try:
        return read_certificates(file)
    except CertificateError as error:
        raise ValueError(str(error)) from None


def _token(value: str) -> str:
    token: str = SECRET.read(value)
    if len(token) < SHORTEST_TOKEN:
        raise ValueError(
            f"has {len(token)} characters; use at least {SHORTEST_TOKEN}, as `openssl rand -hex 32`"
        )
    return token


def _secret(
    given: Given,
    path: KeyPath,
    value: str | None,
    file: Path | None,
    check: Callable[[str], str],
) -> str | None:
    """A secret that is given as itself or in a file."""
    if value is not None and file is not None:
        given.problem(path, f"is given, and {path[-1]}_file too; give one of them")
        return None
    try:
        if value is not None:
            return check(value)
        if file is not None:
            path = (*path[:-1], f"{path[-1]}_file")
            return check(_read_secret(file))
    except ValueError as error:
        given.problem(path, str(error))
    return None


def _read_secret(file: Path) -> str:
    name = shown(str(file))
    try:
        found = plain_file.read(file, LONGEST_SECRET)
    except plain_file.NotPlain:
        raise ValueError(f"{name} is no plain file; put the secret into one") from None
    except OSError as error:
        raise ValueError(f"{name} cannot be read: {plain_file.why(file, error)}") from None
    if found.is_open:
        raise ValueError(f"{name} is open to everybody; chmod 640 it")
    return found.content.decode("utf-8", "replace").strip()
