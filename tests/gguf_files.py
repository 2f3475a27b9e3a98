"""GGUF files made by hand, as the format's description has them."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

from supervisor.core.header import Header, Layers

STRING, ARRAY, U32, U64, F32, BOOL = 8, 9, 4, 10, 6, 7


class Writer:
    """Of GGUF in either byte order."""

    def __init__(self, order: str = "<") -> None:
        self.order = order

    def u32(self, n: int) -> bytes:
        return struct.pack(f"{self.order}I", n)

    def u64(self, n: int) -> bytes:
        return struct.pack(f"{self.order}Q", n)

    def text(self, text: str) -> bytes:
        data = text.encode()
        return self.u64(len(data)) + data

    def value(self, value: Any) -> bytes:
        if isinstance(value, bool):
            return self.u32(BOOL) + bytes([value])
        if isinstance(value, int):
            return self.u32(U32) + self.u32(value)
        if isinstance(value, float):
            return self.u32(F32) + struct.pack(f"{self.order}f", value)
        if isinstance(value, str):
            return self.u32(STRING) + self.text(value)
        kind = STRING if isinstance(value[0], str) else BOOL if value[0] in (True, False) else U32
        each = {STRING: self.text, U32: self.u32, BOOL: lambda b: bytes([b])}[kind]
        return self.u32(ARRAY) + self.u32(kind) + self.u64(len(value)) + b"".join(map(each, value))  # type: ignore[operator]

    def file(
        self,
        values: Mapping[str, Any],
        tensors: Mapping[str, int] | None = None,
        version: int = 3,
        align: int = 32,
    ) -> bytes:
        """`tensors` are sizes in bytes, each a multiple of the alignment."""
        tensors = tensors or {}
        head = b"GGUF" + self.u32(version) + self.u64(len(tensors)) + self.u64(len(values))
        for key, value in values.items():
            head += self.text(key) + self.value(value)
        offset = 0
        for name, size in tensors.items():
            head += self.text(name) + self.u32(1) + self.u64(size // 2) + self.u32(1)
            head += self.u64(offset)
            offset += size
        return head.ljust(-(-len(head) // align) * align, b"\0") + b"\0" * offset


LLAMA = {
    "general.architecture": "llama",
    "llama.block_count": 32,
    "llama.context_length": 8192,
    "llama.embedding_length": 4096,
    "llama.feed_forward_length": 14336,
    "llama.attention.head_count": 32,
    "llama.attention.head_count_kv": 8,
    "tokenizer.ggml.tokens": ["a", "bc", "def"] * 50,
    "tokenizer.ggml.scores": [1, 2, 3],
    "llama.rope.freq_base": 10000.0,
}
TENSORS = {"token_embd.weight": 3200, "blk.0.attn_q.weight": 6400, "output.weight": 640}
SOUND = Writer().file(LLAMA, TENSORS)
EXPECTED = Header(10240, 3200, (Layers(32, 1024, 1024),), 8192, 4096, 14336, 32)  # type: ignore[arg-type]
