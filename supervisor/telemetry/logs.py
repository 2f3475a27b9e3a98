"""The log: lines for people, or an object a line for programs; without secrets, and not waited for.

Everything takes this one way to stderr, what libraries say and what nobody caught included. A line
is written out where it is said, so that it is known what it belongs to (`about`), and put down by a
thread of its own: a terminal that is held, or a journal that hangs, stops nobody's requests.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import queue
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, TextIO

from supervisor.config.logged import LogFormat

from .about import fields_of, now
from .redact import Redact, escaped, is_secret, plain

if TYPE_CHECKING:
    from supervisor.config.config import Config, EngineConfig

log = logging.getLogger("ullage")

CONSOLE = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
JOURNAL = "%(levelname)-7s %(name)s: %(message)s"  # the journal has a time of its own
# As syslog counts them: systemd reads <3> at the beginning of a line.
PRIORITIES = {
    logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2,
}  # fmt: skip
LONGEST = 16 * 1024  # characters of a message, and four times as many of a traceback
LINES = 10_000  # that wait to be put down; those beyond are lost, and counted
LAST = 0.4  # seconds for the last lines, at the end
# One line per engine call and second is noise; what went wrong is said by ourselves.
QUIET = {
    "httpx": logging.WARNING,
    "httpcore": logging.WARNING,
    "urllib3": logging.WARNING,
    "uvicorn": logging.WARNING,
    "apscheduler": logging.ERROR,  # it warns at every late tick
    "opentelemetry": logging.CRITICAL,  # what becomes of traces is told once, by tracing
}
_OWN = "ullage"
_USUAL = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class _Formatter(logging.Formatter):
    """A record as text that holds no secret and forges no line."""

    def __init__(self, format: str, redact: Redact) -> None:
        super().__init__(format)
        self.redact = redact

    def said(self, record: logging.LogRecord) -> str:
        """The message, whatever was wrong with its arguments."""
        try:
            text = record.getMessage()
        except Exception as error:
            text = f"{record.msg!r} with {record.args!r} ({type(error).__name__})"
        return self.redact(_cut(text, LONGEST))

    def trace(self, record: logging.LogRecord) -> str:
        """What Python says of an error, or of where a line was said. "": nothing."""
        parts = [self.formatException(record.exc_info)] if record.exc_info else []
        if record.stack_info:
            parts.append(self.formatStack(record.stack_info))
        return self.redact(_cut("\n".join(parts), 4 * LONGEST))


class Console(_Formatter):
    """A line for people. What follows a line, a traceback, stands further in: nothing that an
    error quotes can begin a line of its own."""

    def format(self, record: logging.LogRecord) -> str:
        text = plain(self.said(record))
        decision = fields(record).get("decision")
        if decision is not None and str(decision) not in text:
            text = f"{text} ({decision})"
        record.message = text
        if self.usesTime():
            record.asctime = self.formatTime(record)
        line = self.formatMessage(record)
        trace = self.trace(record).splitlines()
        return "\n".join((line, *(f"  {plain(more)}" for more in trace)))


class Json(_Formatter):
    """An object on a line: when, how bad, who says it, what, and the fields that it belongs to."""

    def __init__(self, redact: Redact) -> None:
        super().__init__("%(message)s", redact)

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC)
        told: dict[str, Any] = {
            "ts": at.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "msg": self.said(record),
        }
        for name, value in fields(record).items():
            told.setdefault(name, self._value(value))
        if trace := self.trace(record):
            told["trace"] = trace
            if record.exc_info and record.exc_info[0] is not None:
                told["error"] = record.exc_info[0].__name__
        return escaped(json.dumps(told, ensure_ascii=False, separators=(",", ":")))

    def _value(self, value: object) -> object:
        if isinstance(value, Enum):
            value = value.value
        if value is None or isinstance(value, bool | int):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else None
        return self.redact(_cut(str(value), LONGEST))


def fields(record: logging.LogRecord) -> dict[str, object]:
    """What a line belongs to: by where it is said, by whom it names, and by its own word."""
    found = {**now(), **fields_of(record.args)}
    if record.name.partition(".")[0] == _OWN:
        found |= {k: v for k, v in vars(record).items() if k not in _USUAL}
    return found


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}… ({len(text) - most} characters more)"


class Lines(logging.Handler):
    """Puts lines down in a thread of its own. `journal`: each gets its priority."""

    def __init__(self, stream: TextIO, journal: bool = False, most: int = LINES) -> None:
        super().__init__()
        self._stream, self._journal = stream, journal
        self._lines: queue.Queue[str | threading.Event] = queue.Queue(most)
        self._lost = 0
        self._counting = threading.Lock()
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
        except Exception:
            text = f"a line of {record.name} could not be written out"
        self._put_down(text, record.levelno)

    def say(self, text: str, level: int) -> None:
        """Lines as they are, but for secrets."""
        if isinstance(self.formatter, _Formatter):
            text = self.formatter.redact(text)
        self._put_down("\n".join(plain(line) for line in text.splitlines()), level)

    def _put_down(self, text: str, level: int) -> None:
        if self._journal:
            mark = f"<{PRIORITIES.get(level, 6)}>"
            text = "\n".join(mark + line for line in text.split("\n"))
        self._put(text)

    @property
    def redact(self) -> Redact:
        """Which takes out the secrets that are known here."""
        return self.formatter.redact if isinstance(self.formatter, _Formatter) else Redact()

    def hide(self, engines: Iterable[EngineConfig], *tokens: str | None) -> None:
        """The keys of these, and `tokens`, are secrets from now on."""
        if isinstance(self.formatter, _Formatter):
            self.formatter.redact.hide([*tokens, *_of_engines(engines)])

    def _put(self, text: str) -> None:
        try:
            self._lines.put_nowait(text)
        except queue.Full:
            with self._counting:
                self._lost += 1

    def _write(self) -> None:
        while True:
            found = self._lines.get()
            with contextlib.suppress(OSError, ValueError):  # nobody reads any more
                if isinstance(found, str):
                    self._stream.write(f"{found}\n{self._told_of_lost()}")
                if self._lines.empty() or not isinstance(found, str):
                    self._stream.flush()
            if not isinstance(found, str):
                found.set()

    def _told_of_lost(self) -> str:
        with self._counting:
            lost, self._lost = self._lost, 0
        if not lost:
            return ""
        text = f"{lost} {'line is' if lost == 1 else 'lines are'} lost: nobody took them in time"
        record = logging.LogRecord("ullage.log", logging.WARNING, "", 0, text, (), None)
        return f"{'<4>' if self._journal else ''}{self.format(record)}\n"

    def flush(self, timeout: float = LAST) -> None:
        """Wait until all that was said is put down, for so many seconds at most."""
        if self._thread.is_alive():
            done, until = threading.Event(), time.monotonic() + timeout
            with contextlib.suppress(queue.Full):
                self._lines.put(done, timeout=timeout)
                done.wait(until - time.monotonic())

    def close(self) -> None:
        self.flush()
        super().close()


def handler(
    format: LogFormat, stream: TextIO, environ: Mapping[str, str], known: Iterable[str | None]
) -> Lines:
    """How lines get to `stream`. Where that is systemd's journal they carry their priorities."""
    journal = is_journal(stream, environ)
    redact = Redact(known)
    made = Lines(stream, journal)
    if format is LogFormat.JSON:
        made.setFormatter(Json(redact))
    else:
        bare = journal and format is LogFormat.AUTO
        made.setFormatter(Console(JOURNAL if bare else CONSOLE, redact))
    return made


