"""The routes of the configuration: the file that is in force, and having it read at once."""

from __future__ import annotations

from starlette.responses import Response

from supervisor.config.entrusted import ADMIN, READ
from supervisor.config.given import ConfigError
from supervisor.door import DoorError
from supervisor.overrides import Reload
from supervisor.reloading import STAYS, Reloading

from . import answers
from .bodies import Body
from .operations import API, Call, Operation
from .problems import Json, problem
from .queries import Query
from .site import Site

PATH = f"{API}/config"


class Reading(Body):
    """`apply_now`: its limits hold for those, too, who are loaded. `dry_run` only tells."""

    apply_now: bool = False
    dry_run: bool = False


def operations(site: Site) -> list[Operation]:
    own = _Config(site)
    return [
        Operation(
            "GET",
            PATH,
            own.get,
            "The configuration file that is in force, and what is wrong with a newer one",
            answers.Config,
            problems=(409,),
            scope=READ,
        ),
        Operation(
            "POST",
            f"{PATH}/reload",
            own.reload,
            "Read it at once, or only tell what that would do",
            answers.Reloaded,
            body=Reading,
            problems=(409,),
            scope=ADMIN,
        ),
    ]


class _Config:
    def __init__(self, site: Site) -> None:
        self._site = site

    async def get(self, call: Call[Query, None]) -> Response:
        return Json(self._reloading.state)

    async def reload(self, call: Call[Query, Reading]) -> Response:
        wish = call.body
        try:
            found = await self._reloading.now(
                "read, as it was asked for", apply_now=wish.apply_now, dry_run=wish.dry_run
            )
        except ConfigError as error:
            text = f"the configuration is refused: {STAYS}"
            mistakes = [str(p) for p in error.problems]
            return problem(422, text, errors=mistakes)
        return Json(row(found) | {"file": self._reloading.state["file"], "dry_run": wish.dry_run})

    @property
    def _reloading(self) -> Reloading:
        if self._site.reloading is None:
            raise DoorError("this daemon has no configuration of its own to be read again")
        return self._site.reloading


def row(found: Reload) -> dict[str, object]:
    """`changed` is in force; `restart` are all keys that wait for one."""
    return {
        "changed": [d.key for d in found.changed],
        "restart": [d.key for d in found.restart],
        "hidden": [d.key for d in found.hidden],
        "set_aside": found.set_aside,
        "apply_now": found.apply_now,
        "now": [str(ref) for ref in found.then.now],
        "next_load": {
            engine: None if refs is None else [str(ref) for ref in refs]
            for engine, refs in found.then.next_load.items()
        },
        "sentences": found.sentences,
    }
