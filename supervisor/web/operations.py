"""The table of operations: of each what it takes, what it answers, and who does it.

Starlette's routes, the checks of queries and bodies, and the description of openapi.py are all
made of it, so that none of them can say something else than the others.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, compile_path

from supervisor.config.entrusted import ADMIN, FREE, READ

from .bodies import Body
from .queries import Query
from .requests import body_of, nothing_in, query_of

API = "/api/v1"
ASSETS = "/assets/"  # what lies there is the same on every machine
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

Q = TypeVar("Q", bound=Query)
B = TypeVar("B", bound=Body | None)


@dataclass(frozen=True, slots=True)
class Call(Generic[Q, B]):
    """One request whose query and body have been checked."""

    request: Request
    query: Q
    body: B

    def named(self, part: str = "id") -> str:
        """What stands in the path in the place of {part}."""
        return str(self.request.path_params[part])


Endpoint = Callable[[Call[Any, Any]], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Operation:
    """`path` as Starlette writes it. `answer` is the model of what is answered where all goes well,
    with one of `statuses`; or, as a text, its media type where it is no JSON. `scope` is what one
    needs for it, or FREE. `problems` are those besides 422, and what the guard answers to anybody;
    `also` other media types of an answer."""

    method: str
    path: str
    endpoint: Endpoint
    summary: str
    answer: Any
    query: type[Query] = Query
    body: type[Body] | None = None
    statuses: tuple[int, ...] = (200,)
    problems: tuple[int, ...] = ()
    also: tuple[str, ...] = ()
    scope: str = field(kw_only=True)

    @property
    def id(self) -> str:
        """Its name in programs that are made from the description."""
        path = self.path.removeprefix(API).replace(":path", "").strip("/") or "page"
        words = path.replace("/", "_").replace(".", "_")
        return f"{self.method.lower()}_{words.replace('{', 'by_').replace('}', '')}"

    async def serve(self, request: Request) -> Response:
        """Raises BadQuery or BadBody with every mistake, before anything is done."""
        query = query_of(request, self.query)
        if self.body is not None:
            return await self.endpoint(Call(request, query, await body_of(request, self.body)))
        await nothing_in(request)
        return await self.endpoint(Call(request, query, None))


def routes_of(operations: Iterable[Operation]) -> list[Route]:
    """One for each path: so whoever comes with another method is told of all that there are."""
    found: dict[str, dict[str, Operation]] = {}
    for operation in operations:
        here = found.setdefault(operation.path, {})
        if operation.method in here:
            raise ValueError(f"{operation.method} {operation.path} is there twice")
        here[operation.method] = operation
    return [Route(path, _among(here), methods=list(here)) for path, here in found.items()]


class Needs:
    """What one needs for a request, by the table. Whatever is not in it is not there either: to ask
    for it is to look, and to have it changed would take everything."""

    def __init__(self, operations: Iterable[Operation] = ()) -> None:
        self._rows: dict[str, list[tuple[re.Pattern[str], str]]] = {}
        for operation in operations:
            row = compile_path(operation.path)[0], operation.scope
            self._rows.setdefault(operation.method, []).append(row)

    def __call__(self, method: str, path: str) -> str:
        for pattern, scope in self._rows.get("GET" if method == "HEAD" else method, ()):
            if pattern.match(path):
                return scope
        return (FREE if is_page(path) else READ) if method in SAFE else ADMIN


def is_page(path: str) -> bool:
    """It is the page's own, which says nothing of the machine."""
    return path == "/" or (path.startswith(ASSETS) and "/" not in path[len(ASSETS) :])


def _among(here: Mapping[str, Operation]) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        return await here[method].serve(request)

    return serve
