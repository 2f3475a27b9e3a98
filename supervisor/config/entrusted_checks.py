"""Reads the tokens that may do so much and no more, and notes each mistake in them."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from hashlib import sha256

from .entrusted import GATEWAY, MAKES, OWN_NAMES, READ, Entrusted, included
from .gated import TokenConfig
from .gated_checks import NAME, digest_of
from .given import Given
from .settings import File, KeyPath

TOKENS: KeyPath = ("listen", "tokens")


def entrusted(
    file: File, given: Given, main: str | None, others: Iterable[TokenConfig]
) -> tuple[Entrusted, ...]:
    """`main` is the token that may do everything, `others` are the gateway's: one secret has one
    meaning. Notes what is wrong, all of it."""
    others = tuple(others)
    known = {token.digest: f"gateway.tokens.{token.name}" for token in others}
    if main is not None:
        known[sha256(main.encode()).digest()] = "listen.token, which may do everything"
    return tuple(_tokens(file, given, known, {token.name for token in others}))


def _tokens(
    file: File, given: Given, known: dict[bytes, str], taken: Container[str]
) -> Iterator[Entrusted]:
    for name, token in file.listen.tokens.items():
        path: KeyPath = (*TOKENS, name)
        if not NAME.fullmatch(name):
            given.problem(path, "a token's name is letters, digits, dots, dashes, underscores")
        elif name in OWN_NAMES:
            given.problem(path, f"{name} is what callers without it are called; choose another")
        if token.scopes is None and not given.has((*path, "scopes")):
            given.problem((*path, "scopes"), f'is missing; write it as ["{READ}"]')
        if GATEWAY in (token.scopes or ()) and name in taken:
            given.problem(path, f"is gateway.tokens.{name} too, and both count there; rename one")
        digest = digest_of(token, path, given, MAKES)
        if digest is None:
            continue
        twin = known.setdefault(digest, f"listen.tokens.{name}")
        if twin != f"listen.tokens.{name}":
            given.problem(path, f"is the same token as {twin}; make one of its own for each")
        yield Entrusted(name, digest, included(token.scopes or ()), token.expires, token.token_file)
