"""What may be posted, and every mistake in it at once."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import CoreSchema

from collectors.reading import Bytes, Seconds
from supervisor.config.forms import KEEP_ALIVE, RETENTION
from supervisor.core.policy import Retention
from supervisor.keeping.leases import TTL
from supervisor.units import LONGEST, parse_duration, parse_size

from .values import YEAR_9999, Written, absent, duration, present, size, whole

NO_KEYS = "there is no such key; it takes none"
DAY = 86400

MOST_MISTAKES, LONGEST_MISTAKE = 50, 500  # told, and characters of each: they quote what was sent
Name = Annotated[str, Field(min_length=1, max_length=500)]
Names = Annotated[list[Name], Field(min_length=1, max_length=1000)]
_read_size = BeforeValidator(lambda value: parse_size(whole(value)))
Size = Annotated[Bytes, _read_size, size(0)]
Some = Annotated[Bytes, _read_size, size(1)]
_duration = BeforeValidator(parse_duration)
Long = Annotated[
    Seconds, _duration, Field(gt=0), duration({"exclusiveMinimum": 0, "maximum": LONGEST}, "2h")
]
Ttl = Annotated[
    Seconds,
    _duration,
    Field(ge=1, le=31 * DAY),
    duration({"minimum": 1, "maximum": 31 * DAY}, "5m", ", up to 31 days"),
]
Period = Annotated[
    Seconds,
    _duration,
    Field(gt=0, le=DAY),
    duration({"exclusiveMinimum": 0, "maximum": DAY}, "10m", ", up to a day"),
]
Pid = Annotated[int, Field(gt=0, lt=2**32), BeforeValidator(whole)]
Pids = Annotated[list[Pid], Field(max_length=1000)]
_BELOW = {"type": "number", "exclusiveMaximum": 0}
KeepAlive = Annotated[
    Seconds,
    Field(allow_inf_nan=True),  # for ever
    BeforeValidator(KEEP_ALIVE.read),
    duration({"minimum": 0, "maximum": LONGEST}, "5m", ", or -1: for ever", _BELOW),
]
Choice = Annotated[
    Retention,
    BeforeValidator(RETENTION.read),
    Written({"type": "string", "enum": [c.value for c in Retention]}),
]
LEASE, RESERVATION = TTL, Seconds(3600)


class Body(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        hide_input_in_errors=True,
        allow_inf_nan=False,
        defer_build=True,
    )


UNIX = "Unix time in seconds"
WHOSE = "whose bytes: its id, a unique beginning of it, or a device's index; none: the only one's"


class Wish(Body):
    """What may take a while."""

    background: bool = Field(False, description="answer 202 at once, with where to look")


class OneOf(Body):
    """A body that says exactly one of several things. `FORMS` has each of them, with the keys that
    may stand beside it."""

    FORMS: ClassVar[Mapping[str, str]]

    def _one_of(self) -> None:
        names = list(self.FORMS)
        given = [n for n in names if getattr(self, n) is not None]
        wanted = " or ".join(names)
        if not given:
            raise ValueError(f"say what: {wanted}")
        if len(given) > 1:
            raise ValueError(f"say one of {wanted}, not {' and '.join(given)}")
        if "pool" in self.model_fields_set and given != ["free"]:
            raise ValueError("pool goes with free alone")
        if empty := [n for n in names if n in self.model_fields_set and n not in given]:
            raise ValueError(f"{empty[0]} is null; leave it out")

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """One schema for each form: then programs, too, know what goes with what."""
        whole = handler.resolve_ref_schema(handler(core))
        keys = whole.pop("properties")
        kind = {k: whole.pop(k) for k in ("type", "additionalProperties")}
        whole["oneOf"] = [
            {
                **kind,
                "title": f"{cls.__name__} {form}",
                "properties": {k: _said(keys[k], k == form) for k in (form, *beside.split())},
                "required": [form],
            }
            for form, beside in cls.FORMS.items()
        ]
        return whole


def _said(schema: Mapping[str, Any], has_to_be: bool) -> dict[str, Any]:
    """A key that has to be there cannot be null."""
    if not has_to_be:
        return dict(schema)
    rest = {k: v for k, v in schema.items() if k not in ("anyOf", "default")}
    (real,) = [each for each in schema["anyOf"] if each.get("type") != "null"]
    return {**real, **rest}


class Unload(OneOf, Wish):
    FORMS = {"models": "force wait background", "all": "force wait background"}

    models: Names | None = Field(None, description="by name")
    all: Literal[True] | None = Field(None, description="every model that may go")
    force: bool = Field(False, description="at once, though its requests fail")
    wait: bool = Field(True, description="those in use leave when they no longer are")

    @model_validator(mode="after")
    def _check(self) -> Self:
        self._one_of()
        return self


class Evict(Unload):
    FORMS = {**Unload.FORMS, "free": "pool wait background"}

    free: Size | None = None
    pool: Name | None = Field(None, description=WHOSE)

    @model_validator(mode="after")
    def _check(self) -> Self:
        self._one_of()
        if self.force and self.free is not None:
            raise ValueError("force does not go with free: room is made of idle models")
        return self


class Plan(OneOf):
    FORMS = {"load": "", "free": "pool", "evict": "force"}

    load: Name | None = Field(None, description="a model")
    free: Size | None = None
    pool: Name | None = Field(None, description=WHOSE)
    evict: Names | None = Field(None, description="models by name")
    force: bool = Field(False, description="also those at work")

    @model_validator(mode="after")
    def _check(self) -> Self:
        self._one_of()
        if self.force and self.evict is None:
            raise ValueError("force goes with evict alone")
        return self


class NewValue(Body):
    """`value` as it may be written in the file, or as a text."""

    value: str | bool | int | float | list[str]
    apply_now: bool = False
    dry_run: bool = False

    @property
    def text(self) -> str:
        if isinstance(self.value, bool):
            return "true" if self.value else "false"
        return ",".join(self.value) if isinstance(self.value, list) else str(self.value)


class Load(Wish):
    model: Name
    client: Name | None = Field(None, description="who asks; what it used before may leave")
    wait: bool = Field(True, description="for busy models that are in the way")


class Sleep(Wish):
    models: Names
    wait: bool = Field(True, description="for their requests, for a while")


class Wake(Wish):
    model: Name
    wait: bool = Field(True, description="for busy models that are in the way")


class Pin(Body):
    """`for`: how long; `until`: Unix time. Neither: until it is unpinned."""

    model_config = ConfigDict(json_schema_extra={"not": present("for", "until")})

    model: Name
    period: Annotated[Long | None, Field(alias="for")] = None
    until: Annotated[float, Field(ge=0, le=YEAR_9999)] | None = Field(None, description=UNIX)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.period is not None and self.until is not None:
            raise ValueError("say one of for and until, not both")
        return self


class Unpin(Body):
    model: Name


class Leasing(Wish):
    model: Name
    client: Name = "unnamed"
    ttl: Ttl = LEASE
    wait: bool = True
    there: bool = Field(False, description="only if it is there: nothing is loaded for it")


class Renewal(Body):
    ttl: Ttl | None = None


class Reserve(Wish):
    size: Some
    pool: Name | None = Field(None, description=WHOSE)
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


_KEEP = present("keep_alive")
_RETENTIONS = {"retention": {"enum": [Retention.KEEP_ALIVE.value, None]}}
_SAID: list[Any] = [
    {**present("retention"), "allOf": [absent("keep_alive")]},
    {**_KEEP, "properties": _KEEP["properties"] | _RETENTIONS},
]


class Retain(Body):
    """What is said of a model, an engine, or, without either, the host. `reset`: as configured."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"properties": {"reset": {"const": False}}, "anyOf": _SAID},
                {
                    "required": ["reset"],
                    "properties": {"reset": {"const": True}},
                    "allOf": [absent("retention", "keep_alive")],
                },
            ],
            "not": present("model", "engine"),
        }
    )

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
    """Every mistake in words, each with its key; of very many the first, and how many more."""
    keys = [field.alias or name for name, field in body.model_fields.items()]
    found = []
    wrong = error.errors(include_url=False, include_context=False, include_input=False)
    for each in wrong[:MOST_MISTAKES]:
        at = ".".join(str(part) for part in each["loc"])
        text = each["msg"].removeprefix("Value error, ")
        if each["type"] == "extra_forbidden":
            near = get_close_matches(at, keys, 1, 0.5)
            text = f"there is no such key; did you mean {near[0]}?" if near else _choices(keys)
        elif each["type"] == "missing":
            text = "is missing"
        found.append((f"{at}: {text}" if at else text)[:LONGEST_MISTAKE])
    if len(wrong) > MOST_MISTAKES:
        found.append(f"and {len(wrong) - MOST_MISTAKES} more")
    return found


def _choices(keys: list[str]) -> str:
    return f"there is no such key; the keys are {', '.join(keys)}" if keys else NO_KEYS
