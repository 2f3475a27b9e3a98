"""Tokens that may do so much and no more: their table of the configuration, what they may do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from supervisor.units import shown

from . import forms
from .forms import Form
from .gated import EXPIRY, TokenConfig, digest_form
from .table import Table, form_of, setting

READ, OPERATE, ADMIN = "read", "operate", "admin"
METRICS, GATEWAY = "metrics:read", "gateway"
WRITE, FORCE = "alerts:write", "alerts:force"
FREE = "free"  # of what needs no token; no token has it

# What a token may be made for, and what that is.
SCOPES = {
    READ: "look at all of it",
    OPERATE: "have models come, go and stay, and engines rest, too; nothing of how Ullage works",
    ADMIN: "all that Ullage's own API offers: settings, the configuration, what engines log",
    METRICS: "metrics alone, for Prometheus",
    GATEWAY: "ask models, at the gateway",
    WRITE: "send alerts, which act where our own measurements agree",
    FORCE: "the same, and an alert may say that it is to act without them",
}
_INCLUDES = {
    READ: (METRICS,),
    OPERATE: (READ, METRICS),
    ADMIN: (OPERATE, READ, METRICS, WRITE, FORCE),
    FORCE: (WRITE,),
}
ALL = frozenset((ADMIN, *_INCLUDES[ADMIN]))  # of the API; the gateway is another door
# Once a token has one of them, the API is closed to whoever sends none.
CLOSING = frozenset({READ, OPERATE, ADMIN, METRICS})

OWN_NAMES = frozenset({"token", "socket", "local"})  # by which other callers are told of

MAKES = f"ullage token NAME --scope {READ}"


def _scopes(value: Any) -> tuple[str, ...]:
    right = f'write it as ["{READ}"]'
    if isinstance(value, list | tuple) and not value:
        raise ValueError(f"leaves nothing that it may do; {right}")
    if not isinstance(value, list | tuple):
        raise ValueError(f"{shown(value)} is not a list of scopes; {right}")
    for word in value:
        if not isinstance(word, str) or word not in SCOPES:
            raise ValueError(f"{shown(word)} is no scope; {meant(word)}")
    return tuple(dict.fromkeys(value))


def meant(word: object) -> str:
    """The scope that was probably meant by `word`, as advice."""
    close = get_close_matches(str(word), SCOPES, 1, 0.5)
    return f"did you mean {close[0]}?" if close else f"write {' or '.join(SCOPES)}"


def included(scopes: Iterable[str]) -> frozenset[str]:
    """`scopes`, and what they include."""
    return frozenset(each for scope in scopes for each in (scope, *_INCLUDES.get(scope, ())))


def briefly(scopes: Iterable[str]) -> list[str]:
    """`scopes` in the order of SCOPES, without those that others of them include."""
    found = frozenset(scopes)
    inner = {each for scope in found for each in _INCLUDES.get(scope, ())}
    return [scope for scope in SCOPES if scope in found - inner]


def who_may(need: str) -> list[str]:
    """The scopes with which that may be done: `need` itself, then those that include it."""
    return [need, *(s for s in SCOPES if s != need and need in included((s,)))]


SCOPE_WORDS = Form("list of scopes", _scopes, lambda v: ", ".join(v or ()) or "none", forms.WORDS)


class ScopedToken(Table):
    """Who may use Ullage, as far as its scopes go."""

    token_file: Path | None = setting(
        None, forms.PATH, "A file that holds it; others must not be able to read it."
    )
    sha256: bytes | None = setting(
        None, digest_form(MAKES), f"Its SHA-256, in place of a file: `{MAKES}` makes both."
    )
    scopes: tuple[str, ...] | None = setting(
        None,
        SCOPE_WORDS,
        "What it is for, and all that it may do: "
        + "; ".join(f"{scope}, {meaning}" for scope, meaning in SCOPES.items())
        + ".",
    )
    expires: float | None = setting(
        None, EXPIRY, "It is refused from then on: a day to its end, or a time, in UTC.",
        shown="never",
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entrusted:
    """`digest` is the SHA-256 of the token. `scopes` with what they include. `expires` in Unix
    time."""

    name: str
    digest: bytes = field(repr=False)
    scopes: frozenset[str]
    expires: float | None = None
    file: Path | None = None  # that holds it


def shown_tokens(tokens: Iterable[Entrusted]) -> Iterator[tuple[tuple[str, ...], str]]:
    """What is said of each token: keys and texts. Never the token, and never its digest."""
    for token in tokens:
        own = ("listen", "tokens", token.name)
        yield (*own, "sha256" if token.file is None else "token_file"), str(token.file or "set")
        yield (*own, "scopes"), ", ".join(briefly(token.scopes))
        form = form_of(ScopedToken, "expires")
        if token.expires is not None and form is not None:
            yield (*own, "expires"), form.show(token.expires)


def guests(tokens: Iterable[Entrusted]) -> tuple[TokenConfig, ...]:
    """Those that the gateway lets in as well, with no limits of its own."""
    return tuple(
        TokenConfig(t.name, t.digest, expires=t.expires) for t in tokens if GATEWAY in t.scopes
    )
