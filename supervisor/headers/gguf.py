"""The header of a GGUF file: what its model is made of, and where its tensors lie.

Read by ourselves, for the format's own package, gguf, is no reader of headers: it needs NumPy and
107 MB of packages, and takes 4.7 s and 190 MiB to read a header of 1.7 MB, most of it for words of
the vocabulary (measured with 0.19.0). Here those are passed over: 0.1 s, and no memory to speak of.

The file is read from its beginning, never mapped: one that is cut short under a mapping ends the
process that reads it. Nothing is believed of counts and lengths: what is read ends with the file.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import BinaryIO, Literal

from collectors.reading import NONE, Bytes, mib
from supervisor.core.header import Header, Layers

MAGIC = b"GGUF"
VERSIONS = (2, 3)  # the first, of August 2023, counted in 32 bits, and was replaced within weeks
MOST = mib(64)  # of a header: those of the largest vocabularies have 20
# Of what is longer, or more, nothing is kept, or nothing is believed: a file that means ill costs
# no more memory than one that does not.
LONGEST = 256  # bytes of a text that is kept
NAME = 1024  # bytes of a name
PAIRS, TENSORS = 4096, 65_536
LARGEST = 2**40  # a number that anything is worked out from
LAYERS = LIST = 4096  # members of a list: one for each layer
WORDS = 2_000_000  # of a list: the largest vocabularies have 262,144, and twice as many pairs

STRING, ARRAY = 8, 9
# By the number of the type: how `struct` has it. Texts and lists are of no fixed size.
NUMBERS = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIif?Qqd", strict=True))

# Which layers look back only so far is often a matter of the architecture: one in so many sees
# everything, the last of each round (llama.cpp, in src/models).
PERIODS = {
    "afmoe": 4,
    "cohere2": 4,
    "exaone4": 4,
    "gemma-embedding": 6,
    "gemma2": 2,
    "gemma3": 6,
    "gemma3n": 5,
    "gpt-oss": 2,
    "olmo2": 4,
}
HEADS, GROUPED = "attention.head_count", "attention.head_count_kv"
WINDOW, PATTERN = "attention.sliding_window", "attention.sliding_window_pattern"
GENERAL = frozenset({"architecture", "alignment"})
PARTS = GENERAL | {
    "block_count",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "attention.key_length",
    "attention.value_length",
    HEADS,
    GROUPED,
    WINDOW,
    PATTERN,
}
OUTPUT, EMBEDDING, OTHERS = "output.weight", "token_embd.weight", ""

Value = int | float | bool | str | list[int] | None


class Unreadable(Exception):
    """It is no such file, or not a sound one; the message says why."""


@dataclass(frozen=True, slots=True)
class Gguf:
    """One file: the values that matter, by their part, and the bytes of its tensors."""

    values: Mapping[str, Value]
    tensors: Mapping[str, Bytes] = field(default_factory=dict)


def read(file: BinaryIO, size: int) -> Gguf:
    """The header of a file of `size` bytes. Raises Unreadable, or OSError."""
    walk = _Walk(file, min(size, MOST))
    if walk.take(4) != MAGIC:
        raise Unreadable("it is no GGUF file")
    version = walk.number("I")
    if version not in VERSIONS:
        swapped = int.from_bytes(int(version).to_bytes(4, "little"), "big")
        if swapped not in VERSIONS:
            raise Unreadable(f"it is GGUF of version {version}")
        walk.order = ">"
    tensors, pairs = walk.number("Q"), walk.number("Q")
    if tensors > TENSORS or pairs > PAIRS:
        raise Unreadable(f"it says that it has {tensors} tensors and {pairs} values")
    values: dict[str, Value] = {}
    for _ in range(pairs):
        key = walk.name()
        value = walk.value(walk.number("I"))
        if value is not None and (part := part_of(key)) is not None:
            values[part] = value
    offsets: dict[str, int] = {}  # by a name that matters, else by a number
    for i in range(tensors):
        name = walk.name()
        walk.skip(8 * walk.number("I") + 4)  # shape and type: where the next begins says enough
        offsets[name if name in (OUTPUT, EMBEDDING) else str(i)] = walk.number("Q")
    align = values.get("alignment", 32)
    if not isinstance(align, int) or not 0 < align <= mib(1):
        raise Unreadable("its alignment makes no sense")
    begin = -(-walk.at // align) * align
    return Gguf(values, _sizes(offsets, size - begin))


def part_of(key: str) -> str | None:
    """What a value is of, whatever the architecture: "llama.block_count" is a "block_count". None:
    of nothing that matters."""
    kind, _, part = key.partition(".")
    return part if (kind == "general") == (part in GENERAL) and part in PARTS else None


def _sizes(offsets: Mapping[str, int], data: int) -> dict[str, Bytes]:
    """Each tensor ends where the next begins: that is its size, and less than a line more. Of all
    that do not matter by themselves, the sum."""
    names = sorted(offsets, key=lambda name: offsets[name])
    begins = [offsets[name] for name in names]
    found = {OTHERS: 0}
    for name, begin, end in zip(names, begins, [*begins[1:], max(0, data)], strict=True):
        if end < begin:
            raise Unreadable("it is shorter than its header says")
        name = name if name in (OUTPUT, EMBEDDING) else OTHERS
        found[name] = found.get(name, 0) + end - begin
    return {name: Bytes(size) for name, size in found.items()}


class _Walk:
    """Reads on through a file, and never beyond `most` bytes."""

    def __init__(self, file: BinaryIO, most: int) -> None:
        self._file, self._most = file, most
        self.at, self.order = 0, "<"

    def take(self, size: int) -> bytes:
        self._advance(size)
        data = self._file.read(size)
        if len(data) != size:
            raise Unreadable("it ends in its header")
        return data

    def skip(self, size: int) -> None:
        self._advance(size)
        self._file.seek(size, 1)

    def number(self, kind: str) -> int:
        form = self.order + kind
        found: int = struct.unpack(form, self.take(struct.calcsize(form)))[0]
        return found

    def name(self) -> str:
        length = self.number("Q")
        if length > NAME:
            raise Unreadable(f"it has a name of {length} bytes")
        return self.take(length).decode(errors="replace")

    def value(self, kind: int) -> Value:
        """None: too long to matter."""
        if kind in NUMBERS:
            return self.number(NUMBERS[kind])
        if kind == STRING:
            length = self.number("Q")
            if length <= LONGEST:
                return self.take(length).decode(errors="replace")
            self.skip(length)
            return None
        inner = self.number("I") if kind == ARRAY else None
        if inner == STRING:
            self._pass_texts(self.number("Q"))
            return None
        if inner not in NUMBERS:  # lists of lists are allowed, and nobody has any
            raise Unreadable(f"it has a value of type {kind}")
        return self._numbers(NUMBERS[inner])

    def _numbers(self, kind: str) -> Value:
        width = struct.calcsize(f"<{kind}")
        length = self.number("Q")
        if length > LIST:
            self.skip(width * length)
            return None
        return list(struct.unpack(f"{self.order}{length}{kind}", self.take(width * length)))

    def _pass_texts(self, length: int) -> None:
        """Half a million words: in the file's own buffer, with as little ado as can be."""
        order: Literal["little", "big"] = "little" if self.order == "<" else "big"
        read, seek = self._file.read, self._file.seek
        if length > WORDS:
            raise Unreadable(f"it says that it has {length} words")
        for _ in range(length):
            size = int.from_bytes(prefix := read(8), order)
            if len(prefix) != 8:
                raise Unreadable("it ends in its header")
            self._advance(8 + size)
            seek(size, 1)

    def _advance(self, size: int) -> None:
        self.at += size
        if self.at > self._most:
            raise Unreadable("it ends in its header, or its header does not end")


