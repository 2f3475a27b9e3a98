"""What may be posted, and every mistake in it at once."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from collectors.reading import Bytes, Seconds
from supervisor.core.policy import Retention
from supervisor.forms import KEEP_ALIVE, RETENTION
from supervisor.leases import TTL
from supervisor.units import parse_duration, parse_size

NO_KEYS = "there is no such key; it takes none"

Name = Annotated[str, Field(min_length=1, max_length=500)]
Names = Annotated[list[Name], Field(min_length=1, max_length=1000)]
Size = Annotated[Bytes, BeforeValidator(parse_size)]
Long = Annotated[Seconds, BeforeValidator(parse_duration), Field(gt=0)]
Ttl = Annotated[Seconds, BeforeValidator(parse_duration), Field(ge=1, le=31 * 86400)]
Pids = Annotated[list[Annotated[int, Field(gt=0, lt=2**32)]], Field(max_length=1000)]
KeepAlive = Annotated[Seconds, BeforeValidator(KEEP_ALIVE.read)]
Choice = Annotated[Retention, BeforeValidator(RETENTION.read)]
LEASE, RESERVATION = TTL, Seconds(3600)

Period = Annotated[Seconds, BeforeValidator(parse_duration), Field(gt=0, le=86400)]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


class OneOf(Body):
    """A body that says exactly one of several things. `pool` goes with `free` alone."""

    def _one_of(self, *names: str) -> None:
        given = [n for n in names if getattr(self, n) is not None]
        wanted = " or ".join(names)
        if not given:
            raise ValueError(f"say what: {wanted}")
        if len(given) > 1:
            raise ValueError(f"say one of {wanted}, not {' and '.join(given)}")
        if "pool" in self.model_fields_set and given != ["free"]:
            raise ValueError("pool goes with free alone")


class Evict(OneOf):
    models: Names | None = None
    all: Literal[True] | None = None
    free: Size | None = None
    pool: Name | None = None
    force: bool = False
    wait: bool = True

    @model_validator(mode="after")
    def _check(self) -> Self:
        self._one_of("models", "all", "free")
        if self.force and self.free is not None:
            raise ValueError("force does not go with free: room is made of idle models")
        return self


class Plan(OneOf):
    load: Name | None = None
    free: Size | None = None
    pool: Name | None = None
    evict: Names | None = None
    force: bool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        self._one_of("load", "free", "evict")
        if self.force and self.evict is None:
            raise ValueError("force goes with evict alone")
        return self


class Setting(Body):
    """`value` as it may be written in the file, or as a text."""

    value: str | bool | int | float | list[str]
    apply_now: bool = False
    dry_run: bool = False

    @property
    def text(self) -> str:
        if isinstance(self.value, bool):
            return "true" if self.value else "false"
        return ",".join(self.value) if isinstance(self.value, list) else str(self.value)


class Load(Body):
    model: Name
    client: Name | None = None
    wait: bool = True


class Pin(Body):
    """`for`: how long; `until`: Unix time. Neither: until it is unpinned."""

    model: Name
    period: Annotated[Long | None, Field(alias="for")] = None
    until: float | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.period is not None and self.until is not None:
            raise ValueError("say one of for and until, not both")
        return self


class Unpin(Body):
    model: Name


class Lease(Body):
    model: Name
    client: Name = "unnamed"
    ttl: Ttl = LEASE
    wait: bool = True


class Renewal(Body):
    ttl: Ttl | None = None


class Reserve(Body):
    size: Size
    pool: Name | None = None
    client: Name = "unnamed"
    period: Annotated[Ttl, Field(alias="for")] = RESERVATION
    pids: Pids = Field(default_factory=list)
    wait: bool = True

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.size:
            raise ValueError("size: there is nothing to keep free")
        return self


class Extension(Body):
    """Of a reservation. `pids` are further processes of its job."""

    period: Annotated[Ttl | None, Field(alias="for")] = None
    pids: Pids | None = None


class Retain(Body):
    """What is said of a model, an engine, or, without either, the host. `reset`: as configured."""

    model: Name | None = None
    engine: Name | None = None
    retention: Choice | None = None
    keep_alive: KeepAlive | None = None
    reset: bool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.model is not None and self.engine is not None:
            raise ValueError("say one of model and engine; without either it is the host")
        said = self.retention is not None or self.keep_alive is not None
        if said == self.reset:
            raise ValueError("say retention or keep_alive, or else reset")
        if self.keep_alive is not None and self.retention not in (None, Retention.KEEP_ALIVE):
            raise ValueError("keep_alive goes with retention keep_alive alone")
        return self


class Release(Body):
    period: Period


class Resume(Body):
    pass


def mistakes(error: ValidationError, body: type[BaseModel]) -> list[str]:
    """Every mistake in words, each with its key."""
    keys = [field.alias or name for name, field in body.model_fields.items()]
    found = []
    for each in error.errors(include_url=False, include_context=False, include_input=False):
        at = ".".join(str(part) for part in each["loc"])
        text = each["msg"].removeprefix("Value error, ")
        if each["type"] == "extra_forbidden":
            near = get_close_matches(at, keys, 1, 0.5)
            text = f"there is no such key; did you mean {near[0]}?" if near else _choices(keys)
        found.append(f"{at}: {text}" if at else text)
    return found


def _choices(keys: list[str]) -> str:
    return f"there is no such key; the keys are {', '.join(keys)}" if keys else NO_KEYS
