"""How a request ended, by what came back of it alone: whole, or with an error that says why, or as
none may end."""

from __future__ import annotations

import json
from collections.abc import Sequence

WORDS = 3  # of every answer of the bench's engines
DONE = "[DONE]"
Ending = tuple[str, str]  # a word for it, and what was said


def of_stream(events: Sequence[str]) -> Ending:
    """Of events that came to an end in good order. An error is the last of them, or it is none."""
    errors = [event for event in events if error_of(event)]
    if errors and errors == list(events[-1:]):
        return "told", errors[0]
    if errors or len(events) != WORDS + 1 or events[-1] != DONE or DONE in events[:-1]:
        return "short", f"{len(events)} events: {' '.join(events[-2:])}"
    return "whole", " ".join(events[-2:])


def of_answer(status: int, text: str) -> Ending:
    """Of an answer that is no stream, which only an error may be."""
    if status != 200 and error_of(text):
        return "refused", text
    return "strange", f"{status}, and no error: {text}"


def error_of(text: str) -> str:
    """What an error says; "" where it says nothing, or is none."""
    try:
        found = json.loads(text)
    except ValueError:
        return ""
    error = found.get("error") if isinstance(found, dict) else None
    said = error.get("message") if isinstance(error, dict) else error
    return said.strip() if isinstance(said, str) else ""
