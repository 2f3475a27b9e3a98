"""What the gateway has counted, and how it is told."""

from __future__ import annotations

import timeit

from hypothesis import given
from hypothesis import strategies as st

from supervisor.core.snapshot import EngineId, ModelId, ModelRef
from supervisor.gateway.counts import FIRST_BYTE, WHYS, Counts, Histogram, code_of
from supervisor.tally import Durations


def ref(model: str, engine: str = "ollama") -> ModelRef:
    return ModelRef(EngineId(engine), ModelId(model))


def answer(counts: Counts, *refs: ModelRef | None, status: int = 200) -> None:
    for r in refs:
        counts.answered(r, "openai", status, 0.25, 2.0, 100)


def facts(counts: Counts, *engines: str) -> dict[tuple[str, tuple[str, ...]], float | Durations]:
    found = list(counts.facts(engines))
    every = {(name, labels): value for name, labels, value in found}
    assert len(every) == len(found)
    return every


def requests(counts: Counts) -> dict[tuple[str, ...], float]:
    found = facts(counts).items()
    return {
        labels: value
        for (name, labels), value in found
        if name == "requests_total" and not isinstance(value, Durations)
    }


def durations(counts: Counts, name: str, engine: str = "ollama") -> Durations:
    value = facts(counts)[name, (engine,)]
    assert isinstance(value, Durations)
    return value


def test_requests_are_counted_by_model_api_and_status():
    counts = Counts()
    answer(counts, ref("a"), ref("a"), ref("b"))
    answer(counts, ref("a"), status=502)
    counts.answered(ref("a"), "ollama", 200, None, 1.0, 0)
    assert requests(counts) == {
        ("ollama", "a", "openai", "200"): 2,
        ("ollama", "a", "openai", "502"): 1,
        ("ollama", "a", "ollama", "200"): 1,
        ("ollama", "b", "openai", "200"): 1,
    }


def test_times_and_bytes_are_those_of_the_engine():
    counts = Counts()
    counts.answered(ref("a"), "openai", 200, 0.02, 3.0, 1000)
    counts.answered(ref("b"), "openai", 200, 0.3, 7.0, 24)
    counts.answered(ref("b"), "openai", 502, None, 1.0, 0)
    first = durations(counts, "request_first_byte_seconds")
    assert (first.count, first.total) == (2, 0.32)
    assert dict(zip(first.bounds, first.counts, strict=True))[0.25] == 1
    assert durations(counts, "request_duration_seconds").count == 3
    assert facts(counts)["response_bytes_total", ("ollama",)] == 1024


def test_the_first_word_counts_where_there_was_one():
    counts = Counts()
    counts.answered(ref("a"), "openai", 200, 0.02, 3.0, 1000, 0.3)
    counts.answered(ref("a"), "openai", 200, 0.02, 3.0, 1000)
    counts.answered(None, "openai", 200, 0.02, 3.0, 1000, 0.3)
    spoke = durations(counts, "time_to_first_token_seconds")
    assert (spoke.count, spoke.total) == (1, 0.3)


def test_a_status_that_nobody_knows_is_one_of_its_kind():
    assert [code_of(n) for n in (200, 404, 499, 503, 529)] == ["200", "404", "499", "503", "529"]
    counts = Counts()
    for status in (299, 298, 599):
        answer(counts, ref("a"), status=status)
    assert {labels[-1]: n for labels, n in requests(counts).items()} == {"2xx": 2, "5xx": 1}


def test_what_reached_no_model_is_one_and_has_no_times():
    counts = Counts()
    answer(counts, None, None, status=404)
    assert requests(counts) == {("_none", "_other", "openai", "404"): 2}
    assert not [k for k in facts(counts) if k[0] == "request_duration_seconds"]


def test_models_beyond_the_limit_are_one_for_each_engine():
    counts = Counts(most=2)
    answer(counts, *(ref(f"m{i}") for i in range(5)), ref("m0"), ref("x", "vllm"), None)
    assert requests(counts) == {
        ("ollama", "m0", "openai", "200"): 2,
        ("ollama", "m1", "openai", "200"): 1,
        ("ollama", "_other", "openai", "200"): 3,
        ("vllm", "_other", "openai", "200"): 1,
        ("_none", "_other", "openai", "200"): 1,
    }
    assert durations(counts, "request_duration_seconds").count == 6
    assert counts.label(ref("m1")) == ref("m1")
    assert counts.label(ref("m4")) == ref("_other")


def test_a_model_that_only_its_engine_knows_has_no_name():
    counts = Counts()
    answer(counts, ref(""), ref(""))
    assert requests(counts) == {("ollama", "_other", "openai", "200"): 2}
    assert counts.label(ref("")) == ref("_other")


def test_why_requests_are_refused_is_one_of_a_few_words():
    counts = Counts()
    counts.refused("full")
    counts.refused("something new")
    found = facts(counts)
    assert [k[1][0] for k in found if k[0] == "request_refusals_total"] == list(WHYS)
    assert found["request_refusals_total", ("full",)] == 1
    assert found["request_refusals_total", ("other",)] == 1


def test_what_may_happen_is_there_as_zero():
    found = facts(Counts(), "ollama", "vllm")
    for engine in ("ollama", "vllm"):
        assert found["response_bytes_total", (engine,)] == 0
        assert found["gateway_loads_total", (engine, "failed")] == 0
        value = found["request_hold_seconds", (engine,)]
        assert isinstance(value, Durations)
        assert value.count == 0
    assert found["request_clients_gone_total", ()] == 0


def test_all_else_is_counted_once():
    counts = Counts()
    counts.held(ref("a"), 12.0)
    counts.loaded(ref("a"), ok=True)
    counts.loaded(ref("a"), ok=False)
    counts.drained(in_time=True)
    counts.drained(in_time=False)
    counts.retried(ref("a"))
    counts.gone()
    found = facts(counts)
    assert durations(counts, "request_hold_seconds").total == 12.0
    assert found["gateway_loads_total", ("ollama", "done")] == 1
    assert found["gateway_loads_total", ("ollama", "failed")] == 1
    assert found["gateway_drains_total", ("done",)] == 1
    assert found["gateway_drains_total", ("late",)] == 1
    assert found["request_retries_total", ("ollama",)] == 1
    assert found["request_clients_gone_total", ()] == 1


@given(st.lists(st.floats(0, 1000)))
def test_a_histogram_counts_as_the_plain_one_does(seconds):
    quick, plain = Histogram(FIRST_BYTE), Durations(FIRST_BYTE)
    for value in seconds:
        quick.add(value)
        plain.add(value)
    found = quick.durations()
    assert (found.counts, found.count) == (plain.counts, plain.count)
    assert found.total == plain.total


def test_a_request_costs_next_to_nothing():
    counts, one = Counts(), ref("a")
    took = timeit.repeat(
        lambda: counts.answered(one, "openai", 200, 0.01, 1.0, 9), number=2000, repeat=5
    )
    assert min(took) / 2000 < 20e-6  # 1.5 us where it was written; the rest is for a busy machine
