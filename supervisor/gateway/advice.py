"""What works against the gateway, or against whoever runs it: a taken port, an open door, tokens
and aliases that lead nowhere. Values in, values out."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from urllib.parse import urlsplit

from supervisor.config.forms import is_loopback
from supervisor.config.gated import GatewayConfig, TokenConfig
from supervisor.core.groups import matches
from supervisor.core.snapshot import EngineState, ModelRef, Snapshot
from supervisor.doctor import Advice
from supervisor.tls.encryption import plain
from supervisor.units import format_seconds

from .tokens import names_alias

GATEWAY = "the gateway"
SOON = 7 * 86400.0  # seconds before its end at which a token is worth a word


def examine(
    config: GatewayConfig,
    snapshot: Snapshot,
    fault: str | None,
    now: float,
    alone: str | None = None,
    address: str | None = None,
) -> tuple[Advice, ...]:
    """`fault`: why it does not listen; `alone`: why the fleet's agent does not answer, where it
    should; `address`: fleet.address. `now` is Unix time."""
    if not config.enabled:
        return ()
    refs = snapshot.known
    return (
        *_address(config, snapshot, fault),
        *_fleet(alone),
        *_reached(config, address),
        *(a for token in config.tokens for a in _token(token, config, snapshot, refs, now)),
        *_aliases(config, snapshot, refs),
    )


def _address(config: GatewayConfig, snapshot: Snapshot, fault: str | None) -> Iterator[Advice]:
    if fault is not None:
        there = next((e for e in snapshot.engines if _on_port(e, config.port)), None)
        if there is None:
            remedy = "see who has the port (`ss -ltnp`), or give another as gateway.port"
        else:
            fault = f"{fault}: {there.kind} is there"
            remedy = f"move it (`ullage adopt {there.kind}` explains how), or change gateway.port"
        yield Advice(GATEWAY, f"it does not listen: {fault}", remedy)
    if config.exposed and not config.admits:
        what = f"it listens on {config.host} and asks for no token: whoever reaches this machine"
        remedy = "make a token (`ullage token NAME`), or set gateway.host to 127.0.0.1"
        yield Advice(GATEWAY, f"{what} may use its models", remedy)
    elif config.exposed and config.tls_cert is None:
        yield Advice(GATEWAY, *plain(config.host, "gateway"))


def _fleet(alone: str | None) -> Iterator[Advice]:
    if alone is not None:
        what = f"the fleet's agent does not answer ({alone}): this host serves alone what it has"
        remedy = "see whether it runs (`ullage fleet status`), or set fleet.gateway to false"
        yield Advice(GATEWAY, what, remedy)


def _reached(config: GatewayConfig, address: str | None) -> Iterator[Advice]:
    """A proxy on this machine may be in between; without one nobody gets through."""
    if address is None or config.exposed or is_loopback(urlsplit(address).hostname or ""):
        return
    what = f"fleet.address is {address}, and the gateway listens on {config.host} alone: without a"
    remedy = "set gateway.host to that address, with tokens (`ullage token NAME`) for its clients"
    yield Advice(GATEWAY, f"{what} proxy on this machine no other host reaches it", remedy)


def _on_port(engine: EngineState, port: int) -> bool:
    parts = urlsplit(engine.url)
    return bool(port) and parts.port == port and is_loopback(parts.hostname or "")


def _token(
    token: TokenConfig,
    config: GatewayConfig,
    snapshot: Snapshot,
    refs: Collection[ModelRef],
    now: float,
) -> Iterator[Advice]:
    about = f"token {token.name}"
    if token.expires is not None and token.expires <= now:
        remedy = "make another (`ullage token NAME`), or take it out of the configuration"
        yield Advice(about, "it has expired", remedy)
        return
    if token.expires is not None and token.expires - now < SOON:
        left = format_seconds(token.expires - now)
        yield Advice(about, f"it expires in {left}", "put off its `expires`, or make another")
    engines = {e.id for e in snapshot.engines}
    for name in token.engines or ():
        if name not in engines:
            known = ", ".join(sorted(engines)) or "none yet"
            what = f"it may use engine {name}, and there is none of that name"
            yield Advice(about, what, f"engines are: {known}")
    if not snapshot.engines or not all(e.up for e in snapshot.engines):
        return  # what a silent engine has is not known
    for pattern in token.models or ():
        mine = (r for r in refs if token.engines is None or r.engine in token.engines)
        aliases = (a for a in config.aliases if names_alias(pattern, a))
        if not any(matches(pattern, ref) for ref in mine) and not any(aliases):
            what = f'it may use "{pattern}", and no model is called like that'
            yield Advice(about, what, "see `ullage models`, and correct its `models`")


def _aliases(
    config: GatewayConfig, snapshot: Snapshot, refs: Collection[ModelRef]
) -> Iterator[Advice]:
    names = {ref.model for ref in refs} | {str(ref) for ref in refs}
    whole = bool(snapshot.engines) and all(e.up for e in snapshot.engines)
    for alias, models in sorted(config.aliases.items()):
        if alias in names:
            what = f"it hides a model of that name and leads to {', '.join(models)}"
            yield Advice(f"alias {alias}", what, "choose another name for it in gateway.aliases")
        for model in models if whole else ():
            if model in names:
                continue
            what = f"it leads to {model}, which no engine has"
            yield Advice(f"alias {alias}", what, "see `ullage models`, and correct gateway.aliases")
