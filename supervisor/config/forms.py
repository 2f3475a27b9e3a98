"""How each kind of setting is written: what is accepted, what is said when it is wrong."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import SplitResult, urlsplit

from collectors.reading import PoolId, Seconds
from supervisor.addresses import address_of, is_never_called
from supervisor.core.ladder import Rung
from supervisor.core.policy import FOREVER, Retention
from supervisor.core.rank import RANKINGS, Ranking
from supervisor.printable import printable
from supervisor.units import (
    format_amount,
    format_duration,
    format_size,
    parse_amount,
    parse_duration,
    parse_size,
    shown,
)

AnEnum = TypeVar("AnEnum", bound=Enum)

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?")
_SECRET_OPTION = re.compile(r"-*[\w-]*(key|token|secret|password|credentials?)", re.IGNORECASE)
_TYPES = (".service", ".socket", ".timer", ".path", ".target", ".scope", ".slice", ".mount")
_UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]{1,247}\.service")
_SECRET = re.compile(r"[\x21-\x7e]+")
_METADATA_NAMES = ("metadata", "metadata.google.internal", "instance-data")

SHORTEST_TOKEN = 16  # characters


def _as_text(value: Any) -> str:
    return "none" if value is None else str(value)


@dataclass(frozen=True, slots=True)
class Form:
    """One way to write a value. `read` raises ValueError, which says what would be right.

    `from_text` turns the text of an environment variable into what the file would have had;
    what it cannot turn it leaves, for `read` to refuse. `show` writes the value for people.
    """

    name: str
    read: Callable[[Any], Any]
    show: Callable[[Any], str] = _as_text
    from_text: Callable[[str], object] = str.strip


def _is_name(host: str) -> bool:
    """Whether it can be the name of a host: no other can be looked up, nor even be asked for."""
    labels = host.split(".")
    return _HOST.fullmatch(host) is not None and all(0 < len(label) <= 63 for label in labels)


def is_loopback(host: str) -> bool:
    """Whether `host`, an address or a name, can only be this machine."""
    address = address_of(host)
    return host.lower() == "localhost" if address is None else address.is_loopback


def split_url(url: str) -> tuple[SplitResult, str, int]:
    """A URL that URL.read accepted: its parts, its host without brackets, and its port."""
    parts = urlsplit(url)
    return parts, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def one_of(choices: type[Enum]) -> Form:
    """One of the values of an enumeration."""
    words = [c.value for c in choices]

    def read(value: Any) -> Enum:
        if value in words:
            return choices(value)
        raise ValueError(f"{shown(value)} is not one of {', '.join(words)}")

    return Form(" | ".join(words), read, lambda v: str(v.value))


def some_of(
    choices: type[AnEnum], value: Any, many: str, one: str, what: str = "", order: str = ""
) -> tuple[AnEnum, ...]:
    """Values of an enumeration in a list, each once; the words are for what is wrong."""
    words = [c.value for c in choices]
    right = f"write some of {', '.join(words)} in a list{order}"
    if not isinstance(value, (list, tuple)) or not value:
        raise ValueError(f"{shown(value)} is not a list of {many}{what}; {right}")
    for word in value:
        if word not in words:
            raise ValueError(f"{shown(word)} is no {one}{what}; {right}")
    return tuple(dict.fromkeys(map(choices, value)))


def _ranking(value: Any) -> Ranking:
    if isinstance(value, str) and value in RANKINGS:
        return RANKINGS[value]
    raise ValueError(f"{shown(value)} is not one of {', '.join(RANKINGS)}")


def _switch(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise ValueError(f"{shown(value)} is neither true nor false")


def _switch_from(text: str) -> object:
    words = {"true": True, "1": True, "yes": True, "on": True}
    words |= {"false": False, "0": False, "no": False, "off": False}
    return words.get(text.strip().lower(), text)


def _whole(least: int, most: int, right: str) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
            return value
        raise ValueError(f"{shown(value)} is not {right}")

    return read


def _whole_from(text: str) -> object:
    return int(text) if re.fullmatch(r"\s*-?[0-9]{1,18}\s*", text) else text


def _at_least(least: float) -> Callable[[Any], Seconds]:
    def read(value: Any) -> Seconds:
        seconds = parse_duration(value)
        if seconds < least:
            raise ValueError(f"{shown(value)} is too short; the least is {format_duration(least)}")
        return seconds

    return read


def _keep_alive(value: Any) -> Seconds:
    """As Ollama has it: a duration, 0 for none, and whatever is negative for ever."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value < 0:
        return FOREVER
    if isinstance(value, str) and re.fullmatch(r"-[0-9][0-9a-z.]*", value.strip()):
        return FOREVER
    return parse_duration(value)


