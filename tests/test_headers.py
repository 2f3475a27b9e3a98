"""Headers of GGUF files, sound ones and others."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.reading import mib
from supervisor.core.header import Header, Layers
from supervisor.headers import gguf
from supervisor.headers.gguf import LAYERS, Unreadable
from tests.gguf_files import ARRAY, EXPECTED, LLAMA, SOUND, STRING, TENSORS, U64, Writer


def read(data: bytes) -> gguf.Gguf:
    return gguf.read(io.BytesIO(data), len(data))


def told(data: bytes) -> Header:
    return gguf.header([read(data)])


@pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big"])
@pytest.mark.parametrize("version", [2, 3])
def test_a_sound_file_says_what_its_model_is_made_of(order: str, version: int) -> None:
    assert told(Writer(order).file(LLAMA, TENSORS, version)) == EXPECTED


def test_tied_words_are_not_taken_for_what_stays_in_ram() -> None:
    tied = {k: v for k, v in TENSORS.items() if k != "output.weight"}
    assert told(Writer().file(LLAMA, tied)).embedding == 0


def test_what_is_long_is_passed_over_and_what_follows_is_read() -> None:
    words = {"tokenizer.ggml.tokens": ["word"] * 5000, "tokenizer.chat_template": "x" * 100_000}
    numbers = {"tokenizer.ggml.token_type": [1] * 10_000}
    found = read(Writer().file({**words, **numbers, **LLAMA}, TENSORS))
    assert found.values["block_count"] == 32
    assert found.values.keys() <= gguf.PARTS


def without(*names: str, **others: Any) -> dict[str, Any]:
    more = {f"llama.{k}": v for k, v in others.items()}
    return {k: v for k, v in LLAMA.items() if k not in names} | more


def layers(values: Mapping[str, Any]) -> tuple[Layers, ...]:
    return told(Writer().file(values, TENSORS)).layers


def test_heads_may_differ_from_layer_to_layer_and_some_cache_nothing() -> None:
    per_layer = {"llama.attention.head_count_kv": [8, 0, 4, 8] + [0] * 28}
    assert layers(LLAMA | per_layer) == (Layers(2, 1024, 1024), Layers(1, 512, 512))


def test_the_size_of_a_head_is_said_or_worked_out() -> None:
    said = {"llama.attention.key_length": 192, "llama.attention.value_length": 64}
    assert layers(LLAMA | said) == (Layers(32, 1536, 512),)
    assert layers(without("llama.attention.head_count_kv")) == (Layers(32, 4096, 4096),)


@pytest.mark.parametrize(
    ("values", "narrow"),
    [
        ({}, 0),  # nothing tells which layers: none, which is the most
        ({"llama.attention.sliding_window_pattern": 4}, 24),
        ({"llama.attention.sliding_window_pattern": [True, False] * 16}, 16),
        ({"llama.attention.sliding_window_pattern": [True, False]}, 1),
    ],
)
def test_the_pattern_of_windows_is_read(values: dict[str, Any], narrow: int) -> None:
    found = layers(LLAMA | {"llama.attention.sliding_window": 512} | values)
    assert sum(each.count for each in found if each.window == 512) == narrow
    assert sum(each.count for each in found) == 32


def test_of_some_architectures_the_pattern_is_known() -> None:
    values = {
        "general.architecture": "gemma3",
        "gemma3.block_count": 26,
        "gemma3.embedding_length": 1152,
        "gemma3.attention.head_count": 4,
        "gemma3.attention.head_count_kv": 1,
        "gemma3.attention.key_length": 256,
        "gemma3.attention.value_length": 256,
        "gemma3.attention.sliding_window": 512,
    }
    assert set(layers(values)) == {Layers(22, 256, 256, 512), Layers(4, 256, 256)}


# -- hostile and broken ones


def header_of(tensors: int, pairs: int, rest: bytes = b"") -> bytes:
    writer = Writer()
    return b"GGUF" + writer.u32(3) + writer.u64(tensors) + writer.u64(pairs) + rest


W = Writer()
HOSTILE = {
    "empty": b"",
    "not it": b"PK\x03\x04 something else",
    "magic alone": b"GGUF",
    "version 1": Writer().file(LLAMA, TENSORS, 1),
    "version 77": Writer().file(LLAMA, TENSORS, 77),
    "so many tensors": header_of(2**63, 0) + b"\0" * 100,
    "so many values": header_of(0, 2**40) + b"\0" * 100,
    "a name without end": header_of(0, 1, W.u64(2**62)) + b"\0" * 100,
    "a type that is none": header_of(0, 1, W.text("a") + W.u32(99)) + b"\0" * 100,
    "a text without end": header_of(0, 1, W.text("a") + W.u32(STRING) + W.u64(2**50)) + b"\0" * 99,
    "a list without end": header_of(
        0, 1, W.text("a") + W.u32(ARRAY) + W.u32(U64) + W.u64(2**61) + b"\0" * 99
    ),
    "words without end": header_of(
        0, 1, W.text("a") + W.u32(ARRAY) + W.u32(STRING) + W.u64(10) + W.u64(2**60) + b"\0" * 99
    ),
    "so many words": header_of(
        0, 1, W.text("a") + W.u32(ARRAY) + W.u32(STRING) + W.u64(2_000_001) + b"\0" * 16_000_008
    ),
    "so many small tensors": header_of(65_537, 0) + b"\0" * 2_000_000,
    "so many small values": header_of(0, 4097) + b"\0" * 100_000,
    "lists of lists of lists": header_of(
        0, 1, W.text("a") + (W.u32(ARRAY) + W.u64(1)) * 50 + b"\0" * 99
    ),
    "a tensor of so many dimensions": header_of(1, 0, W.text("t") + W.u32(2**31)) + b"\0" * 99,
    "an alignment of nothing": Writer().file({**LLAMA, "general.alignment": 0}, TENSORS),
    "no architecture": Writer().file({"llama.block_count": 3}, TENSORS),
    "so many layers": Writer().file(LLAMA | {"llama.block_count": 2**31}, TENSORS),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_file_that_is_not_sound_is_refused_with_a_reason(data: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(Unreadable) as caught:
            told(data)
        assert tracemalloc.get_traced_memory()[1] < mib(2) + len(data)
    finally:
        tracemalloc.stop()
    assert str(caught.value)


def test_words_without_number_are_not_counted_one_by_one() -> None:
    with pytest.raises(Unreadable, match="2000001 words"):
        told(HOSTILE["so many words"])


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.99])
def test_a_file_that_is_cut_short_is_refused(kept: float) -> None:
    with pytest.raises(Unreadable, match=r"ends in its header|shorter|no GGUF"):
        read(SOUND[: int((len(SOUND) - 640) * kept)])


def test_a_header_that_does_not_end_is_not_read_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    long = Writer().file(LLAMA | {"general.description": "x" * 70_000}, TENSORS)
    assert told(long) == EXPECTED
    monkeypatch.setattr(gguf, "MOST", 10_000)
    with pytest.raises(Unreadable, match="does not end"):
        told(long)


@given(st.binary(max_size=400))
def test_any_bytes_are_a_header_or_a_reason(data: bytes) -> None:
    for begin in (b"", b"GGUF\x03\0\0\0", SOUND[:200]):
        with suppress(Unreadable):
            assert told(begin + data).depth <= LAYERS


@given(st.data())
def test_a_sound_file_with_a_wrong_byte_is_a_header_or_a_reason(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(SOUND) - 1))
    spoiled = bytearray(SOUND)
    spoiled[at] = data.draw(st.integers(0, 255))
    with suppress(Unreadable):
        assert told(bytes(spoiled)).weights <= len(SOUND)
