"""Retentions that were set while running: over the configuration, until they are taken back."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from collectors.reading import Seconds
from supervisor.core.policy import FOREVER, EnginePolicy, ModelPolicy, Policy, Retention, Scope
from supervisor.core.snapshot import EngineId
from supervisor.journal.shelves import Shelf

log = logging.getLogger("ullage.loop")

HOST = "host"
S = TypeVar("S", bound=Scope)


@dataclass(frozen=True, slots=True)
class Wish:
    """What is wanted of one scope: of "host", "engine NAME" or "model NAME"."""

    retention: Retention
    keep_alive: Seconds | None = None

    @property
    def body(self) -> dict[str, Any]:
        keep = self.keep_alive
        return {
            "retention": self.retention.value,
            "keep_alive": -1 if keep == FOREVER else keep,
        }


def read(body: Mapping[str, Any]) -> Wish:
    keep = body["keep_alive"]
    if keep is not None:
        keep = FOREVER if keep < 0 else Seconds(float(keep))
    return Wish(Retention(body["retention"]), keep)


@dataclass(slots=True)
class Retentions:
    """`given` is the policy as it was configured."""

    shelf: Shelf
    given: Policy

    @property
    def all(self) -> dict[str, Wish]:
        found = {}
        for scope, body in self.shelf.all().items():
            try:
                found[scope] = read(body)
            except (KeyError, TypeError, ValueError):
                log.warning("the retention of %s cannot be read: it is dropped", scope)
                self.shelf.drop(scope)
        return found

    def set(self, scope: str, wish: Wish) -> None:
        self.shelf.keep(scope, wish.body)
        keep = wish.keep_alive
        time = "" if keep is None else " for ever" if keep == FOREVER else f" for {keep:g} s"
        log.info("retention of %s: %s%s", scope, wish.retention.value, time)

    def drop(self, scope: str) -> bool:
        """As it is configured again. False: nothing else was set."""
        if scope not in self.shelf:
            return False
        self.shelf.drop(scope)
        log.info("retention of %s: as it is configured", scope)
        return True

    def over(self, policy: Policy, wishes: Mapping[str, Wish] | None = None) -> Policy:
        """`policy` with `wishes`, None: with those there are; and with what is configured where
        nothing is wished any more."""
        wishes, given = self.all if wishes is None else wishes, self.given
        engines, models = dict(policy.engines), dict(policy.models)
        for id in {*policy.engines, *_named(wishes, "engine ")}:
            engine = EngineId(id)
            own = engines.get(engine, EnginePolicy())
            before = given.engines.get(engine, EnginePolicy())
            engines[engine] = _said(own, before, wishes.get(f"engine {id}"))
        for name in {*policy.models, *_named(wishes, "model ")}:
            model = models.get(name, ModelPolicy())
            was = given.models.get(name, ModelPolicy())
            wish = wishes.get(f"model {name}")
            models[name] = replace(
                _said(model, was, wish), pinned=was.pinned if wish is None else False
            )
        host = _said(policy, given, wishes.get(HOST))
        return replace(host, engines=engines, models=models)


def _named(wishes: Mapping[str, Wish], kind: str) -> list[str]:
    return [scope.removeprefix(kind) for scope in wishes if scope.startswith(kind)]


def _said(scope: S, given: S, wish: Wish | None) -> S:
    if wish is None:
        return replace(scope, retention=given.retention, keep_alive=given.keep_alive)
    return replace(scope, retention=wish.retention, keep_alive=wish.keep_alive)
