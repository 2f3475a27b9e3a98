"""Our spans as those of OpenTelemetry, and its exporter. Imported only where they are sent."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import requests
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from .tracing import Finished, Span

KINDS = {
    "server": trace.SpanKind.SERVER,
    "client": trace.SpanKind.CLIENT,
    "internal": trace.SpanKind.INTERNAL,
}
RECORDED = trace.TraceFlags(trace.TraceFlags.SAMPLED)


class _Ids(IdGenerator):
    """Those that the spans have already."""

    trace = 0
    span = 0

    def generate_trace_id(self) -> int:
        return self.trace

    def generate_span_id(self) -> int:
        return self.span


class _Kept(SpanProcessor):
    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


class _Said(logging.Handler):
    """What the exporter says of its troubles: told by us, once, and not by it, each time."""

    last: str | None = None

    def emit(self, record: logging.LogRecord) -> None:
        self.last = record.getMessage()


class Spans:
    def __init__(self, url: str, version: str) -> None:
        self._ids, self._kept, self._said = _Ids(), _Kept(), _Said()
        named = Resource({"service.name": "ullage", "service.version": version})
        provider = TracerProvider(
            sampler=ALWAYS_ON,
            resource=named.merge(OTELResourceDetector().detect()),
            id_generator=self._ids,
            shutdown_on_exit=False,
        )
        provider.add_span_processor(self._kept)
        self._tracer = provider.get_tracer("ullage", version)
        session = requests.Session()
        session.trust_env = False  # a proxy is for other traffic; and no .netrc
        logger = logging.getLogger("opentelemetry")
        logger.propagate = False
        logger.setLevel(logging.WARNING)  # it is silenced where nothing is sent
        logger.addHandler(self._said)
        self._exporter = OTLPSpanExporter(endpoint=url, session=session)

    def send(self, traces: Sequence[Finished]) -> str | None:
        for finished in traces:
            for span in finished.spans:
                self._make(finished, span)
            time.sleep(0)  # whoever serves requests goes first
        spans, self._kept.spans = self._kept.spans, []
        if not spans:  # by OTEL_SDK_DISABLED
            return None
        self._said.last = None
        done = self._exporter.export(spans)
        return None if done is SpanExportResult.SUCCESS else self._said.last or "no answer"

    def close(self) -> None:
        self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def _make(self, finished: Finished, span: Span) -> None:
        self._ids.trace, self._ids.span = finished.trace, span.id
        context = None
        if span.parent:
            remote = finished.remote and span is finished.spans[0]
            parent = trace.SpanContext(finished.trace, span.parent, remote, RECORDED)
            context = trace.set_span_in_context(trace.NonRecordingSpan(parent))
        made = self._tracer.start_span(
            span.name,
            context=context or Context(),
            kind=KINDS[span.kind],
            attributes=span.attributes,
            start_time=span.began,
        )
        if span.error is not None:
            made.set_status(trace.Status(trace.StatusCode.ERROR, span.error))
        made.end(span.ended)
