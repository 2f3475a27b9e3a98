"""What may be posted, and every mistake in it at once."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from collectors.reading import Bytes, Seconds
from supervisor.units import parse_duration, parse_size

NO_KEYS = "there is no such key; it takes none"

Name = Annotated[str, Field(min_length=1, max_length=500)]
Names = Annotated[list[Name], Field(min_length=1, max_length=1000)]
Size = Annotated[Bytes, BeforeValidator(parse_size)]
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


class Load(Body):
    model: Name
    wait: bool = True


class Pin(Body):
    model: Name


class Release(Body):
    period: Period


class Resume(Body):
    pass


def mistakes(error: ValidationError, body: type[BaseModel]) -> list[str]:
    """Every mistake in words, each with its key."""
    keys = list(body.model_fields)
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
