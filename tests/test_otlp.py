"""Traces on their way to a collector: what comes there, and what becomes of them without one."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from supervisor.telemetry.otlp import BATCH, Exporter, Sender, exporter
from supervisor.telemetry.tracing import Finished, Span
from tests.collector import Collector, attributes, collector

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
BEGAN = 1_800_000_000_000_000_000
TRACE = Finished(
    0x4BF92F3577B34DA6A3CE929D0E0E4736,
    True,
    (
        Span("POST chat", 7, 5, "server", BEGAN, BEGAN + 9, {"n": 1, "f": 0.5, "ok": True}),
        Span("one", 8, 7, "client", BEGAN + 1, BEGAN + 4, {"many": ("a", "b")}, "silent"),
    ),
)
ALONE = Finished(3, False, (Span("POST chat", 4, 0, "server", BEGAN, BEGAN + 1, {}),))


class Recorder(Exporter):
    """Answers as it is told; `hold` keeps it from returning."""

    def __init__(self) -> None:
        self.batches: list[list[Finished]] = []
        self.why: str | None = None
        self.hold = threading.Event()
        self.hold.set()
        self.closed = threading.Event()
        self.came = threading.Semaphore(0)

    def send(self, traces: Sequence[Finished]) -> str | None:
        self.batches.append(list(traces))
        self.came.release()
        self.hold.wait(30)
        if self.why == "raise":
            raise ValueError("odd")
        return self.why

    def close(self) -> None:
        self.closed.set()
        self.hold.set()


def started(recorder: Recorder, most: int = 2048) -> Sender:
    sender = Sender(lambda: recorder, "http://there", most)
    sender.start()
    sender.start()  # harmless
    return sender


def put(sender: Sender, count: int) -> None:
    for _ in range(count):
        sender.put(ALONE)


# -- the queue


def test_what_was_put_down_is_sent_in_batches_and_the_rest_at_the_end() -> None:
    recorder = Recorder()
    sender = started(recorder)
    put(sender, BATCH)
    assert recorder.came.acquire(timeout=10)
    put(sender, 3)
    sender.close(10)
    assert sum(map(len, recorder.batches)) == BATCH + 3
    assert max(map(len, recorder.batches)) <= BATCH
    assert (sender.sent, sender.lost) == (BATCH + 3, 0)
    assert recorder.closed.is_set()


def test_a_collector_that_hangs_costs_traces_and_nobodys_time() -> None:
    recorder = Recorder()
    recorder.hold.clear()
    sender = started(recorder, most=300)
    put(sender, BATCH)
    assert recorder.came.acquire(timeout=10)
    began = time.monotonic()
    put(sender, 5000)
    assert time.monotonic() - began < 2
    assert sender.lost == 4700  # 300 wait, and a batch is under way
    began = time.monotonic()
    sender.close(0.2)
    assert time.monotonic() - began < 2
    assert recorder.closed.is_set()


@pytest.mark.parametrize("why", ["code: 500", "raise"])
def test_what_cannot_be_sent_is_said_once_and_once_when_it_can_again(
    why: str, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder()
    recorder.why = why
    with caplog.at_level(logging.INFO, "ullage.traces"):
        sender = started(recorder)
        for _ in range(3):
            put(sender, BATCH)
            assert recorder.came.acquire(timeout=10)
        recorder.why = None
        put(sender, BATCH)
        assert recorder.came.acquire(timeout=10)
        sender.close(10)
    said = [r.getMessage() for r in caplog.records]
    reason = "ValueError: odd" if why == "raise" else why
    assert said == [
        f"traces cannot be sent to http://there, and are lost: {reason}",
        f"traces are sent to http://there again; {3 * BATCH} were lost",
    ]
    assert (sender.sent, sender.lost) == (BATCH, 3 * BATCH), "a count only grows"


def test_most_of_the_time_is_for_requests_however_many_are_traced(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Works(Recorder):
        def send(self, traces: Sequence[Finished]) -> str | None:
            ends = time.thread_time() + 0.02
            while time.thread_time() < ends:
                pass
            return super().send(traces)

    recorder = Works()
    recorder.hold.clear()
    sender = started(recorder, most=2 * BATCH)
    put(sender, BATCH)
    assert recorder.came.acquire(timeout=10)
    put(sender, 3 * BATCH)  # one too many
    recorder.hold.set()
    began = time.monotonic()
    for _ in range(2):
        assert recorder.came.acquire(timeout=10)
    assert time.monotonic() - began >= 2 * 0.02 * 9
    sender.close(10)
    said = [r.getMessage() for r in caplog.records if r.name == "ullage.traces"]
    assert said == ["64 traces are lost: telemetry.sample lets through more than are sent"]
    assert (sender.sent, sender.lost) == (3 * BATCH, BATCH)


def test_without_what_they_are_sent_with_it_is_said_and_nothing_piles_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fails() -> Exporter:
        raise ImportError("no such package")

    sender = Sender(fails, "http://there")
    sender.start()
    assert sender._thread is not None
    sender._thread.join(10)
    put(sender, 10)
    assert sender.lost == 10
    assert not sender._queue
    assert "traces cannot be sent: ImportError: no such package" in caplog.text
    sender.close()


def test_one_that_never_began_is_closed_at_once() -> None:
    sender = Sender(Recorder, "http://there")
    sender.close()
    sender.start()
    assert sender._thread is None


# -- a real collector


def sent(there: Collector, *traces: Finished) -> Sender:
    sender = Sender(lambda: exporter(there.url), there.url)
    sender.start()
    for trace in traces:
        sender.put(trace)
    return sender


def test_a_collector_gets_the_spans_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20abc")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=lab")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")  # not for this
    with collector() as there:
        sender = sent(there, TRACE, ALONE)
        sender.close(20)
        root, engine, alone = there.spans
        assert there.paths == ["/v1/traces"]
        assert there.headers[0]["authorization"] == "Bearer abc"
        assert there.headers[0]["content-type"] == "application/x-protobuf"
        named = there.resource()
        assert (named["service.name"], named["deployment.environment"]) == ("ullage", "lab")
        assert root.trace_id.hex() == engine.trace_id.hex() == f"{TRACE.trace:032x}"
        assert root.span_id.hex() == engine.parent_span_id.hex() == f"{7:016x}"
        assert (root.parent_span_id.hex(), engine.span_id.hex()) == (f"{5:016x}", f"{8:016x}")
        assert (root.kind, engine.kind) == (2, 3)  # SERVER, CLIENT
        assert (root.name, engine.name) == ("POST chat", "one")
        times = (BEGAN, BEGAN + 9)
        assert (root.start_time_unix_nano, root.end_time_unix_nano) == times
        assert attributes(root) == {"n": 1, "f": 0.5, "ok": True}
        assert attributes(engine) == {"many": ("a", "b")}
        assert (root.status.code, engine.status.code, engine.status.message) == (0, 2, "silent")
        assert alone.parent_span_id == b""
        assert alone.trace_id.hex() == f"{3:032x}"
        # Whether the parent is another's: OTLP has two bits for it.
        assert [s.flags >> 8 for s in (root, engine, alone)] == [3, 1, 1]
    assert (sender.sent, sender.lost) == (2, 0)


def test_the_name_of_the_service_can_be_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "gpu-07")
    with collector() as there:
        sent(there, ALONE).close(20)
        assert there.resource()["service.name"] == "gpu-07"


@pytest.mark.parametrize(("mode", "said"), [(500, "500"), (307, "307"), (404, "404")])
def test_a_collector_that_refuses_is_told_of_in_its_own_words(
    mode: int, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    loud: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = loud.append  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # as the daemon's log has it
    with collector() as there:
        there.mode = mode
        sender = sent(there, ALONE)
        sender.close(20)
        assert there.calls == 1, "it is not sent elsewhere"
    logging.getLogger().removeHandler(handler)
    told = [r for r in caplog.records if r.name == "ullage.traces"]
    if mode != 307:
        assert said in told[0].getMessage()
        assert sender.lost == 1
    assert not [r for r in loud if r.name.startswith("opentelemetry")], "by us, and nobody else"


def test_a_real_collector_that_hangs_is_let_go_of_at_the_end() -> None:
    with collector() as there:
        there.mode = "hang"
        sender = sent(there, ALONE)
        there.wait(lambda: there.calls)
        began = time.monotonic()
        sender.close(0.1)
        assert time.monotonic() - began < 2


def test_one_that_is_not_there_is_told_of(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.5")
    with collector() as there:
        pass
    sender = sent(there, ALONE)
    wait(lambda: "cannot be sent" in caplog.text)
    began = time.monotonic()
    sender.close(0.2)
    assert time.monotonic() - began < 2


def wait(true: Callable[[], bool]) -> None:
    ends = time.monotonic() + 20
    while not true():
        assert time.monotonic() < ends
        time.sleep(0)


# -- what it costs who does not want it


def test_where_no_traces_are_wanted_nothing_of_it_is_loaded() -> None:
    code = (
        "import supervisor.app, supervisor.telemetry.otlp, sys;"
        "print(sorted(m for m in sys.modules if m.startswith(('opentelemetry', 'requests'))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
