"""The settings: what is in force, changed while running, and taken back."""

from __future__ import annotations

from starlette.responses import Response

from supervisor.config.entrusted import ADMIN, READ
from supervisor.config.given import ConfigError
from supervisor.core.snapshot import ModelRef
from supervisor.door import DoorError, Unknown
from supervisor.overrides import Change, Overrides

from . import answers, bodies, queries, rows
from .operations import API, Call, Operation
from .problems import Json, problem
from .queries import Query
from .site import Site

PATH = f"{API}/settings"


def operations(site: Site) -> list[Operation]:
    at, one = Settings(site), f"{PATH}/{{key:path}}"
    return [
        Operation(
            "GET",
            PATH,
            at.all,
            "Every setting, whence it is, and whether it can be set",
            answers.Settings,
            problems=(409,),
            scope=READ,
        ),
        Operation("GET", one, at.get, "One setting", rows.Setting, problems=(404, 409), scope=READ),
        Operation(
            "PUT",
            one,
            at.put,
            "Set it while running, or only tell what that would do",
            answers.Changed,
            body=bodies.NewValue,
            problems=(409,),
            scope=ADMIN,
        ),
        Operation(
            "DELETE",
            one,
            at.delete,
            "Take back what was set: it is as it is configured again",
            answers.Changed,
            queries.Unsetting,
            problems=(404, 409),
            scope=ADMIN,
        ),
    ]


class Settings:
    def __init__(self, site: Site) -> None:
        self._site = site

    async def all(self, call: Call[Query, None]) -> Response:
        return Json({"settings": self._rows(), "set_aside": self._overrides.set_aside})

    async def get(self, call: Call[Query, None]) -> Response:
        key = call.named("key")
        found = [row for row in self._rows() if row["key"] == key]
        if not found:
            raise Unknown("setting", key, ())
        return Json(found[0])

    async def put(self, call: Call[Query, bodies.NewValue]) -> Response:
        body = call.body
        try:
            change = await self._overrides.set(
                call.named("key"), body.text, apply_now=body.apply_now, dry_run=body.dry_run
            )
        except ConfigError as error:
            return _refused(error)
        return Json(_row(change) | {"dry_run": body.dry_run})

    async def delete(self, call: Call[queries.Unsetting, None]) -> Response:
        apply_now, dry_run = call.query.apply_now, call.query.dry_run
        key = call.named("key")
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
