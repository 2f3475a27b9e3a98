"""How single values of queries and bodies are written, and described."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from supervisor.units import LARGEST, shown

YEAR_9999 = 253_402_300_799.0  # Unix time


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number of a query, in ASCII digits."""

    least: int
    most: int

    def __get_pydantic_core_schema__(self, _: Any, __: GetCoreSchemaHandler) -> CoreSchema:
        schema = core_schema.int_schema(ge=self.least, le=self.most)
        return core_schema.no_info_before_validator_function(self._read, schema)

    def _read(self, text: Any) -> int:
        digits = isinstance(text, str) and text.isascii() and text.isdecimal() and len(text) < 20
        if digits and self.least <= int(text) <= self.most:
            return int(text)
        raise ValueError(f"a whole number from {self.least} to {self.most}, not {shown(text)}")


@dataclass(frozen=True, slots=True)
class Number:
    """A number of a query, in ASCII."""

    least: float
    most: float

    def __get_pydantic_core_schema__(self, _: Any, __: GetCoreSchemaHandler) -> CoreSchema:
        schema = core_schema.float_schema(ge=self.least, le=self.most)
        return core_schema.no_info_before_validator_function(self._read, schema)

    def _read(self, text: Any) -> float:
        found = isinstance(text, str) and _NUMBER.fullmatch(text) is not None
        if found and self.least <= float(text) <= self.most:
            return float(text)
        raise ValueError(f"a number from {self.least:g} to {self.most:.12g}, not {shown(text)}")


_NUMBER = re.compile(r"[+-]?[0-9]{1,20}(\.[0-9]{0,20})?([eE][+-]?[0-9]{1,3})?")


class DecisionId:
    """As the journal calls a decision."""

    def __get_pydantic_core_schema__(self, _: Any, __: GetCoreSchemaHandler) -> CoreSchema:
        schema = core_schema.str_schema(pattern=r"^d-[0-9]{1,12}$")
        return core_schema.no_info_before_validator_function(_decision, schema)


def _decision(text: Any) -> str:
    if isinstance(text, str) and re.fullmatch(r"d-[0-9]{1,12}", text, re.ASCII):
        return text
    raise ValueError(f'a decision is called as "d-000012", not {shown(text)}')


class Flag:
    """true or false, and nothing else."""

    def __get_pydantic_core_schema__(self, _: Any, __: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(_flag, core_schema.bool_schema())


def _flag(text: Any) -> bool:
    if text in ("true", "false"):
        return bool(text == "true")
    raise ValueError(f"true or false, not {shown(text)}")


@dataclass(frozen=True, slots=True)
class Among:
    """One of the values of an enumeration, as its word."""

    choices: type[Enum]

    def __get_pydantic_core_schema__(self, _: Any, __: GetCoreSchemaHandler) -> CoreSchema:
        words = [c.value for c in self.choices]
        schema = core_schema.literal_schema(words)
        return core_schema.no_info_before_validator_function(self._read, schema)

    def _read(self, text: Any) -> str:
        words = [str(c.value) for c in self.choices]
        if text in words:
            return str(text)
        near = get_close_matches(str(text), words, 1, 0.5)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"{shown(text)} is not one of {', '.join(words)}{hint}")


@dataclass(frozen=True, slots=True)
class Word(Among):
    """The same, in an answer."""

    def __get_pydantic_core_schema__(self, _: Any, __: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.literal_schema([c.value for c in self.choices])


@dataclass(frozen=True, slots=True, eq=False)
class Written:
    """Says how a value may be written that is read by a function of ours."""

    schema: dict[str, Any]
    example: Any = None

    def __get_pydantic_json_schema__(
        self, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        examples = {} if self.example is None else {"examples": [self.example]}
        return {**self.schema, **examples}


# What is surely read; the parser of durations takes more.
_SOON = r"^([1-9]h([0-9]{1,2}m)?|[1-9][0-9]{0,2}m([0-9]{1,2}s)?|[1-9][0-9]{0,3}s)$"
_SIZE = r"^[1-9][0-9]{0,5}(\.[0-9]{1,3})?[KMGT]i?B$"


def duration(
    bounds: dict[str, float], example: str, besides: str = "", *others: dict[str, Any]
) -> Written:
    """Seconds within `bounds`, in the words of JSON Schema; `besides` says what `others` are."""
    schema = {
        "anyOf": [
            {"type": "number", **bounds},
            {"type": "string", "pattern": _SOON},
            *others,
        ],
        "description": f'seconds, or a text as "{example}"{besides}',
    }
    return Written(schema, example)


def size(least: int) -> Written:
    """From `least` bytes."""
    schema = {
        "anyOf": [
            {"type": "integer", "minimum": least, "maximum": LARGEST},
            {"type": "string", "pattern": _SIZE},
        ],
        "description": 'bytes, or a text as "8GiB"',
    }
    return Written(schema, "8GiB")


def whole(value: Any) -> Any:
    """JSON has one kind of number: 5.0 is as whole as 5."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def present(*keys: str) -> dict[str, Any]:
    """A schema of what has all of these, and none of them null."""
    return {"required": [*keys], "properties": {key: {"not": {"type": "null"}} for key in keys}}


def absent(*keys: str) -> dict[str, Any]:
    """A schema of what has none of these, or null in their place."""
    return {"properties": {key: {"type": "null"} for key in keys}}
