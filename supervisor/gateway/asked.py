"""What a request asks: looked at once, and nothing of it built that is not needed.

The body is JSON of which only the outermost keys are read (what they stand for stays bytes), or a
form. A name is replaced in place; every other value stays byte for byte as it was sent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import islice
from typing import Any, Final
from urllib.parse import unquote_plus

import msgspec

from supervisor.engines.serves import Api

from .heads import Head, Headers
from .keep_alive import seconds_of
from .multipart import BadForm, Field, added, fields, replaced
from .surfaces import Does, Streams, Surface, Where, names_model

# An attribute of an enumeration costs seven times what a name does, and each request asks.
_JSON, _PASS, _SHOW, _OLLAMA = Where.JSON, Does.PASS, Does.SHOW, Api.OLLAMA
_BODIES = (Where.JSON, Where.FORM)
LONGEST_NAME = 1024  # characters
SHORT = 64 * 1024  # bytes of a value that is looked into
LARGE = 1024**2  # bytes of a body whose keys are counted before it is read
MOST_KEYS = 100_000
Members = Mapping[str, msgspec.Raw]

_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_any: Final = msgspec.json.Decoder()
_encode: Final = msgspec.json.Encoder().encode
# A key that is there twice, or that may be, under a name of escapes: only one of the two is read.
_MAY_END: Final = (b'":', b'" ', b'"\t', b'"\r', b'"\n')
_KEY: Final = re.compile(rb'(?<!\\)(?:\\\\)*+"[ \t\r\n]*+:')  # where one ends
_MODEL, _ESCAPED = b'"model"', b"\\u006"
_PLACE: Final = re.compile(r"\(byte (\d+)\)")
_JSON_TYPES: Final = {
    bool: "a boolean",
    int: "a number",
    float: "a number",
    list: "an array",
    dict: "an object",
}
# As msgspec calls what is no object.
_OTHERS: Final = {
    "array": "an array",
    "str": "a string",
    "int": "a number",
    "float": "a number",
    "bool": "a boolean",
    "null": "null",
}
_USERS: Final = ("user", "safety_identifier", "metadata")
# What would have to be there for Ollama to do more than to load the model, or to unload it.
_WORK: Final = {
    "ollama_chat": "messages",
    "generate": "prompt",
    "embed": "input",
    "ollama_embeddings": "prompt",
}


class BadRequest(Exception):
    """It cannot be understood: the answer's status, what is wrong, and with which of its keys."""

    def __init__(self, status: int, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.param = status, message, param


class Asked(msgspec.Struct, frozen=True):
    """`model` as the client calls it; None where none is named, and none needs to be.

    `user` is whoever the client says that it asks for. `keep_alive` is Ollama's, in seconds;
    infinite: for ever, None: not said. `unload`: nothing is to be done but that the model goes;
    it is never loaded for that. `members` and `field` are where the body names the model; `anew`:
    it may name it more than once, and an engine could take the other one.
    """

    model: str | None
    stream: bool = False
    user: str | None = None
    keep_alive: float | None = None
    unload: bool = False
    members: Members | None = None
    field: Field | None = None
    anew: bool = False


def look(surface: Surface, head: Head, body: bytes) -> Asked:
    """What is asked. Raises BadRequest. Takes about 1 µs for a chat, and up to 2 ms for each MiB;
    there is no other thread to do it in, for JSON is read with Python's lock held."""
    where = surface.where
    if where is _JSON and surface.does is not _PASS and head.get(b"content-encoding") is None:
        return _json(surface, body)
    if where is Where.NONE:
        return Asked(surface.model)
    if where is Where.PATH:
        model = surface.model or _in_query(head)
        if model is None:
            raise BadRequest(400, 'no model is named: the query has no "model"', "model")
        return Asked(_named(model))
    if surface.does is Does.PASS:
        return _passing(head, body)
    packed = head.get(b"content-encoding")
    if packed not in (None, b"identity"):
        how = packed.decode(errors="replace")[:40]
        raise BadRequest(415, f"the body is packed ({how}): send it as it is")
    if surface.where is Where.FORM and _form_type(head) is not None:
        return _form(surface, head, body)
    return _json(surface, body)


def _passing(head: Head, body: bytes) -> Asked:
    """To an engine as it is: if it names a model, good; if not, that is the engine's affair."""
    try:
        members = _read(body)
        return Asked(_model(members, "model"), members=members, anew=_twice(body))
    except BadRequest:
        return Asked(None)


def _json(surface: Surface, body: bytes) -> Asked:
    members, anew = _read(body), _twice(body)
    if surface.does in (_SHOW, Does.MANAGE) and (blank := _blank(members)):
        members = {key: raw for key, raw in members.items() if key not in blank}
        anew = True
    model = surface.model
    if model is None:
        model = _model(members, "model")
        if surface.does is _SHOW and (other := _model(members, "name")) is not None:
            if model is not None and other != model:
                raise BadRequest(400, 'the body names two models: "model" and "name"', "name")
            if model is not None:
                members = {key: raw for key, raw in members.items() if key != "name"}
                return Asked(model, members=members, anew=True)
            model = other
    if model is None and surface.does is not Does.MANAGE:
        raise BadRequest(400, 'no model is named: the body has no "model"', "model")
    if surface.api is not _OLLAMA:
        streams = _is(members, "stream", b"true") and surface.streams is not Streams.NO
        return Asked(model, streams, _user(members), members=members, anew=anew)
    # Ollama's API streams unless it is told not to.
    streams = surface.streams is not Streams.NO and not _is(members, "stream", b"false")
    said, work = members.get("keep_alive"), _WORK.get(surface.name)
    keep_alive = None if said is None else seconds_of(_value(said))
    unload = keep_alive == 0 and work is not None and _is_empty(members.get(work))
    return Asked(model, streams, None, keep_alive, unload, members, anew=anew)


def _blank(members: Members) -> set[str]:
    """Of a model's two names the one that says nothing: clients written in Go always send both."""
    told = {key: bytes(raw) for key in ("model", "name") if (raw := members.get(key)) is not None}
    blank = {key for key, raw in told.items() if raw == b'""'}
    return blank if len(blank) < len(told) else set()


def _read(body: bytes) -> Members:
    if len(body) > LARGE and _has_many(body):
        raise BadRequest(413, f"the body has more than {MOST_KEYS:,} keys")
    try:
        members = _members.decode(body)
    except RecursionError:
        raise BadRequest(
            400, "the body is not JSON that can be read: it is nested too deep"
        ) from None
    except msgspec.ValidationError as wrong:
        found = _OTHERS.get(str(wrong).partition("got `")[2].partition("`")[0], "something else")
        raise BadRequest(400, f"the body is to be a JSON object, and is {found}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as wrong:
        raise BadRequest(400, _not_json(body, wrong)) from None
    for key in members:
        # To some engines the case of a key makes no difference, and the last one counts.
        if len(key) == 5 and key != "model" and key.lower() == "model":
            raise BadRequest(400, f'the body has a key {key!r}: it is written "model"', key)
    return members


def _has_many(body: bytes) -> bool:
    """Keys, at whatever depth: a million of them, in 8 MiB, take a second to read, and 150 MiB."""
    if sum(map(body.count, _MAY_END)) < MOST_KEYS:
        return False
    return next(islice(_KEY.finditer(body), MOST_KEYS, None), None) is not None


def _twice(body: bytes) -> bool:
    """May some key be there twice? In doubt yes: then the body is written anew, with what was
    read of it, which costs little."""
    return body.count(_MODEL) > 1 or _ESCAPED in body


def _not_json(body: bytes, wrong: Exception) -> str:
    if not body.strip():
        return 'the body is empty: a JSON object with a "model" is expected'
    if isinstance(wrong, UnicodeDecodeError):
        return f"the body is not JSON: it is not UTF-8 at byte {wrong.start}"
    words = str(wrong)
    place = _PLACE.search(words)
    what = _PLACE.sub("", words.removeprefix("JSON is malformed:")).strip()
    if place is None:
        return f"the body is not JSON: it ends too early, at byte {len(body)}"
    return f"the body is not JSON: {what} at byte {place[1]}"


def _value(raw: msgspec.Raw) -> Any:
    """None where it is too long to be looked into, or cannot be read."""
    try:
        return _any.decode(raw) if len(memoryview(raw)) <= SHORT else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _model(members: Members, key: str) -> str | None:
    raw = members.get(key)
    if raw is None:
        return None
    value = _value(raw)
    if value is None or isinstance(value, str):
        return None if value is None else _named(value)
    kind = _JSON_TYPES[type(value)]
    raise BadRequest(400, f'"{key}" is to be a string, and is {kind}', key)


def _named(name: str) -> str:
    if not name.strip():
        raise BadRequest(400, "no model is named: its name is empty", "model")
    if len(name) > LONGEST_NAME:
        raise BadRequest(400, f"a model's name has at most {LONGEST_NAME} characters", "model")
    return name


def _is(members: Members, key: str, literal: bytes) -> bool:
    raw = members.get(key)
    return raw is not None and bytes(raw) == literal


def _is_empty(raw: msgspec.Raw | None) -> bool:
    """Absent, null, "" or []."""
    if raw is None:
        return True
    size = len(memoryview(raw))
    return size <= SHORT and not _value(raw)


def _user(members: Members) -> str | None:
    for key in _USERS:
        if (raw := members.get(key)) is not None:
            value = _value(raw)
            if key == "metadata":
                value = value.get("user_id") if isinstance(value, dict) else None
            if isinstance(value, str) and value:
                return value
    return None


def _in_query(head: Head) -> str | None:
    """Engines take the first name or the last, and know quoted keys: there is to be one alone."""
    found: set[str] = set()
    for pair in filter(names_model, head.query.split(b"&")):
        key, _, value = pair.partition(b"=")
        found.add(unquote_plus(value.decode(errors="replace")))
        if key != b"model" or len(found) > 1:
            text = 'the query may name more than one model: write it once, as "model=NAME"'
            raise BadRequest(400, text, "model")
    return found.pop() if found else None


# What engines are told of a body that was read as JSON here. Read as a form, as curl calls all that
# it sends, it could name another model.
_AS_JSON: Final = ((b"content-type", b"application/json"),)


def typed(surface: Surface, head: Head) -> Headers:
    """The headers that say how the body was read, where the client's do not."""
    type, where = head.get(b"content-type"), surface.where
    if type is None or surface.does not in (Does.INFER, Does.SHOW) or where not in _BODIES:
        return ()
    form = b"urlencoded" in type.lower()
    return _AS_JSON if form or (where is _JSON and _form_type(head) is not None) else ()


# -- forms


def _form_type(head: Head) -> bytes | None:
    """The Content-Type of a form; None: it is none."""
    type = head.get(b"content-type")
    return type if type is not None and type.lower().startswith(b"multipart/") else None


def _form(surface: Surface, head: Head, body: bytes) -> Asked:
    found: Field | None = None
    stream, user, twice = False, None, False
    try:
        for field in fields(_form_type(head) or b"", body):
            if field.name == "model":
                if found is not None and field.value != found.value:
                    raise BadRequest(400, "the form names two models", "model")
                found, twice = field, found is not None
            elif field.name == "stream":
                stream = field.value.strip().lower() in (b"true", b"1")
            elif field.name in ("user", "safety_identifier"):
                user = user or field.value.decode(errors="replace")
    except BadForm as wrong:
        raise BadRequest(400, str(wrong), wrong.param) from None
    model = surface.model
    if model is None:
        if found is None:
            raise BadRequest(400, 'no model is named: the form has no field "model"', "model")
        model = _named(found.value.decode(errors="replace").strip())
    streams = stream and surface.streams is not Streams.NO
    return Asked(model, streams, user, field=found, anew=twice)


# -- the name that goes on


def renamed(
    surface: Surface, head: Head, body: bytes, name: str, asked: Asked | None = None
) -> bytes:
    """The body with the engine's own `name` of the model: the same object where it has that
    already. With what was `asked`, the body is not looked at again. Raises BadRequest."""
    if surface.where in (Where.PATH, Where.NONE):
        return body
    if asked is None:
        asked = look(surface, head, body)
    if asked.members is not None:
        return _renamed_json(asked.members, body, name, asked.anew)
    type = _form_type(head)
    if type is None:
        return body
    if asked.field is None:
        return added(type, body, "model", name.encode())
    value = name.encode()
    if asked.field.value == value:
        return body
    named = [asked.field]
    if asked.anew:  # by the same name twice, and an engine could take either
        named = [field for field in fields(type, body) if field.name == "model"]
    for field in reversed(named):
        body = replaced(body, field, value)
    return body


def _renamed_json(members: Members, body: bytes, name: str, anew: bool) -> bytes:
    key = "name" if "model" not in members and "name" in members else "model"
    if not anew and key in members and _value(members[key]) == name:
        return body
    return _encode({**members, key: msgspec.Raw(_encode(name))})
