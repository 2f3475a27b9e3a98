"""The gateway's part of the configuration: its table of the file, and what comes of it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field

from collectors.reading import Bytes, Seconds
from supervisor.units import shown

from . import bounds, forms
from .forms import Form
from .table import Table, form_of, setting

_DIGEST = re.compile(r"[0-9a-fA-F]{64}")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
ANY_ORIGIN = "*"


def _aliases(value: Any) -> dict[str, tuple[str, ...]]:
    right = 'write it as fast = "qwen3:8b", or "engine/model", or a list of them'
    if not isinstance(value, dict):
        raise ValueError(f"{shown(value)} is not a table of names; {right}")
    found = {}
    for alias, models in value.items():
        names = (models,) if not isinstance(models, list | tuple) else tuple(models)
        if not names:
            raise ValueError(f"{shown(alias)} stands for nobody; {right}")
        for name in (alias, *names):
            if not isinstance(name, str) or not name.strip() or not name.isprintable():
                raise ValueError(f"{shown(name)} is not the name of a model; {right}")
        found[alias] = tuple(dict.fromkeys(names))
    return found


def _aliases_from(text: str) -> object:
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    return {name.strip(): [m.strip() for m in models.split("|")] for name, _, models in pairs}


def _show_aliases(aliases: Mapping[str, tuple[str, ...]] | None) -> str:
    return ", ".join(f"{a}={'|'.join(m)}" for a, m in sorted((aliases or {}).items())) or "none"


def _origins(value: Any) -> tuple[str, ...]:
    right = 'write it as ["http://localhost:3000"]'
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{shown(value)} is not a list of origins; {right}")
    return tuple(dict.fromkeys(_origin(v, right) for v in value))


def _origin(value: Any, right: str) -> str:
    if value == ANY_ORIGIN:
        return ANY_ORIGIN
    text = value.strip().lower().rstrip("/") if isinstance(value, str) else ""
    scheme, apart, rest = text.partition("://")
    try:
        parts = urlsplit(text)
        plain = parts.netloc == rest and bool(parts.hostname) and parts.port != 0
    except ValueError:
        plain = False
    if not apart or not plain or "@" in rest or "*" in rest or not _SCHEME.fullmatch(scheme):
        raise ValueError(f"{shown(value)} is no origin of a page; {right}")
    if re.search(r"[\s\\]", rest) or not rest.isascii():
        raise ValueError(f"{shown(value)} is no origin of a page; {right}")
    usual = {"http": ":80", "https": ":443"}.get(scheme, "\0")
    return text.removesuffix(usual)  # which is how browsers write it


def digest_form(makes: str) -> Form:
    """A SHA-256 as `makes`, a command, prints it."""

    def read(value: Any) -> bytes:
        # Never show the value: it may be the token itself.
        if isinstance(value, str) and _DIGEST.fullmatch(value):
            return bytes.fromhex(value)
        raise ValueError(f"is not a SHA-256 in 64 hexadecimal digits; `{makes}` makes one")

    return Form("SHA-256", read, lambda v: "not set" if v is None else "set")


def _expiry(value: Any) -> float:
    """Unix time. A day counts to its end, and a time without a zone is in UTC."""
    right = 'write it as 2027-06-30, or "2027-06-30T12:00:00Z"'
    if isinstance(value, str):
        try:
            day = re.fullmatch(r"\s*\d{4}-\d{2}-\d{2}\s*", value)
            text = value.strip()
            value = date.fromisoformat(text) if day else datetime.fromisoformat(text)
        except ValueError:
            raise ValueError(f"{shown(value)} is not a day or a time; {right}") from None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time.max)
    if not isinstance(value, datetime):
        raise ValueError(f"{shown(value)} is not a day or a time; {right}")
    if value.tzinfo is None:
        value = value.replace(tzinfo=UTC)
    return float(math.ceil(value.timestamp()))


def _show_expiry(value: float | None) -> str:
    return "never" if value is None else f"{datetime.fromtimestamp(value, UTC):%Y-%m-%dT%H:%M:%SZ}"


ALIASES = Form("table of names", _aliases, _show_aliases, _aliases_from)
ORIGINS = Form("list of origins", _origins, lambda v: ", ".join(v or ()) or "none", forms.WORDS)
DIGEST = digest_form("ullage token NAME")
EXPIRY = Form("day or time", _expiry, _show_expiry)
NAMES = Form("list of names", bounds.MODELS.read, bounds.MODELS.show, forms.WORDS)


CERTIFICATE = (
    "A file with its certificate, and those of its issuers, in PEM: the port speaks TLS then."
    " Read anew when it changes."
)
ITS_KEY = "The certificate's key, not encrypted; others must not be able to read it."


class Token(Table):
    """Who may use the gateway, and how far."""

    token_file: Path | None = setting(
        None, forms.PATH, "A file that holds it; others must not be able to read it."
    )
    sha256: bytes | None = setting(
        None, DIGEST, "Its SHA-256, in place of a file: `ullage token NAME` makes both."
    )
    models: tuple[str, ...] | None = setting(
        None,
        bounds.MODELS,
        'The models it may use: as "model", "engine/model" or an alias; a * stands for any text.',
        shown="all",
    )
    engines: tuple[str, ...] | None = setting(
        None, NAMES, "The engines whose models it may use.", shown="all"
    )
    max_in_flight: int = setting(
        0, forms.COUNT, "At most this many requests at once, held ones included; 0: no limit."
    )
    per_minute: int = setting(0, forms.COUNT, "At most this many requests a minute; 0: no limit.")
    priority: int = setting(
        0, forms.PRIORITY, "Its held requests go before those of a lower one, until these are old."
    )
    expires: float | None = setting(
        None, EXPIRY, "It is refused from then on: a day to its end, or a time, in UTC.",
        shown="never",
    )  # fmt: skip


class Gateway(Table):
    enabled: bool = setting(
        True, forms.SWITCH, "Serve one address for all engines.", at="gateway.enabled"
    )
    host: str = setting("127.0.0.1", forms.HOST, "The address to serve.", at="gateway.host")
    port: int = setting(8553, forms.PORT, "The port to serve; 0: any free one.", at="gateway.port")
    socket: Path | None = setting(
        None, forms.PATH, "A Unix socket to serve in addition; it asks for no token.",
        at="gateway.socket",
    )  # fmt: skip
    allowed_hosts: tuple[str, ...] = setting(
        (),
        forms.HOSTS,
        "Further names under which clients reach it, besides listen.allowed_hosts.",
        at="gateway.allowed_hosts",
    )
    allow_anyone: bool = setting(
        False,
        forms.SWITCH,
        "Serve other machines without any token: whoever reaches this one may use its models.",
        at="gateway.allow_anyone",
    )
    cors_origins: tuple[str, ...] = setting(
        (),
        ORIGINS,
        'The sites whose pages may ask, as ["http://localhost:3000"]; *: any, if there are tokens.',
        at="gateway.cors_origins",
    )
    max_wait: Seconds = setting(
        "5m",
        forms.DURATION,
        "How long a request may be held until its model is there.",
        at="gateway.max_wait",
    )
    max_held: int = setting(
        512, forms.FROM_ONE, "How many may be held at once, all together.", at="gateway.max_held"
    )
    max_held_per_client: int = setting(
        128,
        forms.FROM_ONE,
        "And how many of one client that says who it is.",
        at="gateway.max_held_per_client",
    )
    drain_after: Seconds = setting(
        "1m",
        forms.DURATION,
        "For whom a request has been held so long, models at work get no new requests, so that"
        " they can leave.",
        at="gateway.drain_after",
    )
    drain_timeout: Seconds = setting(
        "2m",
        forms.DURATION,
        "How long those that they work on may take then.",
        at="gateway.drain_timeout",
    )
    loads_per_pool: int = setting(
        1, forms.FROM_ONE, "How many loads at once in one pool.", at="gateway.loads_per_pool"
    )
    max_body: Bytes = setting(
        "64MiB", forms.SIZE, "The largest body of a request.", at="gateway.max_body"
    )
    max_bodies: Bytes = setting(
        "512MiB", forms.SIZE, "What all of them may take at once.", at="gateway.max_bodies"
    )
    engine_timeout: Seconds = setting(
        "10m",
        forms.INTERVAL,
        "How long an engine may be silent before and within an answer.",
        at="gateway.engine_timeout",
    )
    comments_after: Seconds = setting(
        "2s",
        forms.INTERVAL,
        "A client that waits for a stream is told how it stands after this long.",
        at="gateway.comments_after",
    )
    manage: bool = setting(
        False,
        forms.SWITCH,
        "Pass on what changes an engine, or ends others' work: pull, delete, interrupt.",
        at="gateway.manage",
    )
    aliases: dict[str, tuple[str, ...]] = setting(
        {}, ALIASES, "Further names: fast = \"qwen3:8b\", or a list; who is loaded answers.",
        at="gateway.aliases",
    )  # fmt: skip
    tls_cert: Path | None = setting(None, forms.PATH, CERTIFICATE, at="gateway.tls_cert")
    tls_key: Path | None = setting(None, forms.PATH, ITS_KEY, at="gateway.tls_key")
    tokens: dict[str, Token] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TokenConfig:
    """`digest` is the SHA-256 of the token. 0 and None: no limit. `expires` in Unix time."""

    name: str
    digest: bytes = field(repr=False)
    models: tuple[str, ...] | None = None
    engines: tuple[str, ...] | None = None
    max_in_flight: int = 0
    per_minute: int = 0
    priority: int = 0
    expires: float | None = None


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """Everything the operator may decide of the gateway, checked. Times in seconds, sizes in bytes.

    `allowed_hosts` are in lower case, and those of the admin's port are among them. `aliases` lead
    to a model's name at once, however many there were in between. `guests` are tokens of the
    admin's port with which one may come here, too.
    """

    enabled: bool = True
    host: str = "127.0.0.1"
    port: int = 8553
    socket: Path | None = None
    allowed_hosts: tuple[str, ...] = ()
    allow_anyone: bool = False
    cors_origins: tuple[str, ...] = ()
    max_wait: Seconds = Seconds(300.0)
    max_held: int = 512
    max_held_per_client: int = 128
    drain_after: Seconds = Seconds(60.0)
    drain_timeout: Seconds = Seconds(120.0)
    loads_per_pool: int = 1
    max_body: Bytes = Bytes(64 * 1024**2)
    max_bodies: Bytes = Bytes(512 * 1024**2)
    engine_timeout: Seconds = Seconds(600.0)
    comments_after: Seconds = Seconds(2.0)
    manage: bool = False
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tokens: tuple[TokenConfig, ...] = ()
    guests: tuple[TokenConfig, ...] = ()

    @property
    def admits(self) -> tuple[TokenConfig, ...]:
        """Every token with which one may come."""
        return (*self.tokens, *self.guests)

    @property
    def exposed(self) -> bool:
        """Other machines may reach it."""
        return not forms.is_loopback(self.host)


def shown_tokens(config: GatewayConfig) -> Iterator[tuple[tuple[str, ...], str]]:
    """What is said of each token: keys and texts. Never the token, and never its digest."""
    for token in config.tokens:
        yield ("tokens", token.name, "sha256"), "set"
        for name in ("models", "engines", "max_in_flight", "per_minute", "priority", "expires"):
            value, form = getattr(token, name), form_of(Token, name)
            if value and form is not None:
                yield ("tokens", token.name, name), form.show(value)
