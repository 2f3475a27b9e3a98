"""What clients may ask, and where: which API a path belongs to, and what is to be done with it.

Clients of OpenAI's API write it below /v1, below nothing, or below what some engine has instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from urllib.parse import quote, unquote_plus, unquote_to_bytes

from supervisor.core.types import ModelType
from supervisor.engines.serves import TAILS, Api, Serves

from .heads import Head
from .managing import manages


class Where(Enum):
    """Where a request names its model."""

    JSON = "the body, as JSON"
    FORM = "the body, as a form"
    PATH = "the path, or its query"
    NONE = "nowhere"


class Streams(Enum):
    """How an answer comes piece by piece, where that is asked for."""

    SSE = "events"
    NDJSON = "lines of JSON"
    NO = "not at all"


class Does(Enum):
    """What becomes of a request."""

    INFER = "a model works on it"
    SHOW = "its engine tells of a model, and loads nothing"
    STORED = "an answer of before is fetched, by a name that only its engine knows"
    MODELS = "we list the models"
    MODEL = "we tell of one of them"
    TAGS = "we list the models, as Ollama does"
    PS = "we list the loaded ones, as Ollama does"
    VERSION = "we tell our version, as Ollama does"
    HELLO = "we say that we are here, as Ollama does"
    HEALTH = "we say that we are well"
    MANAGE = "it would change what an engine has, or end what it does for others"
    PASS = "it goes to an engine as it is"


@dataclass(frozen=True, slots=True)
class Surface:
    """One way to ask. `model` is whom the path names, `engine` whose way it is (/engines/NAME/…).
    `path` is what goes on to that engine, where the engine's own table has no part in it; where it
    is the engine's own, `method` is told, too."""

    name: str
    api: Api
    does: Does
    where: Where = Where.NONE
    type: ModelType | None = None
    streams: Streams = Streams.NO
    model: str | None = None
    engine: str | None = None
    path: bytes = b""
    method: bytes = b""


Route = tuple[bytes, bytes]  # method, path

_BELOW = {
    Api.OPENAI: ("/v1", "", "/openai/v1", "/api/v1", "/engines/v1"),
    Api.ANTHROPIC: ("/v1", "", "/anthropic/v1", "/engines/v1"),
    Api.OLLAMA: ("/api",),
}
_ALSO = {"rerank": ("/v1/reranking", "/reranking", "/v2/rerank")}
_FORMS = ("edits", "variations", "transcriptions", "translations")
_TYPES = {
    "embeddings": ModelType.EMBEDDING,
    "embed": ModelType.EMBEDDING,
    "ollama_embeddings": ModelType.EMBEDDING,
    "rerank": ModelType.RERANK,
    "images": ModelType.IMAGE,
    "edits": ModelType.IMAGE,
    "variations": ModelType.IMAGE,
    "transcriptions": ModelType.SPEECH,
    "translations": ModelType.SPEECH,
    "speech": ModelType.SPEECH,
    "realtime": None,
    "show": None,
}
_STREAMS = {
    **dict.fromkeys(("chat", "completions", "responses", "messages"), Streams.SSE),
    **dict.fromkeys(("images", "edits", "transcriptions"), Streams.SSE),
    **dict.fromkeys(("ollama_chat", "generate"), Streams.NDJSON),
}
_OURS = {
    "/v1/models": ("models", Api.OPENAI, Does.MODELS),
    "/models": ("models", Api.OPENAI, Does.MODELS),
    "/api/v1/models": ("models", Api.OPENAI, Does.MODELS),
    "/openai/v1/models": ("models", Api.OPENAI, Does.MODELS),
    "/engines/v1/models": ("models", Api.OPENAI, Does.MODELS),
    "/anthropic/v1/models": ("models", Api.ANTHROPIC, Does.MODELS),
    "/api/tags": ("tags", Api.OLLAMA, Does.TAGS),
    "/api/ps": ("ps", Api.OLLAMA, Does.PS),
    "/api/version": ("version", Api.OLLAMA, Does.VERSION),
    "/": ("hello", Api.OLLAMA, Does.HELLO),
    "/healthz": ("health", Api.NATIVE, Does.HEALTH),
}
_MANAGING = {
    "/api/pull": b"POST",
    "/api/push": b"POST",
    "/api/create": b"POST",
    "/api/copy": b"POST",
    "/api/delete": b"DELETE",
}
_DEPLOYMENTS = b"/openai/deployments/"
_ENGINES = b"/engines/"
_BLOBS = b"/api/blobs/"
_SLASHES = re.compile(rb"/{2,}")
# A response that is kept, and what is behind it. Anything else may lead an engine that tidies paths
# up to somewhere else: "//", or "..".
_KEPT = re.compile(rb"/(?!\.+(?:/|\Z))[\w.:=+~-]+(/cancel|/input_items)?")


