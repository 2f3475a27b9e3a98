"""What a description of an engine is made of: texts with ${MODEL} in them, and JSONPaths."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

from jsonpath import JSONPath, JSONPathEnvironment
from jsonpath.exceptions import JSONPathError

MODEL = "${MODEL}"

_PATHS = JSONPathEnvironment(strict=True)  # RFC 9535, and nothing beyond it
_PLACES = re.compile(r"\$\{[^}]*\}?")
_PLAIN = re.compile(r"[\x20-\x7e]*")


def compile_path(text: str) -> JSONPath:
    """Raises ValueError: what is wrong with it, and where."""
    try:
        compiled = _PATHS.compile(text)
    except JSONPathError as wrong:
        at = getattr(wrong.token, "index", -1)
        place = f" at character {at + 1}" if at > 0 else ""
        raise ValueError(f"{wrong.message}{place}") from None
    except (ValueError, RecursionError) as wrong:
        raise ValueError(str(wrong)) from None
    assert isinstance(compiled, JSONPath), "strict paths have no unions"
    return compiled


def select(path: JSONPath, value: Any) -> list[tuple[str, Any]]:
    """What `path` finds in an answer's JSON: the last key or index on the way, and the value.
    Raises ValueError where the answer is nested too deep to be searched."""
    if not isinstance(value, dict | list):  # a text would be read as JSON once more
        return [] if path.segments else [("$", value)]
    try:
        return [(str((m.parts or ("$",))[-1]), m.obj) for m in path.finditer(value)]
    except (JSONPathError, RecursionError) as wrong:
        why = wrong.message if isinstance(wrong, JSONPathError) else "recursion limit exceeded"
        raise ValueError(str(why)) from None


def has_members(path: JSONPath, value: Any) -> bool:
    """Is there something to choose from, where `path` takes its last step? So an empty list is
    told from an answer that has no list at all."""
    before = JSONPath(env=_PATHS, segments=path.segments[:-1])
    return any(isinstance(found, dict | list) for _, found in select(before, value))


def fill(template: Any, model: str) -> Any:
    """JSON with the model's name in the place of ${MODEL}, in texts and keys: never as syntax."""
    if isinstance(template, str):
        return template.replace(MODEL, model)
    if isinstance(template, dict):
        return {fill(key, model): fill(value, model) for key, value in template.items()}
    if isinstance(template, list):
        return [fill(value, model) for value in template]
    return template


def fill_path(template: str, model: str) -> str:
    """A path with the model's name in it as one piece. Raises ValueError where it cannot be."""
    path = template.replace(MODEL, quote(model, safe=""))
    if any(step in (".", "..") for step in path.partition("?")[0].split("/")):
        raise ValueError("its name cannot stand in a path")  # it would be taken for a step
    return path


def fill_header(template: str, model: str) -> str:
    """The value of a header. Raises ValueError where the name would end it, or is not ASCII."""
    value = template.replace(MODEL, model)
    if not _PLAIN.fullmatch(value) or value != value.strip():
        raise ValueError("its name cannot stand in a header")
    return value


def names_model(template: Any) -> bool:
    """Is there a ${MODEL} in it, anywhere?"""
    return bool(fill(template, "") != template)


def strangers(template: Any) -> list[str]:
    """What looks like a place for something else than the model: ${PORT}."""
    if isinstance(template, dict):
        return [s for pair in template.items() for part in pair for s in strangers(part)]
    if isinstance(template, list | tuple):
        return [s for value in template for s in strangers(value)]
    return [s for s in _PLACES.findall(template) if s != MODEL] if isinstance(template, str) else []
