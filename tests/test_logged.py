"""What the configuration says of the log and of traces."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from supervisor.config.config import LogFormat
from supervisor.config.logged import installed
from supervisor.extras import needs
from tests.configs import nothing

Complain = Callable[..., list[str]]


def telemetry(line: str) -> str:
    return f"[telemetry]\n{line}"


def test_usually_nothing_is_traced_and_lines_are_for_people() -> None:
    config = nothing()
    assert (config.telemetry.traces, config.telemetry.sample) == (None, 1.0)
    assert config.log_format is LogFormat.AUTO


@pytest.mark.parametrize(
    ("said", "so"),
    [
        ("http://127.0.0.1:4318/v1/traces", "http://127.0.0.1:4318/v1/traces"),
        ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
        ("http://127.0.0.1:4318/", "http://127.0.0.1:4318/v1/traces"),
        ("https://otel.lan/otlp/v1/traces", "https://otel.lan/otlp/v1/traces"),
    ],
)
def test_a_collector_is_named_whole_or_by_its_address(read: Any, said: str, so: str) -> None:
    assert read(telemetry(f'traces = "{said}"')).telemetry.traces == so


RIGHT = 'write it as "http://127.0.0.1:4318/v1/traces"'


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ('"localhost"', f'"localhost" is not a URL of a collector; {RIGHT}'),
        ("4318", f"4318 is not a URL; {RIGHT}"),
        ('"grpc://otel.lan:4318"', f'"grpc://otel.lan:4318" is not a URL of a collector; {RIGHT}'),
        ('"http://127.0.0.1:4317"', "at port 4317 OTLP is spoken over gRPC; over HTTP it is usually"
         ' 4318: write it as "http://127.0.0.1:4318/v1/traces"'),
        ('"http://me:hunter2@otel.lan"', "a URL must not carry a user or a password; what a"
         " collector asks for is said by the variable OTEL_EXPORTER_OTLP_HEADERS"),
    ],
)  # fmt: skip
def test_what_is_no_collector_is_refused_and_it_is_said_what_would_be_one(
    mistakes: Complain, said: str, told: str
) -> None:
    assert mistakes(telemetry(f"traces = {said}")) == [f"telemetry.traces: {told}"]


@pytest.mark.parametrize(
    ("said", "so"), [('"10%"', 0.1), ("0.25", 0.25), ("1", 1.0), ("0", 0.0), ('"0.5 %"', 0.005)]
)
def test_a_share_is_written_in_per_cent_or_as_a_fraction(read: Any, said: str, so: float) -> None:
    assert read(telemetry(f"sample = {said}")).telemetry.sample == pytest.approx(so)
    flag = read(telemetry__sample=said.strip('"')).telemetry.sample
    assert flag == pytest.approx(so)


@pytest.mark.parametrize("said", ['"200%"', "2", "-0.1", "true", '"some"', "nan"])
def test_what_is_no_share_is_refused(mistakes: Complain, said: str) -> None:
    (found,) = mistakes(telemetry(f"sample = {said}"))
    assert 'is not a share; write it as "10%", or 0.1' in found


def test_a_key_that_is_mistyped_is_told_its_name(mistakes: Complain) -> None:
    assert mistakes(telemetry('trace = "x"')) == [
        "telemetry.trace: unknown key; did you mean telemetry.traces?"
    ]
    assert mistakes('log_fromat = "json"') == ["log_fromat: unknown key; did you mean log_format?"]
    assert mistakes('log_format = "jsn"') == ['log_format: "jsn" is not one of auto, console, json']


def test_traces_without_what_they_are_sent_with_are_a_mistake(
    read: Any, mistakes: Complain, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert installed()
    for name in [m for m in sys.modules if m.split(".")[0] == "opentelemetry"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)  # as if nobody had installed it
    assert not installed()
    said = telemetry('traces = "http://127.0.0.1:4318"')
    (told,) = mistakes(said)
    assert told == f"telemetry.traces: {needs('otel')}"
    assert read("").telemetry.traces is None  # and nothing else is wrong
