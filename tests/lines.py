"""A logger, and what it writes."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from supervisor.config.logged import LogFormat
from supervisor.telemetry.logs import handler

# A name that would begin a line of its own, and clear the screen.
FORGED = (
    "a\n2026-11-21 10:00:00,000 INFO    ullage.loop: d-000001: all is well\x1b[2J\u2028\x9b\u202e"
)


@contextmanager
def written(
    format: LogFormat = LogFormat.CONSOLE,
    stream: TextIO | None = None,
    environ: dict[str, str] | None = None,
    secrets: tuple[str, ...] = (),
    name: str = "ullage.told",
) -> Iterator[tuple[logging.Logger, io.StringIO]]:
    """A logger of ours, and what it writes: looked at when this is over."""
    out = io.StringIO()
    made = handler(format, stream or out, environ or {}, secrets)
    logger = logging.getLogger(name)
    logger.propagate, before = False, logger.level
    logger.addHandler(made)
    logger.setLevel(logging.DEBUG)
    try:
        yield logger, out
    finally:
        made.flush(5)
        logger.removeHandler(made)
        logger.propagate = True
        logger.setLevel(before)


def objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]