def _shown_keep_alive(value: Seconds | None) -> str:
    return "none" if value is None else "-1" if value == FOREVER else format_duration(value)


def _text(value: Any) -> str:
    if isinstance(value, str) and value.strip():
        return value
    raise ValueError(f'{shown(value)} is not a text; write it in quotes, as "name"')


def _secret(value: Any) -> str:
    # Never show the value: the message goes to logs.
    if isinstance(value, str) and _SECRET.fullmatch(value):
        return value
    raise ValueError("is not a secret of printable ASCII characters without spaces")


def _path(value: Any) -> Path:
    return Path(_text(value)).expanduser()


def _host(value: Any) -> str:
    if isinstance(value, str) and (address_of(value) is not None or _is_name(value)):
        return value
    right = 'write an address or a name without a port, as "127.0.0.1"'
    raise ValueError(f"{shown(value)} is not a host; {right}")


def _hosts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)):
        raise ValueError(f'{shown(value)} is not a list; write it as ["gpu.lan"]')
    return tuple(_host(v).lower() for v in value)


def _pools(value: Any) -> frozenset[PoolId]:
    right = 'write it as ["GPU-4f0c…"], or ["ram"], by the names that `ullage status` shows'
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{shown(value)} is not a list of pools; {right}")
    for name in value:
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"{shown(name)} is the name of no pool; {right}")
    return frozenset(PoolId(name) for name in value)


def _command(value: Any) -> tuple[str, ...]:
    right = 'write it as ["llama-server", "--port", "${PORT}"]'
    if not isinstance(value, (list, tuple)) or not value:
        raise ValueError(f"{shown(value)} is not a command; {right}")
    for word in value:
        if not isinstance(word, str) or "\0" in word:
            raise ValueError(f"{shown(word)} is no word of a command; {right}")
    if not value[0].strip():
        raise ValueError(f"the command names no program; {right}")
    return tuple(value)


def _shown_command(words: Iterable[str] | None) -> str:
    """On one line, without what looks like a secret in it."""
    found: list[str] = []
    for word in words or ():
        hidden = found and not word.startswith("-") and _SECRET_OPTION.fullmatch(found[-1])
        name, equals, _ = word.partition("=")
        if equals and _SECRET_OPTION.fullmatch(name):
            word = f"{name}=***"
        found.append("***" if hidden and not word.startswith("${") else word)
    return " ".join(map(_plain, found)) or "none"


def _plain(word: str) -> str:
    text = printable(word)
    return text if text and " " not in text else f'"{text}"'


def _variables(value: Any) -> dict[str, str]:
    right = 'write it as { NAME = "value" }'
    if not isinstance(value, dict):
        raise ValueError(f"{shown(value)} is not a table of variables; {right}")
    for name, text in value.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise ValueError(f"{shown(name)} is not the name of a variable; {right}")
        if not isinstance(text, str) or "\0" in text:
            raise ValueError(f"{shown(text)} is not the text of a variable; {right}")
    return dict(value)


def _signal(value: Any) -> signal.Signals:
    """A signal by its name, with or without SIG."""
    name = value.upper().removeprefix("SIG") if isinstance(value, str) else ""
    found = signal.Signals.__members__.get(f"SIG{name}")
    if found is None:
        raise ValueError(f'{shown(value)} is not the name of a signal; write it as "TERM"')
    return found


def _unit(value: Any) -> str:
    """The name of a service, with its type where that was left out."""
    name = value if isinstance(value, str) else ""
    name = name if name.endswith(_TYPES) else f"{name}.service"
    if not _UNIT.fullmatch(name):
        raise ValueError(f'{shown(value)} is not a systemd service; write it as "vllm.service"')
    return name


def _ladder(value: Any) -> tuple[Rung, ...]:
    found = some_of(Rung, value, "ways", "way", " to make a model go")
    return tuple(rung for rung in Rung if rung in found)  # the mildest first, always


def _words_from(text: str) -> object:
    return [word.strip() for word in text.split(",") if word.strip()]


_ADDRESS = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*:[1-9][0-9]{0,4}/?")  # all but the scheme


