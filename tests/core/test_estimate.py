"""What a model takes that was never loaded, against what a real llama-server took."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.reading import Bytes, mib
from supervisor.core.estimate import PADDING, cache, compute, context, estimate
from supervisor.core.header import Header, Layers, Setup

SMOLLM2 = Header(Bytes(96_576_768), layers=(Layers(30, 192, 192),), context=8192, width=576)
SMOLLM2 = replace(SMOLLM2, inner=1536, heads=9)
# Gemma 3 1B: one layer in six sees everything, the others 512 tokens.
WINDOWED = Header(Bytes(0), layers=(Layers(22, 256, 256, 512), Layers(4, 256, 256)), context=32768)


def as_mib(size: float) -> float:
    return round(size / mib(1), 2)


# Settings, and what llama-server (build b1-7e4c0a9) wrote of its cache and compute buffers.
MEASURED = [
    (Setup(context=512, slots=1), 11.25, 14.01),
    (Setup(context=4096, slots=1), 90.00, 17.51),
    (Setup(context=8192, slots=4), 180.00, 15.51),
    (Setup(context=8192, slots=1, keys="q8_0", values="q8_0"), 95.62, 20.42),
    (Setup(context=4096, slots=1, flash=False), 90.00, 86.38),
    (Setup(context=32768, slots=2, flash=False), 720.00, 326.38),
    (Setup(), 180.00, 21.51),  # its own defaults
    (Setup(context=4096, slots=1, batch=64), 90.00, 2.19),
]


@pytest.mark.parametrize(("setup", "kept", "worked_in"), MEASURED)
def test_a_cache_is_exact_and_compute_buffers_within_what_is_said(
    setup: Setup, kept: float, worked_in: float
) -> None:
    found = estimate(SMOLLM2, setup)
    assert as_mib(found.weights) == 92.1  # "CPU model buffer size = 92.10 MiB"
    assert abs(as_mib(found.cache) - kept) < 0.01
    assert abs(as_mib(found.compute) - worked_in) < 1.5


def test_what_was_not_said_of_the_context_is_what_the_model_was_made_for() -> None:
    assert context(SMOLLM2, Setup()) == 8192
    assert context(SMOLLM2, Setup(context=512)) == 512
    assert context(Header(Bytes(1)), Setup()) == 4096


def test_layers_that_look_back_only_so_far_keep_only_so_much() -> None:
    full = cache(replace(WINDOWED, layers=(Layers(26, 256, 256),)), Setup(context=32768))
    found = cache(WINDOWED, Setup(context=32768))
    per_token = 256 * 2 * 2
    assert found == 4 * 32768 * per_token + 22 * (512 + 512) * per_token
    assert found < full / 5


def test_a_window_is_kept_for_each_slot_and_never_more_than_the_context() -> None:
    of = (Layers(1, 256, 256, 512),)
    one = Header(Bytes(0), layers=of)
    assert cache(one, Setup(context=32768, slots=4)) == 4 * cache(one, Setup(context=32768))
    assert cache(one, Setup(context=512)) == 512 * 1024


def test_a_type_that_is_not_known_is_taken_for_half_precision() -> None:
    assert cache(SMOLLM2, Setup(keys="q9_z", values="q9_z")) == cache(SMOLLM2, Setup())


def test_the_words_on_the_way_in_stay_in_ram_and_are_counted_once() -> None:
    found = estimate(Header(mib(100), embedding=mib(30)), Setup())
    assert (found.weights, found.embedding) == (mib(70), mib(30))
    odd = estimate(Header(mib(1), embedding=mib(30)), Setup())
    assert (odd.weights, odd.embedding) == (0, mib(1))


def test_an_engine_that_goes_by_the_memory_has_its_tiers() -> None:
    setup = Setup(tiers=((Bytes(0), 4096), (mib(24), 32768)))
    assert [setup.context_of(mib(n)) for n in (1, 24, 90)] == [4096, 32768, 32768]
    assert replace(setup, context=100).context_of(mib(90)) == 100
    assert Setup().context_of(mib(90)) is None


tokens = st.integers(1, 10**6)
setups = st.builds(
    Setup,
    context=tokens,
    slots=st.integers(1, 64),
    keys=st.sampled_from(["f32", "f16", "q8_0", "q4_0", None]),
    batch=st.integers(1, 4096),
    flash=st.sampled_from([None, False]),
)
layers = st.builds(
    Layers, st.integers(1, 200), st.integers(0, 8192), st.integers(0, 8192), st.integers(0, 8192)
)
headers = st.builds(
    Header,
    weights=st.integers(0, 10**12).map(Bytes),
    embedding=st.integers(0, 10**12).map(Bytes),
    layers=st.lists(layers, max_size=4).map(tuple),
    context=st.integers(0, 10**6),
    width=st.integers(0, 20_000),
    inner=st.integers(0, 50_000),
    heads=st.integers(0, 128),
)


@given(headers, setups)
def test_no_part_is_negative_and_the_whole_is_their_sum(header: Header, setup: Setup) -> None:
    found = estimate(header, setup)
    assert all(part >= 0 for part in found)
    assert found.total == sum(found) >= header.weights


@given(headers, setups, st.integers(0, 10**6))
def test_a_longer_context_never_takes_less(header: Header, setup: Setup, more: int) -> None:
    assert setup.context is not None
    longer = replace(setup, context=setup.context + more)
    assert cache(header, longer) >= cache(header, setup)
    slot = (setup.context + more + PADDING) // (setup.slots or 1)
    if slot - setup.context // (setup.slots or 1) > PADDING:
        assert compute(header, longer) >= compute(header, setup)


@given(headers, setups)
def test_half_of_the_precision_is_never_more(header: Header, setup: Setup) -> None:
    whole = replace(setup, keys="f16", values="f16")
    assert cache(header, replace(whole, keys="q8_0", values="q8_0")) <= cache(header, whole)
