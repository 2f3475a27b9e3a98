"""The JSON Schema of the configuration file, by which editors complete and check it.

What it lets pass may still be wrong: many keys are checked together, and with the machine. What it
refuses is wrong.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

from supervisor.core.ladder import Rung
from supervisor.core.rank import RANKINGS
from supervisor.core.steps import Step

from .described_forms import METHODS
from .entrusted import SCOPES
from .forms import Form
from .settings import File
from .table import form_of

Schema = dict[str, Any]

DRAFT = "https://json-schema.org/draft/2020-12/schema"

_NUMBER = r"[0-9]+(\.[0-9]+)?"
_BYTES = rf"{_NUMBER}\s*([Bb]|[KMGTPkmgtp][Ii]?[Bb])?"
_TIME = rf"({_NUMBER}|({_NUMBER}\s*(d|h|m|s|ms)\s*)+)"


def schema(kinds: Iterable[str]) -> Schema:
    """Of the whole file; `kinds` are the engines there are."""
    tables: dict[str, Schema] = {}
    top = _table(File, sorted(kinds), tables)
    title = "The configuration of Ullage"
    return {"$schema": DRAFT, "title": title, **top, "$defs": dict(sorted(tables.items()))}


def text(kinds: Iterable[str]) -> str:
    """The same as it is written to a file."""
    return json.dumps(schema(kinds), indent=1, ensure_ascii=False) + "\n"


def _table(table: type[BaseModel], kinds: list[str], tables: dict[str, Schema]) -> Schema:
    properties = {name: _key(table, name, kinds, tables) for name in table.model_fields}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _key(table: type[BaseModel], name: str, kinds: list[str], tables: dict[str, Schema]) -> Schema:
    field, form = table.model_fields[name], form_of(table, name)
    if form is None:
        usual = field.get_default(call_default_factory=True)
        inner = type(usual)
        if isinstance(usual, Mapping):  # of tables, by names of the operator's choice
            (_, inner) = field.annotation.__args__  # type: ignore[union-attr]
            return {"type": "object", "additionalProperties": _named(inner, kinds, tables)}
        return _named(inner, kinds, tables)
    found = {"enum": kinds} if name in ("kind", "serves") else of_form(form)
    about: Schema = {"description": field.description or "", **found}
    if isinstance(field.default, str | int | float | bool):
        about["default"] = field.default
    elif isinstance(field.default, tuple):
        about["default"] = list(field.default)
    return about


def _named(table: type[BaseModel], kinds: list[str], tables: dict[str, Schema]) -> Schema:
    """A reference to the table, which is described once."""
    if table.__name__ not in tables:
        tables[table.__name__] = {}
        tables[table.__name__] = _table(table, kinds, tables)
    return {"$ref": f"#/$defs/{table.__name__}"}


def of_form(form: Form) -> Schema:
    """How a value of this form is written. Raises KeyError where nobody has said."""
    if " | " in form.name and form.name not in _FORMS:  # one of an enumeration
        return {"enum": form.name.split(" | ")}
    return _FORMS[form.name]


def _text(pattern: str | None = None, *others: Schema) -> Schema:
    plain: Schema = {"type": "string"} | ({} if pattern is None else {"pattern": pattern})
    return {"anyOf": [plain, *others]} if others else plain


def _whole(least: int, most: int) -> Schema:
    return {"type": "integer", "minimum": least, "maximum": most}


def _list(items: Schema, least: int = 0) -> Schema:
    return {"type": "array", "items": items} | ({"minItems": least} if least else {})


def _any_case(words: Iterable[str]) -> Schema:
    """Completed as they are usually written."""
    words = list(words)
    letters = ("".join(f"[{c.upper()}{c.lower()}]" for c in word) for word in words)
    return {"anyOf": [{"enum": words}, {"type": "string", "pattern": f"^({'|'.join(letters)})$"}]}


_NAME = {"type": "string", "minLength": 1}
_BYTES_COUNTED = {"type": "integer", "minimum": 0}
_SECONDS = {"type": "number", "minimum": 0}
_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}

_FORMS: dict[str, Schema] = {
    "true | false": {"type": "boolean"},
    "count": _whole(0, 1_000_000),
    "count from 1": _whole(1, 100_000),
    "count from 2": _whole(2, 1000),
    "whole number": _whole(-20, 20),
    "port": _whole(0, 65535),
    "size": _text(rf"^\s*{_BYTES}\s*$", _BYTES_COUNTED),
    "size or share": _text(rf"^\s*({_BYTES}|{_NUMBER}\s*%)\s*$", _BYTES_COUNTED),
    "share": _text(rf"^\s*{_NUMBER}\s*%\s*$", {"type": "number", "minimum": 0, "maximum": 1}),
    "duration": _text(rf"^\s*{_TIME}\s*$", _SECONDS),
    "duration or -1": _text(rf"^\s*({_TIME}|-[0-9][0-9a-z.]*)\s*$", {"type": "number"}),
    "count/duration": _text(r"^\s*[0-9]{1,6}\s*/\s*\S"),
    "day or time": _text(r"^\s*[0-9]{4}-?[0-9W]"),
    "text": _NAME,
    "path": _NAME,
    "host": _NAME,
    "systemd service": _NAME,
    "secret": _text(r"^[!-~]+$"),
    "SHA-256": _text(r"^[0-9a-fA-F]{64}$"),
    "URL": _text(r"^\s*[Hh][Tt][Tt][Pp][Ss]?://"),
    "URL of a collector": _text(r"^\s*[Hh][Tt][Tt][Pp][Ss]?://"),
    "URL of a gateway": _text(r"^\s*[Hh][Tt][Tt][Pp][Ss]?://"),
    "name of a host": _text(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"),
    "engine/model": _text(r"^[^/]+/."),
    "address of Ray": _text(r"^\s*(auto|[A-Za-z0-9._-]+:[0-9]+|\[[0-9A-Fa-f:.]+\]:[0-9]+)\s*$"),
    "number above 0": {"type": "number", "exclusiveMinimum": 0, "maximum": 1000},
    "ranking": {"enum": list(RANKINGS)},
    "signal": _text(r"^[A-Za-z0-9]+$"),  # which ones there are depends on the system
    "unit": _text(r"^[A-Za-z]+$"),
    "method": _any_case(METHODS),
    "GET | POST": _any_case(METHODS[:2]),
    "JSONPath": _text(r"^\$"),
    'JSONPath, or "key"': _text(r"^(\$|key$)"),
    "JSONPath, or list of metrics": _text(r"^\$", _list(_text(r"^[A-Za-z_:][A-Za-z0-9_:]*$"), 1)),
    "table, or JSON in a text": _text(None, {"type": "object"}),
    "table of names": {
        "type": "object",
        "additionalProperties": {"anyOf": [_NAME, _list(_NAME, 1)]},
    },
    "table of labels": {
        "type": "object",
        "additionalProperties": _NAME,
        "minProperties": 1,
    },
    "table of texts": _TEXTS,
    "list of hosts": _list(_NAME),
    "list of pools": _list(_NAME),
    "list of other hosts": _list(_NAME, 1),
    "list of models": _list(_NAME, 1),
    "list of names": _list(_NAME, 1),
    "list of origins": _list(_NAME),
    "list of rungs": _list({"enum": [rung.value for rung in Rung]}, 1),
    "list of scopes": _list({"enum": list(SCOPES)}, 1),
    "list of steps": _list({"enum": [step.value for step in Step]}, 1),
    "list of statuses": _list(_whole(400, 599)),
    "list of values": _list({"type": ["string", "boolean", "number"]}),
    "list of words": _list({"type": "string"}),
}
