"""Safetensors: the sizes of the tensors in a file, and what its folder's config.json says.

A file begins with the length of its header, in eight bytes, and its header is JSON: there is no
need of the package that reads tensors.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

from collectors.reading import Bytes, mib
from supervisor.core.header import Header, Layers

from .gguf import LARGEST, LAYERS, Unreadable

# Of one file. The format allows 100 MB, and the largest that are shared have below 1: JSON takes
# some ten times its size while it is read, and the daemon lives on 64 MiB.
MOST = mib(4)
DEEP = 10**15  # bytes of one tensor, beyond which nothing is believed


def weights(file: BinaryIO, size: int) -> Bytes:
    """Bytes of all tensors in a file of `size` bytes. Raises Unreadable, or OSError."""
    length = int.from_bytes(file.read(8), "little")
    if not 0 < length <= size - 8:
        raise Unreadable("it is no safetensors file")
    if length > MOST:  # it is only its own end that is asked for
        return Bytes(size - 8 - length)
    tensors = parsed(file.read(length))
    ends = [_end(each) for name, each in tensors.items() if name != "__metadata__"]
    data = max(ends, default=0)
    if data > size - 8 - length:
        raise Unreadable("it is shorter than its header says")
    return Bytes(data)


def _end(tensor: Any) -> int:
    try:
        begin, end = tensor["data_offsets"]
        if 0 <= begin <= end < DEEP and isinstance(end, int):
            return end
    except (TypeError, KeyError, ValueError):
        pass
    raise Unreadable("one of its tensors lies nowhere")


def parsed(data: bytes) -> Mapping[str, Any]:
    """A JSON object. Raises Unreadable."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise Unreadable("it is no JSON") from None
    if not isinstance(found, dict):
        raise Unreadable("it is no JSON object")
    return found


def header(config: Mapping[str, Any], size: Bytes) -> Header:
    """What a model is, by the config.json that lies beside its `size` bytes of weights.

    Of one that sees or hears, the part that writes. Raises Unreadable.
    """
    inner = config.get("text_config")
    said = inner if isinstance(inner, dict) else config

    def number(*names: str) -> int:
        for name in names:
            found = said.get(name)
            if isinstance(found, int) and not isinstance(found, bool) and 0 < found < LARGEST:
                return found
        return 0

    depth = number("num_hidden_layers", "n_layer", "n_layers")
    if depth > LAYERS:
        raise Unreadable(f"it says that it has {depth} layers")
    width, heads = (
        number("hidden_size", "n_embd", "d_model"),
        number("num_attention_heads", "n_head"),
    )
    groups = number("num_key_value_heads") or heads
    each = groups * (number("head_dim") or (width // heads if heads else 0))
    keys = values = each
    if latent := number("kv_lora_rank"):  # one short row stands for all heads
        keys, values = latent + number("qk_rope_head_dim"), 0
    looks = _windows(said, depth)
    window = number("sliding_window")
    narrow = sum(looks) if window else 0
    layers = [Layers(narrow, keys, values, window), Layers(depth - narrow, keys, values)]
    return Header(
        size,
        layers=tuple(layer for layer in layers if layer.count and layer.keys),
        context=number("max_position_embeddings", "n_positions"),
        width=width,
        inner=number("intermediate_size"),
        heads=heads,
    )


def _windows(said: Mapping[str, Any], depth: int) -> Sequence[bool]:
    """Which layers look back no further than their window. Where nothing tells: none."""
    types = said.get("layer_types")
    if isinstance(types, list):
        return [t == "sliding_attention" for t in types[:depth]]
    period = said.get("sliding_window_pattern")
    if isinstance(period, int) and period > 0:
        return [i % period < period - 1 for i in range(depth)]
    return [False] * depth