def _url(value: Any) -> str:
    right = 'write it as "http://127.0.0.1:8080"'
    if not isinstance(value, str):
        raise ValueError(f"{shown(value)} is not a URL; {right}")
    try:
        parts = urlsplit(value.strip())
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"this URL cannot be read ({error}); {right}") from None
    if parts.username is not None or parts.password is not None:
        # Not shown: it may hold a password.
        raise ValueError("a URL must not carry a user or a password; use key or key_file")
    if parts.scheme not in ("http", "https") or not host or port == 0:
        if _ADDRESS.fullmatch(value.strip()):
            right = f'write it as "http://{value.strip()}"'
        raise ValueError(f"{shown(value)} is not a URL of an engine; {right}")
    if parts.query or parts.fragment or re.search(r"[\s\\%]|/\.\.?(/|$)", parts.geturl()):
        raise ValueError(f"{shown(value)} is more than the address of a server; {right}")
    _refuse_metadata(host, value)
    return parts.geturl().rstrip("/")


def _refuse_metadata(host: str, url: str) -> None:
    address = address_of(host)
    if address is None:
        if not _is_name(host) or re.fullmatch(r"([0-9]+|0x[0-9a-f]*)", host.split(".")[-1]):
            # 2852039166 and 0xa9.0xfe.0xa9.0xfe are addresses too, to those who resolve them.
            raise ValueError(f"{shown(url)}: {shown(host)} is neither a name nor a plain address")
        if host.lower() in _METADATA_NAMES:
            raise ValueError(f"{shown(url)} is a cloud's metadata service, never an engine")
    elif is_never_called(address):
        raise ValueError(f"{shown(url)} is a metadata or link-local address, never an engine")


def _set_or_not(value: object) -> str:
    return "not set" if value is None else "set"


def _listed(values: Iterable[str]) -> str:
    return ", ".join(values) or "none"


def _maybe(show: Callable[[Any], str]) -> Callable[[Any], str]:
    return lambda value: "none" if value is None else show(value)


WORDS = _words_from
SWITCH = Form("true | false", _switch, lambda v: "true" if v else "false", _switch_from)
COUNT = Form(
    "count",
    _whole(0, 1_000_000, "a count; write a whole number, 0 for no limit"),
    _as_text,
    _whole_from,
)
TRIES = Form("count", _whole(0, 1_000_000, "a count of tries"), _as_text, _whole_from)
PRIORITY = Form(
    "whole number",
    _whole(-20, 20, "a priority; write a whole number from -20 to 20"),
    _as_text,
    _whole_from,
)
PORT = Form(
    "port", _whole(0, 65535, "a port; write 0 to 65535, 0 for any free one"), _as_text, _whole_from
)
KEEP_ALIVE = Form("duration or -1", _keep_alive, _shown_keep_alive)
RETENTION = replace(one_of(Retention), show=lambda v: "none" if v is None else str(v.value))
DURATION = Form("duration", parse_duration, _maybe(format_duration))
INTERVAL = Form("duration", _at_least(0.1), _maybe(format_duration))  # less would be a busy loop
STEP = Form("duration", _at_least(0.01), _maybe(format_duration))
SIZE = Form("size", parse_size, _maybe(format_size))
AMOUNT = Form("size or share", parse_amount, _maybe(format_amount))
TEXT = Form("text", _text)
SECRET = Form("secret", _secret, _set_or_not)
HOST = Form("host", _host)
HOSTS = Form("list of hosts", _hosts, _listed, _words_from)
POOLS = Form("list of pools", _pools, lambda v: _listed(sorted(v)), _words_from)
COMMAND = Form("list of words", _command, _shown_command)
VARIABLES = Form("table of texts", _variables, lambda v: _listed(sorted(v)))
RANKING = Form("ranking", _ranking, lambda ranking: str(ranking.name))
LADDER = Form("list of rungs", _ladder, lambda v: _listed(r.value for r in v or ()), _words_from)
REPLICAS = Form(
    "count", _whole(1, 1000, "a count of replicas; write 1 or more"), _as_text, _whole_from
)
FROM_ONE = Form(
    "count from 1", _whole(1, 100_000, "a count; write 1 or more"), _as_text, _whole_from
)
UNIT = Form("systemd service", _unit)
SIGNAL = Form("signal", _signal, lambda v: "none" if v is None else v.name.removeprefix("SIG"))
URL = Form("URL", _url)
# A path in the file is relative to the file, any other to the working directory.
PATH = Form("path", _path, _as_text, lambda text: os.path.abspath(os.path.expanduser(text)))
