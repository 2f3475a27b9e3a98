"""How the keys of a described engine are written, and what is said when they are wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import Any

from supervisor.units import UnitError, parse_size, shown

from . import forms
from .forms import Form
from .templates import MODEL, compile_path, names_model, strangers

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
KEY = "key"  # in the place of a JSONPath: what an entry is listed under
ANY = "*"  # in the place of a word: whatever there is

_PATH = re.compile(r"/[^\s\\#\x00-\x1f\x7f]*")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
# Ours to say: they tell how the body is to be read, and that the answer must be plain.
_OURS = ("host", "connection", "content-length", "transfer-encoding", "accept-encoding")
_DEEPEST = 50  # tables within tables


def word(value: Any) -> str | None:
    """A scalar of JSON as it is compared with words of the configuration. None: it is none."""
    if isinstance(value, str):
        return value.strip().casefold()
    if value is None or isinstance(value, bool | int | float):
        return json.dumps(value)
    return None


def _path(value: Any) -> str:
    right = 'write it as "/v1/models"'
    if not isinstance(value, str) or not _PATH.fullmatch(value):
        raise ValueError(f"{shown(value)} is not a path of the engine; {right}")
    if any(step in (".", "..") for step in value.partition("?")[0].split("/")):
        raise ValueError(f"{shown(value)} has a step that leads elsewhere; {right}")
    _only_model(value)
    return value


def _fixed_path(value: Any) -> str:
    path = _path(value)
    if names_model(path):
        raise ValueError(f"{shown(value)} is asked of the engine as a whole: no {MODEL} in it")
    return path


def _only_model(value: Any) -> None:
    if found := strangers(value):
        raise ValueError(f"{shown(found[0])} is not known here; the only one is {MODEL}")


def _one_of(words: tuple[str, ...]) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if isinstance(value, str) and value.upper() in words:
            return value.upper()
        raise ValueError(f"{shown(value)} is not one of {', '.join(words)}")

    return read


def _pick(value: Any) -> str:
    right = 'write it as "$.id" or "$.data[*]"'
    if not isinstance(value, str):
        raise ValueError(f"{shown(value)} is not a JSONPath; {right}")
    try:
        compile_path(value)
    except ValueError as wrong:
        raise ValueError(f"{shown(value)} is not a JSONPath: {wrong}; {right}") from None
    return value


def _name(value: Any) -> str:
    return KEY if value == KEY else _pick(value)


def _body(value: Any) -> Any:
    right = f'write a table, as {{ model = "{MODEL}" }}, or JSON in a text'
    given = value
    if isinstance(value, str):
        try:
            value = json.loads(value, parse_constant=_no_constant)
        except (ValueError, RecursionError) as wrong:
            bare = f'; write "{MODEL}" in quotes' if MODEL in given else ""
            raise ValueError(f"{shown(given)} is not JSON ({wrong}){bare}; {right}") from None
    if not isinstance(value, dict | list) or (value is given and isinstance(value, list)):
        raise ValueError(f"{shown(given)} is not a body; {right}")
    _plain(value, right)
    _only_model(value)
    return value


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is no number")


def _plain(value: Any, right: str, depth: int = 0) -> None:
    """JSON has no dates, and no numbers without end."""
    if depth > _DEEPEST:
        raise ValueError(f"it is nested too deep; {right}")
    for inner in value.values() if isinstance(value, dict) else value:
        if isinstance(inner, dict | list):
            _plain(inner, right, depth + 1)
        elif word(inner) is None or word(inner) in ("NaN", "Infinity", "-Infinity"):
            raise ValueError(f"{shown(inner)} cannot stand in JSON; {right}")


def _headers(value: Any) -> dict[str, str]:
    right = f'write them as {{ X-Model = "{MODEL}" }}'
    if not isinstance(value, dict):
        raise ValueError(f"{shown(value)} is not a table of headers; {right}")
    for name, text in value.items():
        if not _HEADER.fullmatch(name) or name.lower() in _OURS:
            raise ValueError(f"{shown(name)} is not the name of a header of yours; {right}")
        if name.lower() == "authorization":
            raise ValueError("the engine's own key is given as key or key_file beside its url")
        if not isinstance(text, str) or not re.fullmatch(r"[\x20-\x7e]*", text):
            # Not shown: it may be a secret.
            raise ValueError(f"the value of {name} is not a line of ASCII text; {right}")
        _only_model(text)
    return dict(value)


def _fixed_headers(value: Any) -> dict[str, str]:
    if names_model(value):
        raise ValueError(f"they are sent with every call, also where there is no {MODEL}")
    return _headers(value)


def _words(value: Any) -> tuple[str, ...]:
    right = 'write it as ["loaded", "ready"]'
    if not isinstance(value, list | tuple):
        raise ValueError(f"{shown(value)} is not a list of values; {right}")
    found = [word(v) for v in value]
    if any(w is None for w in found):
        raise ValueError(f"it holds more than texts, numbers, true and false; {right}")
    return tuple(w for w in found if w is not None)


def _arguments(value: Any) -> tuple[str, ...]:
    right = f'write it as ["--model", "{MODEL}"]'
    if not isinstance(value, list | tuple) or not value:
        raise ValueError(f"{shown(value)} is no part of a command line; {right}")
    if not all(isinstance(text, str) and text for text in value):
        raise ValueError(f"it holds more than words of a command line; {right}")
    _only_model(list(value))
    return tuple(value)


def _statuses(value: Any) -> tuple[int, ...]:
    right = "write refusals as [404, 410]"
    if not isinstance(value, list | tuple):
        raise ValueError(f"{shown(value)} is not a list of statuses; {right}")
    for status in value:
        if type(status) is not int or not 400 <= status <= 599:
            raise ValueError(f"{shown(status)} is not a status from 400 to 599; {right}")
    return tuple(value)


def _counts(value: Any) -> str | tuple[str, ...]:
    if not isinstance(value, list | tuple):
        return _pick(value)
    right = 'write metrics as ["requests_running", "requests_waiting"]'
    if not value:
        raise ValueError(f"{shown(value)} names no metric; {right}")
    for name in value:
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_:][A-Za-z0-9_:]*", name):
            raise ValueError(f"{shown(name)} is not the name of a metric; {right}")
    return tuple(value)


def _unit(value: Any) -> str:
    try:
        parse_size(f"1{value}" if isinstance(value, str) and value.isalpha() else None)
    except UnitError:
        raise ValueError(f'{shown(value)} is not a unit; write it as "B", "MiB" or "GB"') from None
    return str(value)


def _shown(show: Callable[[Any], str]) -> Callable[[Any], str]:
    return lambda value: "none" if value is None else show(value)


def _listed(values: Iterable[object]) -> str:
    return ", ".join(map(str, values)) or "none"


_LIST = forms.HOSTS.from_text
PATH = Form("path", _path)
FIXED_PATH = Form("path", _fixed_path)
METHOD = Form("method", _one_of(METHODS))
ASKING = Form("GET | POST", _one_of(METHODS[:2]))
PICK = Form("JSONPath", _pick)
NAME = Form(f'JSONPath, or "{KEY}"', _name)
BODY = Form("table, or JSON in a text", _body, _shown(json.dumps))
FIXED_HEADERS = Form("table of texts", _fixed_headers, _shown(_listed))
HEADERS = Form("table of texts", _headers, _shown(_listed))  # their names: a value may be secret
WORDS = Form("list of values", _words, _shown(_listed), _LIST)
ARGUMENTS = Form("list of words", _arguments, _shown(" ".join), _LIST)
STATUSES = Form("list of statuses", _statuses, _shown(_listed))
COUNTS = Form(
    "JSONPath, or list of metrics",
    _counts,
    _shown(lambda v: v if isinstance(v, str) else _listed(v)),
    lambda text: text if text.startswith("$") else _LIST(text),
)
UNIT = Form("unit", _unit)
