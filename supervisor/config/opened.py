"""What a configuration that is read anew would leave open: tokens are in force at once, and the
address that they close is another after the next start alone."""

from __future__ import annotations

from collections.abc import Iterator

from .config import Config
from .entrusted import CLOSING
from .forms import is_loopback
from .gated import ANY_ORIGIN
from .given import Problem


def opened(running: Config, before: Config, fresh: Config) -> Iterator[Problem]:
    """`running` is what listens, `before` has the tokens that are in force, `fresh` those that
    would be."""
    if not is_loopback(running.listen_host) and _closed(before) and not _closed(fresh):
        yield _problem(fresh, ("listen", "token"), f"it listens on {running.listen_host}")
    listens, there = running.gateway, fresh.gateway
    if not listens.enabled or there.admits or not before.gateway.admits:
        return
    path = ("gateway", "tokens")
    if listens.exposed and not there.allow_anyone:
        yield _problem(fresh, path, f"the gateway listens on {listens.host}")
    elif ANY_ORIGIN in listens.cors_origins:
        yield _problem(fresh, path, "the gateway serves every page that a browser here opens")


def _closed(config: Config) -> bool:
    """Whoever asks the API needs a token."""
    return config.token is not None or any(t.scopes & CLOSING for t in config.tokens)


def _problem(fresh: Config, path: tuple[str, ...], still: str) -> Problem:
    until = "until the daemon is started anew: keep one till then, or start it anew now"
    return Problem(".".join(path), f"is taken out, and {still} {until}", fresh.place(path))
