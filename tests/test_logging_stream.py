"""Where the log goes: the journal of systemd, whoever reads it or does not, and all by one way."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TextIO

import pytest

from supervisor.config.logged import LogFormat
from supervisor.telemetry.logs import Lines, is_journal
from tests.lines import FORGED, objects, written

ROOT = Path(__file__).parent.parent

# -- the journal of systemd


def journal(file: TextIO) -> dict[str, str]:
    at = os.fstat(file.fileno())
    return {"JOURNAL_STREAM": f"{at.st_dev}:{at.st_ino}"}


def test_only_the_journals_own_stream_is_the_journal(tmp_path: Path) -> None:
    with (tmp_path / "one").open("w") as one, (tmp_path / "two").open("w") as two:
        assert is_journal(one, journal(one))
        assert not is_journal(two, journal(one))  # inherited, and sent elsewhere since
        assert not is_journal(one, {})
        assert not is_journal(one, {"JOURNAL_STREAM": "8"})
        assert not is_journal(io.StringIO(), journal(one))


@pytest.mark.parametrize(
    ("format", "timed"),
    [(LogFormat.AUTO, False), (LogFormat.CONSOLE, True), (LogFormat.JSON, False)],
)
def test_in_the_journal_every_line_has_its_priority(
    format: LogFormat, timed: bool, tmp_path: Path
) -> None:
    with (tmp_path / "log").open("w") as file:
        with written(format, file, journal(file)) as (log, _):
            log.debug("one")
            log.info("two")
            log.warning("three")
            try:
                raise ValueError(FORGED)
            except ValueError:
                log.exception("four")
            log.critical("five")
    lines = (tmp_path / "log").read_text().splitlines()
    assert [line[:3] for line in lines[:3]] == ["<7>", "<6>", "<4>"]
    assert lines[-1][:3] == "<2>"
    assert {line[:3] for line in lines[3:-1]} == {"<3>"}
    if format is LogFormat.JSON:
        assert [json.loads(line[3:])["msg"] for line in lines[1:3]] == ["two", "three"]
    else:
        assert lines[1].endswith("INFO    ullage.told: two")
        assert lines[1][3:7].isdigit() is timed


def test_elsewhere_auto_is_lines_with_their_time_and_no_priority() -> None:
    with written(LogFormat.AUTO) as (log, out):
        log.info("two")
    assert out.getvalue()[:4].isdigit()


# -- nobody waits for it


def test_a_reader_that_hangs_holds_nobody_up_and_hears_afterwards_what_it_has_missed() -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream:
        made = Lines(stream, most=100)
        made.setFormatter(logging.Formatter("%(message)s"))
        filler = "x" * 1000  # a pipe holds 64 of these
        began = time.monotonic()
        for number in range(1000):
            record = logging.LogRecord("ullage", 20, "", 0, f"{number} {filler}", (), None)
            made.handle(record)
        made.flush(0.05)
        assert time.monotonic() - began < 2
        got: list[str] = []

        def reads() -> None:
            with os.fdopen(reader) as lines:
                got.extend(line.rstrip("\n") for line in lines)

        thread = threading.Thread(target=reads)
        thread.start()
        made.flush(10)
        made.handle(logging.LogRecord("ullage", 20, "", 0, "the last", (), None))
        made.flush(10)
    thread.join(10)
    numbers = [int(line.split()[0]) for line in got if line.endswith(filler)]
    assert numbers[:100] == list(range(100))  # what is there is whole and in order
    assert numbers == sorted(numbers)
    assert 100 <= len(numbers) < 300
    lost = [int(line.split()[0]) for line in got if "lost" in line]
    assert sum(lost) == 1000 - len(numbers)
    assert "the last" in got


def test_a_reader_that_has_gone_is_no_trouble() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", buffering=1) as stream:
        made = Lines(stream)
        for _ in range(3):
            made.handle(logging.LogRecord("ullage", 20, "", 0, "x", (), None))
            made.flush(5)
        assert made._thread.is_alive()
        os.dup2(os.open(os.devnull, os.O_WRONLY), writer)


# -- everything takes this way

PROGRAM = """
import logging, sys, threading, warnings
from supervisor.config.config import load
from supervisor.engines import ENGINES
from supervisor.telemetry.logs import begin, last_word
lines = begin(load(None, {}, {"log_format": sys.argv[1], "listen.token": "0123456789abcdef"},
              kinds=frozenset(ENGINES), places=[]))
def fails(): raise ValueError("line one\\nline two 0123456789abcdef")
thread = threading.Thread(target=fails, name="reader"); thread.start(); thread.join()
class Drops:
    def __del__(self): fails()
Drops()
warnings.warn("old ways", DeprecationWarning)
for name in ("httpx", "uvicorn.error", "apscheduler", "opentelemetry"):
    logging.getLogger(name).info("chatter")
logging.getLogger("uvicorn.error").warning("of uvicorn", extra={"color_message": "red"})
last_word("port 8552 is taken: 0123456789abcdef")
fails()
"""


@pytest.mark.parametrize("format", ["json", "console"])
@pytest.mark.slow
def test_what_libraries_say_and_what_nobody_caught_takes_the_same_way(format: str) -> None:
    env = {**os.environ, "PYTHONWARNINGS": "always", "MY_TOKEN": "ab12cd34"}
    env.pop("JOURNAL_STREAM", None)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, format],
        cwd=ROOT, env=env, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert done.returncode == 1
    assert "0123456789abcdef" not in done.stderr
    assert "chatter" not in done.stderr
    for said in ("the thread reader has ended", "Drops.__del__", "old ways", "of uvicorn",
                 "it cannot go on", "ValueError: line one"):  # fmt: skip
        assert said in done.stderr, done.stderr
    if format == "json":
        told = objects(done.stderr)
        assert [t["level"] for t in told] == [
            "error", "error", "warning", "warning", "critical", "critical",
        ]  # fmt: skip
        assert told[-2]["msg"] == "port 8552 is taken: ***"
        assert told[0]["trace"].endswith("line two ***")
        assert "color_message" not in told[3]
    else:
        assert "\nerror: port 8552 is taken: ***\n" in done.stderr
