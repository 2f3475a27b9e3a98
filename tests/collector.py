"""A collector of OpenTelemetry's, on a real socket: records what it is sent, hangs, or refuses."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import monotonic
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Collector:
    """`mode` is "record", "hang", or a status that it answers with."""

    def __init__(self) -> None:
        self.mode: str | int = "record"
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.requests: list[ExportTraceServiceRequest] = []
        self.calls = 0
        self.changed = threading.Condition()
        self.ends = threading.Event()
        here = self

        class Answers(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                here.take(self, body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1/traces"

    def take(self, to: BaseHTTPRequestHandler, body: bytes) -> None:
        mode = self.mode
        with self.changed:
            self.calls += 1
            self.changed.notify_all()
        if mode == "hang":
            self.ends.wait(30)
            return
        if mode == "record":
            found = ExportTraceServiceRequest()
            found.ParseFromString(body)
            with self.changed:
                self.paths.append(to.path)
                self.headers.append({k.lower(): v for k, v in to.headers.items()})
                self.requests.append(found)
                self.changed.notify_all()
        status = mode if isinstance(mode, int) else 200
        to.send_response(status)
        if 300 <= status < 400:
            to.send_header("Location", f"{self.url}/elsewhere")
        to.send_header("Content-Length", "0")
        to.end_headers()

    @property
    def spans(self) -> list[Any]:
        """Of OpenTelemetry's own making."""
        with self.changed:
            return [
                span
                for request in self.requests
                for resource in request.resource_spans
                for scope in resource.scope_spans
                for span in scope.spans
            ]

    def resource(self) -> dict[str, str]:
        found = self.requests[-1].resource_spans[0].resource.attributes
        return {a.key: a.value.string_value for a in found}

    def wait(self, true: Callable[[], object], seconds: float = 20.0) -> None:
        """Until it is so, looked at whenever something comes."""
        ends = monotonic() + seconds
        with self.changed:
            while not true():
                assert self.changed.wait(ends - monotonic()), "nothing came"


def attributes(span: Any) -> dict[str, Any]:
    found = {}
    for each in span.attributes:
        which = each.value.WhichOneof("value")
        value = getattr(each.value, which)
        if which == "array_value":
            value = tuple(v.string_value for v in value.values)
        found[each.key] = value
    return found


@contextmanager
def collector() -> Iterator[Collector]:
    made = Collector()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.ends.set()
        made.server.shutdown()
        made.server.server_close()
        thread.join(5)
