"""Requests that no model or engine can be found for: why, and what would be right."""

from __future__ import annotations

from typing import Any, ClassVar

from supervisor.core.snapshot import ModelRef
from supervisor.core.types import ModelType

from .surfaces import Surface

SHOWN = 8  # names of loaded models in a message
LONGEST = 200  # characters of a name that is quoted

_PEOPLE = {
    ModelType.CHAT: "chats",
    ModelType.EMBEDDING: "makes embeddings",
    ModelType.RERANK: "ranks documents",
    ModelType.SPEECH: "hears or speaks",
    ModelType.IMAGE: "makes images",
}


class WrongModel(Exception):
    """Nobody can be asked that. The message is for people, `code` for programs, `why` for metrics;
    `told` is what an answer may say besides."""

    status: ClassVar[int] = 400
    code: ClassVar[str] = "wrong_model"
    why: ClassVar[str] = "wrong_model"
    wait: ClassVar[float | None] = None  # seconds after which it may be another matter

    def __init__(self, message: str, **told: object) -> None:
        super().__init__(message)
        self.message, self.told = message, told


class UnknownModel(WrongModel):
    """Nobody is called that. `closest` look like it, `loaded` are there; `stands_for` are the names
    that it is an alias of, none of which is there."""

    status: ClassVar[int] = 404
    code: ClassVar[str] = "model_not_found"
    why: ClassVar[str] = "unknown_model"

    def __init__(
        self,
        name: str,
        closest: tuple[str, ...],
        loaded: tuple[str, ...],
        stands_for: tuple[str, ...] = (),
    ) -> None:
        self.name, self.closest, self.loaded, self.stands_for = name, closest, loaded, stands_for
        message = f"no model is called {name[:LONGEST]!r}"
        if stands_for:
            message += f", an alias of {', '.join(stands_for)}"
        if closest:
            message += f"; did you mean {' or '.join(closest)}?"
        if loaded:
            message += f"{'' if closest else '.'} Loaded now: {', '.join(loaded[:SHOWN])}"
            message += f" and {len(loaded) - SHOWN} more" if len(loaded) > SHOWN else ""
        super().__init__(message, closest=closest, loaded=loaded)


class NotYetKnown(UnknownModel):
    """Nobody is called that so far: not all engines have said which models they have."""

    status: ClassVar[int] = 503
    code: ClassVar[str] = "engine_down"
    why: ClassVar[str] = "engine_down"
    wait: ClassVar[float | None] = 2.0

    def __init__(self, *unknown: Any) -> None:
        super().__init__(*unknown)
        self.message += "; but an engine that may have it has not answered yet"


class UnknownEngine(WrongModel):
    """No engine is called that. `known` are those that there are."""

    status: ClassVar[int] = 404
    code: ClassVar[str] = "engine_not_found"
    why: ClassVar[str] = "unknown_engine"

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        there = f"; there are {', '.join(known)}" if known else ""
        super().__init__(f"no engine is called {name[:LONGEST]!r}{there}", engines=known)


class NotOne(WrongModel):
    """It does not say which engine it is for, and more than one would do, or none."""

    code: ClassVar[str] = "which_engine"
    why: ClassVar[str] = "which_engine"


class NotAllowed(WrongModel):
    """It would change what an engine has, or could be for a model that the client may not use."""

    status: ClassVar[int] = 403
    code: ClassVar[str] = "not_allowed"
    why: ClassVar[str] = "not_allowed"


class WrongApi(WrongModel):
    """Its engine does not serve what is asked. `instead` are paths of ours at which it does."""

    code: ClassVar[str] = "wrong_api"
    why: ClassVar[str] = "wrong_api"

    def __init__(
        self, name: str, ref: ModelRef, title: str, surface: Surface, instead: tuple[str, ...]
    ) -> None:
        self.name, self.ref, self.instead = name, ref, instead
        own = f"/engines/{ref.engine}/…"
        super().__init__(
            f"{name[:LONGEST]!r} is a model of {ref.engine} ({title}), which does not serve "
            f"{surface.name.replace('_', ' ')} in {surface.api.value}'s API; "
            + (f"ask at {' or '.join(instead)}" if instead else f"its own paths are below {own}"),
            engine=ref.engine,
            instead=instead,
        )


class WrongType(WrongModel):
    """It is for something else: `told`, by its engine or the configuration."""

    code: ClassVar[str] = "wrong_model_type"
    why: ClassVar[str] = "wrong_type"

    def __init__(
        self,
        name: str,
        ref: ModelRef,
        told: ModelType,
        wanted: ModelType | None,
        instead: tuple[str, ...],
    ) -> None:
        self.name, self.ref, self.type, self.instead = name, ref, told, instead
        where = f"; ask it at {' or '.join(instead)}" if instead else ""
        super().__init__(
            f"{name[:LONGEST]!r} {_PEOPLE[told]}, by the word of its engine or of the "
            f"configuration: here one is asked that {_PEOPLE[wanted or told]}{where}",
            engine=ref.engine,
            type=told.value,
            instead=instead,
        )