def header(files: Sequence[Gguf]) -> Header:
    """What a model is, of all its files; the first one tells. Raises Unreadable."""
    weights = sum(size for file in files for size in file.tensors.values())
    named = {name: size for file in files for name, size in file.tensors.items()}
    return told(files[0].values, Bytes(weights), _embedding(named))


def _embedding(sizes: Mapping[str, Bytes]) -> Bytes:
    """What stays in RAM: the words on the way in. Where they serve on the way out too, an
    accelerator has a copy, and RAM has the file's pages, which are nobody's loss."""
    return sizes.get(EMBEDDING, NONE) if OUTPUT in sizes else NONE


def told(values: Mapping[str, Value], weights: Bytes, embedding: Bytes = NONE) -> Header:
    """A header by the names that GGUF has for its parts, whoever said them. Raises Unreadable."""
    kind = values.get("architecture")
    if not isinstance(kind, str):
        raise Unreadable("it does not say what architecture it has")

    def number(part: str) -> int:
        found = values.get(part)
        if isinstance(found, list):
            found = max((n for n in found if isinstance(n, int)), default=0)
        return found if isinstance(found, int) and 0 < found < LARGEST else 0

    depth, width, heads = number("block_count"), number("embedding_length"), number(HEADS)
    if depth > LAYERS:
        raise Unreadable(f"it says that it has {depth} layers")
    each = width // heads if heads else 0
    keys = number("attention.key_length") or each
    values_ = number("attention.value_length") or each
    grouped = values.get(GROUPED, heads)
    groups = grouped if isinstance(grouped, list) else [grouped] * depth
    window = number(WINDOW)
    looks = _windows(values.get(PATTERN), kind, depth)
    layers = [
        Layers(1, n * keys, n * values_, window if looks[i] else 0)
        for i, n in enumerate(groups[:depth])
        if isinstance(n, int) and 0 < n < LARGEST
    ]
    return Header(
        weights,
        embedding,
        _counted(layers),
        number("context_length"),
        width,
        number("feed_forward_length"),
        heads,
    )


def _windows(pattern: Value, kind: str, depth: int) -> list[bool]:
    """Which layers look back no further than their window. Where nothing tells: none."""
    if isinstance(pattern, list):
        told = [bool(p) for p in pattern[:depth]]
        return told + [False] * (depth - len(told))
    period = pattern if isinstance(pattern, int) and pattern > 0 else PERIODS.get(kind, 1)
    return [i % period < period - 1 for i in range(depth)]


def _counted(layers: Sequence[Layers]) -> tuple[Layers, ...]:
    counts: dict[Layers, int] = {}
    for layer in layers:
        counts[layer] = counts.get(layer, 0) + 1
    return tuple(replace(layer, count=n) for layer, n in counts.items())