def is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Is this the journal's own stream? The variable alone says little: children inherit it, and
    what they write may go elsewhere."""
    try:
        device, _, inode = environ.get("JOURNAL_STREAM", "").partition(":")
        at = os.fstat(stream.fileno())
        return (at.st_dev, at.st_ino) == (int(device), int(inode))
    except (ValueError, OSError, AttributeError):
        return False


def begin(config: Config) -> Lines:
    """From now on everything that is said in this process goes to stderr in the form of
    `log_format`: the log, warnings, and what nobody caught."""
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    made = handler(config.log_format, sys.stderr, os.environ, secrets(config, os.environ))
    root.addHandler(made)
    root.setLevel(config.log_level.value.upper())
    for name, level in QUIET.items():
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    threading.excepthook = _in_thread
    sys.unraisablehook = _unraisable
    return made


def last_word(text: str) -> None:
    """Why the daemon does not start: as every command says it, or as the log does."""
    ours = next((h for h in logging.getLogger().handlers if isinstance(h, Lines)), None)
    if ours is None:
        print(f"error: {text}", file=sys.stderr)
    elif isinstance(ours.formatter, Json):
        log.critical("%s", text, extra={"event": "failed"})
    else:
        ours.say(f"error: {text}", logging.CRITICAL)


def secrets(config: Config, environ: Mapping[str, str]) -> list[str | None]:
    """Those that are known word by word: configured ones, and those in the environment."""
    ours = [config.token, *config.fleet.tokens, *_of_engines(config.engines)]
    return ours + [value for name, value in environ.items() if is_secret(name)]


def _of_engines(engines: Iterable[EngineConfig]) -> list[str | None]:
    found: list[str | None] = []
    for engine in engines:
        found.append(engine.key)
        tables = [engine.options, *getattr(engine.options, "served", {}).values()]
        for table in tables:
            for name in ("headers", "environment", "variables"):
                said = getattr(table, name, None) or {}
                found += [text for key, text in said.items() if is_secret(key)]
    return found


def _uncaught(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    log.critical("it cannot go on", exc_info=(kind, error, trace))


def _in_thread(told: threading.ExceptHookArgs) -> None:
    if told.exc_value is not None and not issubclass(told.exc_type, SystemExit):
        name = "?" if told.thread is None else told.thread.name
        what = (told.exc_type, told.exc_value, told.exc_traceback)
        log.error("the thread %s has ended", name, exc_info=what)


def _unraisable(told: sys.UnraisableHookArgs) -> None:
    said = told.err_msg or "nobody could be told of"
    value = told.exc_value
    what = None if value is None else (told.exc_type, value, told.exc_traceback)
    log.error("%s %r", said, told.object, exc_info=what)
