"""The routes of the settings: what is in force, changed while running, and taken back."""

from __future__ import annotations

from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from supervisor.core.snapshot import ModelRef
from supervisor.door import DoorError, Unknown
from supervisor.given import ConfigError
from supervisor.overrides import Change, Overrides

from . import bodies
from .problems import Json, problem
from .requests import BadQuery, body_of, queried
from .site import Site

API = "/api/v1/settings"


def routes(site: Site) -> list[Route]:
    own = Settings(site)
    return [
        Route(API, own.all),
        Route(f"{API}/{{key:path}}", own.get, methods=["GET"]),
        Route(f"{API}/{{key:path}}", own.put, methods=["PUT"]),
        Route(f"{API}/{{key:path}}", own.delete, methods=["DELETE"]),
    ]


class Settings:
    def __init__(self, site: Site) -> None:
        self._site = site

    @queried()
    async def all(self, request: Request) -> Response:
        return Json({"settings": self._rows(), "set_aside": self._overrides.set_aside})

    @queried()
    async def get(self, request: Request) -> Response:
        key = _key(request)
        found = [row for row in self._rows() if row["key"] == key]
        if not found:
            raise Unknown("setting", key, ())
        return Json(found[0])

    @queried()
    async def put(self, request: Request) -> Response:
        body = await body_of(request, bodies.Setting)
        try:
            change = await self._overrides.set(
                _key(request), body.text, apply_now=body.apply_now, dry_run=body.dry_run
            )
        except ConfigError as error:
            return _refused(error)
        return Json(_row(change) | {"dry_run": body.dry_run})

    @queried("apply_now", "dry_run")
    async def delete(self, request: Request) -> Response:
        apply_now, dry_run = (_flag(request, name) for name in ("apply_now", "dry_run"))
        key = _key(request)
        try:
            change = await self._overrides.unset(key, apply_now=apply_now, dry_run=dry_run)
        except KeyError:
            raise Unknown("override", key, tuple(self._overrides.texts)) from None
        except ConfigError as error:
            return _refused(error)
        return Json(_row(change) | {"dry_run": dry_run})

    @property
    def _overrides(self) -> Overrides:
        if self._site.overrides is None:
            raise DoorError("the settings of this daemon cannot be changed while it runs")
        return self._site.overrides

    def _rows(self) -> list[dict[str, object]]:
        return [row._asdict() for row in self._overrides.rows()]


def _key(request: Request) -> str:
    return unquote(str(request.path_params["key"]))


def _flag(request: Request, name: str) -> bool:
    given = request.query_params.get(name, "false")
    if given not in ("true", "false"):
        raise BadQuery(f"{name} is true or false, not {given!r}")
    return given == "true"


def _refused(error: ConfigError) -> Response:
    mistakes = [f"{p.key}: {p.message}" for p in error.problems]
    text = "the setting is refused, and nothing has changed"
    return problem(422, text, errors=mistakes)


def _row(change: Change) -> dict[str, object]:
    return {
        "key": change.key,
        "value": change.value,
        "before": change.before,
        "apply_now": change.apply_now,
        "now": _names(change.now),
        "next_load": {
            engine: None if refs is None else _names(refs)
            for engine, refs in change.next_load.items()
        },
        "sentences": change.sentences,
    }


def _names(refs: tuple[ModelRef, ...]) -> list[str]:
    return [str(ref) for ref in refs]
