"""What the daemon says of itself: the log's and the traces' part of the configuration."""

from __future__ import annotations

import re
from enum import Enum
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from supervisor.extras import needs
from supervisor.units import shown

from . import forms
from .forms import Form
from .table import Table, setting

if TYPE_CHECKING:
    from .given import Given

NEEDED = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http.trace_exporter")
USUAL_PATH = "/v1/traces"
GRPC = 4317  # where collectors speak OTLP over gRPC


class LogLevel(Enum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(Enum):
    AUTO = "auto"
    CONSOLE = "console"
    JSON = "json"


def _collector(value: Any) -> str:
    right = 'write it as "http://127.0.0.1:4318/v1/traces"'
    try:
        url = forms.URL.read(value)
    except ValueError as error:
        what = str(error).partition("; ")[0].replace("of an engine", "of a collector")
        if "password" in what:
            raise ValueError(f"{what}; what a collector asks for is said by the variable"
                             " OTEL_EXPORTER_OTLP_HEADERS") from None  # fmt: skip
        raise ValueError(f"{what}; {right}") from None
    parts, _, port = forms.split_url(url)
    if port == GRPC:
        raise ValueError(
            f"at port {GRPC} OTLP is spoken over gRPC; over HTTP it is usually 4318: {right}"
        )
    return url if parts.path.strip("/") else f"{url}{USUAL_PATH}"


_SHARE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*%\s*")


def _share(value: Any) -> float:
    if isinstance(value, str) and (found := _SHARE.fullmatch(value)):
        value = float(found[1]) / 100
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
        return float(value)
    raise ValueError(f'{shown(value)} is not a share; write it as "10%", or 0.1')


def _share_from(text: str) -> object:
    try:
        return float(text)
    except ValueError:
        return text


COLLECTOR = Form("URL of a collector", _collector, lambda v: "none" if v is None else str(v))
SHARE = Form("share", _share, lambda v: f"{v * 100:g}%", _share_from)


class Telemetry(Table):
    """Traces of requests that pass through the gateway."""

    traces: str | None = setting(
        None,
        COLLECTOR,
        "Where traces of the gateway's requests go: an OpenTelemetry collector that takes OTLP over"
        " HTTP. None: nowhere. Needs the extra otel.",
        at="telemetry.traces",
    )
    sample: float = setting(
        "100%",
        SHARE,
        "How many are traced of the requests whose client does not say whether its own are.",
        at="telemetry.sample",
    )


def check(table: Telemetry, given: Given) -> None:
    """Is there what traces are sent with?"""
    if table.traces is not None and not installed():
        given.problem(("telemetry", "traces"), needs("otel"))


def installed() -> bool:
    try:
        return all(find_spec(name) is not None for name in NEEDED)
    except (ImportError, ValueError):  # not even what they stand in
        return False