def _part(name: str, api: Api) -> Surface:
    does, where = Does.INFER, Where.FORM if name in _FORMS else Where.JSON
    if name == "show":
        does = Does.SHOW
    elif name == "realtime":
        where = Where.PATH
    type = _TYPES.get(name, ModelType.CHAT)
    return Surface(name, api, does, where, type, _STREAMS.get(name, Streams.NO))


PARTS = {name: _part(name, api) for api, tails in TAILS.items() for name in tails}
# Where we have each part: what a client is told to ask instead.
PATHS = {
    name: (_BELOW[api][0] + tail) for api, tails in TAILS.items() for name, tail in tails.items()
}


def _routes() -> Iterator[tuple[Route, Surface]]:
    for api, tails in TAILS.items():
        for name, tail in tails.items():
            method = b"GET" if name == "realtime" else b"POST"
            for path in (*(below + tail for below in _BELOW[api]), *_ALSO.get(name, ())):
                yield (method, path.encode()), PARTS[name]
    for path, (name, api, does) in _OURS.items():
        for method in (b"GET", b"HEAD"):
            yield (method, path.encode()), Surface(name, api, does)
    for path, method in _MANAGING.items():
        yield (method, path.encode()), Surface("manage", Api.OLLAMA, Does.MANAGE, Where.JSON)


_ROUTES = dict(_routes())
# Paths that go on behind what is known, the longest first.
_LISTS = tuple(f"{path}/".encode() for path in _OURS if path.endswith("/models"))
_RESPONSES = tuple(f"{below}/responses/".encode() for below in _BELOW[Api.OPENAI])


def surface_of(method: bytes, path: bytes) -> Surface | None:
    """Whom a request is for; None: there is nothing here. `path` is as it was sent."""
    known = _ROUTES.get((method, path))
    if known is not None:
        return known
    if path.startswith(_DEPLOYMENTS):
        return _deployment(method, path)
    for below in _LISTS:
        if path.startswith(below) and len(path) > len(below) and method in (b"GET", b"HEAD"):
            api = Api.ANTHROPIC if below.startswith(b"/anthropic") else Api.OPENAI
            return Surface("model", api, Does.MODEL, model=_text(path[len(below) :]))
    for below in _RESPONSES:
        if path.startswith(below) and len(path) > len(below):
            return _stored(method, path[len(below) - 1 :])
    if path.startswith(_BLOBS) and method in (b"HEAD", b"POST"):
        return Surface("manage", Api.OLLAMA, Does.MANAGE, path=path)
    if path.startswith(_ENGINES):
        return _engine(method, path)
    # Some clients put a path behind an address that ends with a slash.
    plain = _SLASHES.sub(b"/", path)
    return None if plain == path else _ROUTES.get((method, plain))


def _deployment(method: bytes, path: bytes) -> Surface | None:
    """Azure's way: /openai/deployments/MODEL/chat/completions, and MODEL may have slashes."""
    rest = path[len(_DEPLOYMENTS) :]
    for name, tail in TAILS[Api.OPENAI].items():
        end = tail.encode()
        if rest.endswith(end) and len(rest) > len(end):
            known = _ROUTES.get((method, b"/v1" + end))
            # "/completions" ends "/chat/completions" too: what comes before is no model's name.
            if known is not None and not (name == "completions" and rest.endswith(b"/chat" + end)):
                return replace(known, model=_text(rest[: -len(end)]))
    return None


def _stored(method: bytes, rest: bytes) -> Surface | None:
    """/v1/responses/ID, and what is behind that; `rest` begins with the slash before ID."""
    found = _KEPT.fullmatch(unquote_to_bytes(rest))
    if found is None:
        return None
    if method in (b"GET", b"DELETE") or (method == b"POST" and found[1] == b"/cancel"):
        return Surface("responses", Api.OPENAI, Does.STORED, path=rest)
    return None


