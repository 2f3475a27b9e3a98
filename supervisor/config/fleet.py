"""The fleet's part of the configuration: its table of the file, what comes of it, its checks."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import Field

from collectors.reading import Seconds
from supervisor.fleet.hosts import Part
from supervisor.units import format_duration, shown

from . import forms
from .forms import Form
from .spans import Span
from .spans import read as read_spans
from .table import Table, setting

if TYPE_CHECKING:
    from .given import Given
    from .settings import File

T = TypeVar("T")

SOCKET = "fleet.sock"
SPEAKS = Seconds(1.0)  # how often a host says how it stands
COMMON = frozenset({"localhost", "localhost.localdomain", "ip6-localhost"})

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_AT = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")
_ANYWHERE = frozenset({"0.0.0.0", "::"})


def _name(value: Any) -> str:
    if isinstance(value, str) and _NAME.fullmatch(value):
        return value
    right = "write up to 63 letters, digits, dots, dashes and underscores"
    raise ValueError(f"{shown(value)} is not the name of a host; {right}")


def _gateway(value: Any) -> str:
    right = 'write it as "http://10.0.0.5:8553"'
    try:
        url: str = forms.URL.read(value)
    except ValueError as error:
        what = str(error).partition("; ")[0].replace("an engine", "a gateway")
        if "password" in what:
            what += "; the token that other hosts send is in their fleet.token_file"
        raise ValueError(f"{what}; {right}") from None
    parts, host, _ = forms.split_url(url)
    if host in _ANYWHERE:
        raise ValueError(f"{shown(value)} is no address that others can reach; {right}")
    if parts.path.strip("/"):
        raise ValueError(f"{shown(value)} is more than the address of a gateway; {right}")
    return url


def _raylet(value: Any) -> str:
    right = 'write "auto", or where Ray\'s head is, as "10.0.0.1:6379"'
    text = value.strip() if isinstance(value, str) else ""
    if text.startswith("ray://"):
        raise ValueError(
            f"{shown(value)} is for Ray's clients; the agent is beside a node: {right}"
        )
    host, apart, port = text.rpartition(":")
    known = apart and _AT.fullmatch(host) and port.isascii() and port.isdecimal()
    if text == "auto" or (known and 0 < int(port[:6]) < 65536):
        return text
    raise ValueError(f"{shown(value)} is not an address of Ray; {right}")


def _number(value: Any) -> float:
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    if plain and 0 < value <= 1000:
        return float(value)
    raise ValueError(f"{shown(value)} is not a number above 0, and at most 1000")


def _number_from(text: str) -> object:
    try:
        return float(text)
    except ValueError:
        return text


NAME = Form("name of a host", _name)
GATEWAY = Form("URL of a gateway", _gateway)
RAYLET = Form("address of Ray", _raylet)
NUMBER = Form("number above 0", _number, lambda v: f"{v:g}", _number_from)


class Fleet(Table):
    """This host in a fleet. `ullage fleet join` takes it there."""

    name: str | None = setting(
        None, NAME, "What this host is called; no two of a fleet may be called alike.",
        shown="the machine's own name",
    )  # fmt: skip
    address: str | None = setting(
        None, GATEWAY, "Where other hosts reach this host's gateway. None: they send no requests.",
        at="fleet.address",
    )  # fmt: skip
    socket: Path | None = setting(
        None, forms.PATH, "The Unix socket of the fleet's agent on this host.",
        shown="fleet.sock, beside listen.socket or else in state_dir",
    )  # fmt: skip
    gateway: bool = setting(
        False,
        forms.SWITCH,
        "The gateway sends requests to other hosts too: where a model is there, or is had at the"
        " least cost.",
        at="fleet.gateway",
    )
    token_file: Path | None = setting(
        None,
        forms.PATH,
        "A file with the token that the gateways of other hosts accept; others must not be able to"
        " read it. Of several, one a line, the first is sent and each is accepted.",
    )
    ca_file: Path | None = setting(
        None,
        forms.PATH,
        "A file with the certificates, in PEM, that those of other hosts' gateways are to be issued"
        " by. None: by one that the system trusts.",
    )
    ray: str = setting(
        "auto", RAYLET, "Ray's own address. auto: that of the node on this machine.", at="fleet.ray"
    )
    require_token: bool = setting(
        True, forms.SWITCH, "Join no Ray that asks for no token.", at="fleet.require_token"
    )
    allow_outside: bool = setting(
        False,
        forms.SWITCH,
        "Join also where Ray listens at an address that is neither private nor this machine's own.",
        at="fleet.allow_outside",
    )
    silent: Seconds = setting(
        "2.5s",
        forms.INTERVAL,
        "A host that was not heard for so long is silent: nothing new is placed there.",
        at="fleet.silent",
    )
    lost: Seconds = setting(
        "4.5s",
        forms.INTERVAL,
        "And for so long, it is lost: what waits for it goes elsewhere.",
        at="fleet.lost",
    )
    factor: float = setting(
        2.0,
        NUMBER,
        "A model is overloaded with so many times the requests that it serves at once, held ones"
        " included: another host is asked then.",
        at="fleet.factor",
    )
    offers: int = setting(
        4,
        forms.FROM_ONE,
        "How many hosts are asked what a load would cost them.",
        at="fleet.offers",
    )
    valid: Seconds = setting(
        "10s",
        forms.INTERVAL,
        "How long an answer to that stands: a load that comes later is refused.",
        at="fleet.valid",
    )
    spans: dict[str, Span] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FleetConfig:
    """What the operator says of the fleet, checked. Times in seconds. `said`: there is such a
    table. `socket` and `name` are what they come to where nothing was said. `tokens`: the first is
    sent to other hosts, each is accepted from them; `ca`: certificates in PEM."""

    name: str = "localhost"
    address: str | None = None
    socket: Path = Path(SOCKET)
    gateway: bool = False
    token_file: Path | None = None
    tokens: tuple[str, ...] = field(default=(), repr=False)
    ca_file: Path | None = None
    ca: str | None = field(default=None, repr=False)
    ray: str = "auto"
    require_token: bool = True
    allow_outside: bool = False
    silent: Seconds = Seconds(2.5)
    lost: Seconds = Seconds(4.5)
    factor: float = 2.0
    offers: int = 4
    valid: Seconds = Seconds(10.0)
    spans: tuple[Part, ...] = ()
    said: bool = False

    @property
    def speaks(self) -> Seconds:
        """How often this host says how it stands."""
        return SPEAKS


_OWN = ("name", "socket", "spans")


def read(
    file: File,
    given: Given,
    tokens_of: Callable[[Path], tuple[str, ...]],
    ca_of: Callable[[Path], str],
) -> FleetConfig:
    """What is said of the fleet; `tokens_of` reads the tokens of a file, `ca_of` certificates, and
    both raise ValueError. Notes what is wrong, all of it. The socket is still to be put where it
    belongs: see `placed`."""
    table, said = file.fleet, bool(given.keys(("fleet",)))
    if not said:
        return FleetConfig(name=_machine() or "localhost")
    if table.lost <= table.silent:
        least = format_duration(table.silent)
        given.problem(("fleet", "lost"), f"must be longer than fleet.silent, {least}")
    if table.silent <= SPEAKS:
        every = format_duration(SPEAKS)
        given.problem(
            ("fleet", "silent"), f"must be longer than {every}, in which a host speaks once"
        )
    _gateways(file, given)
    if file.listen.tls_cert is not None and file.listen.socket is None:
        why = "is missing: by TLS the fleet's agent does not ask the daemon of its own machine"
        given.problem(("listen", "socket"), f'{why}; write it as "/run/ullage/ullage.sock"')
    for other in ("listen", "gateway"):
        if table.socket is not None and table.socket == getattr(file, other).socket:
            given.problem(("fleet", "socket"), f"is {other}.socket too; give another")
    tokens = _in_file(given, "token_file", table.token_file, tokens_of)
    ca = _in_file(given, "ca_file", table.ca_file, ca_of)
    names = {n: getattr(table, n) for n in Fleet.model_fields if n not in _OWN}
    name = _named(table, given)
    parts = read_spans(table.spans, name, given)
    return FleetConfig(**names, name=name, spans=parts, tokens=tokens or (), ca=ca, said=True)


def _in_file(given: Given, key: str, file: Path | None, read: Callable[[Path], T]) -> T | None:
    if file is None:
        return None
    try:
        return read(file)
    except ValueError as error:
        given.problem(("fleet", key), str(error))
        return None


def _gateways(file: File, given: Given) -> None:
    """Both what others ask here and what is asked of others goes by the gateway."""
    fleet, gateway = file.fleet, file.gateway
    if fleet.gateway and fleet.token_file is None and not given.has(("fleet", "token_file")):
        why = "is missing: fleet.gateway is true, and other hosts believe this one by their token"
        right = 'name a file that has the same one on every host, as "/etc/ullage/fleet.token"'
        given.problem(("fleet", "token_file"), f"{why} alone; {right}")
    if not gateway.enabled:
        if fleet.address is not None:
            why = "is where nobody answers: gateway.enabled is false"
            given.problem(("fleet", "address"), why)
        if fleet.gateway:
            given.problem(("fleet", "gateway"), "is true, and gateway.enabled is false")
    elif fleet.address is not None and gateway.tls_cert is not None:
        parts, _, port = forms.split_url(fleet.address)
        if parts.scheme == "http" and port == gateway.port:
            why = "is http, and gateway.tls_cert has the gateway speak TLS at that port"
            address = fleet.address.removeprefix("http://")
            given.problem(("fleet", "address"), f'{why}; write it as "https://{address}"')


def _named(table: Fleet, given: Given) -> str:
    if table.name is not None or given.has(("fleet", "name")):
        return table.name or ""
    name = _machine()
    if name in COMMON or not name:
        called = shown(socket.gethostname())
        why = f'is missing: this machine is called {called}; write it as "gpu1"'
        given.problem(("fleet", "name"), why)
    return name


def _machine() -> str:
    """What this machine is called, if a host of a fleet can be called that."""
    name = socket.gethostname()
    return name if _NAME.fullmatch(name) else ""


def placed(said: Path | None, beside: Path | None, state: Path) -> Path:
    """Where the agent's socket is: where it is `said`, `beside` the daemon's, or in `state`."""
    if said is not None:
        return said
    return (state if beside is None else beside.parent) / SOCKET


def shown_fleet(config: FleetConfig) -> Iterator[tuple[tuple[str, ...], str]]:
    """What is told of it besides what every host has: keys and texts. Never the token."""
    if config.said:
        yield ("fleet", "name"), config.name
        yield ("fleet", "socket"), str(config.socket)
    for name in ("token_file", "ca_file"):
        if (file := getattr(config, name)) is not None:
            yield ("fleet", name), str(file)