def _engine(method: bytes, path: bytes) -> Surface | None:
    """/engines/NAME/…: to that engine, with the path behind its name."""
    name, slash, behind = path[len(_ENGINES) :].partition(b"/")
    if not name or not slash or name == b"v1":  # Docker Model Runner's clients mean nobody by it
        return None
    rest, engine = b"/" + behind, _text(name)
    if manages(method, unquote_to_bytes(rest)):
        return Surface("manage", Api.NATIVE, Does.MANAGE, engine=engine, path=rest)
    inner = None if rest.startswith((_ENGINES, _DEPLOYMENTS)) else surface_of(method, rest)
    if inner is not None and inner.does in (Does.INFER, Does.SHOW):
        return replace(inner, engine=engine, path=rest)
    return Surface(
        "pass", Api.NATIVE, Does.PASS, Where.JSON, engine=engine, path=rest, method=method
    )


def _text(name: bytes) -> str:
    return unquote_to_bytes(name).decode(errors="replace")


def target(surface: Surface, serves: Serves, head: Head, name: str = "") -> bytes | None:
    """The target of the request to an engine that has these paths; None: it does not serve that.
    `name` is what the engine calls the model, where the query tells it."""
    if surface.engine is not None or surface.does is Does.MANAGE:
        path = surface.path or head.path
    else:
        served = serves.get(surface.name)
        if served is None:
            return None
        path = served.encode() + surface.path
    query = head.query
    if surface.does in (Does.INFER, Does.SHOW):
        query = _named_once(query, name if surface.where is Where.PATH else "")
    return path + b"?" + query if query else path


def _named_once(query: bytes, name: str) -> bytes:
    """The query with this model in it; with "" for a name with none, for the body names it: to some
    engines the query's word counts for more than that of the body."""
    pairs = query.split(b"&") if query else []
    model = b"model=" + quote(name, safe="").encode()
    if not any(map(names_model, pairs)):
        return b"&".join((*pairs, model)) if name else query
    return b"&".join(
        model if names_model(pair) else pair for pair in pairs if name or not names_model(pair)
    )


def names_model(pair: bytes) -> bool:
    """Is this part of a query read as the model's name? By some engines it ends with a ";" too."""
    keys = (part.partition(b"=")[0].decode("latin-1") for part in pair.split(b";"))
    return any(unquote_plus(key).strip().lower() == "model" for key in keys)


def spoken(surface: Surface, head: Head) -> Api:
    """In whose form the client is answered: Anthropic's clients say so where the paths are the
    same as OpenAI's."""
    if surface.does in (Does.MODELS, Does.MODEL) and head.get(b"anthropic-version") is not None:
        return Api.ANTHROPIC
    return surface.api


def api_of(path: bytes, head: Head | None = None) -> Api:
    """In whose form a client is answered that asks for what is not there."""
    if head is not None and head.get(b"anthropic-version") is not None:
        return Api.ANTHROPIC
    if path.startswith(b"/engines/") and not path.startswith(b"/engines/v1/"):
        return Api.NATIVE
    if path.startswith(b"/api/") and not path.startswith(b"/api/v1/"):
        return Api.OLLAMA
    if path.startswith(b"/anthropic/") or b"/messages" in path:
        return Api.ANTHROPIC
    return Api.OPENAI


_THERE = (
    "there is OpenAI's API below /v1, Anthropic's at /v1/messages, Ollama's below /api, and each "
    "engine's own below /engines/NAME/"
)


def nothing_at(method: bytes, path: bytes) -> tuple[int, str, tuple[tuple[bytes, bytes], ...]]:
    """Status, message and headers, where surface_of has found nothing."""
    methods = (b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE")
    allowed = [m for m in methods if m != method and surface_of(m, path) is not None]
    asked = f"{method.decode(errors='replace')} {_text(path)[:200]}"
    if allowed:
        allow = b", ".join(allowed)
        return 405, f"{asked}: the method here is {allow.decode()}", ((b"allow", allow),)
    return 404, f"there is nothing at {asked}; {_THERE}", ()
