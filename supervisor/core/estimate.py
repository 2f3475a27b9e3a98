"""What a model would take that was never loaded: weights, cache, compute buffers, and what a
process needs besides. Arithmetic on what its header and its engine's settings say.

The rules are llama.cpp's, whose engines load most GGUF files. Against the real server (build
7e4c0a9, SmolLM2 135M, contexts of 512 to 32,768 tokens) weights and cache are exact, and compute
buffers within 1.5 MiB; tests/real/test_footprints.py has the error of the whole. Safetensors
are estimated by the same rules: their engines take a fraction of the device where they say so,
else weights and cache weigh the same anywhere.
"""

from __future__ import annotations

from typing import NamedTuple

from collectors.reading import Bytes, mib

from .header import Header, Layers, Setup

# Bytes of one number, as llama.cpp stores a cache: blocks of 32 with a scale of two bytes, and
# with a second one in q4_1 and q5_1. Whatever is not known here is taken as f16.
HALF = 2.0
WIDTHS = {
    "f32": 4.0,
    "f16": HALF,
    "bf16": HALF,
    "fp8": 1.0,
    "q8_0": 34 / 32,
    "q5_1": 24 / 32,
    "q5_0": 22 / 32,
    "q4_1": 20 / 32,
    "q4_0": 18 / 32,
    "iq4_nl": 18 / 32,
}
FLOAT = 4

BATCH = 512  # tokens that llama.cpp works on at once, unless told otherwise
PADDING = 256  # it rounds a cache up to so many tokens
# A model whose header says nothing of its context, and whose engine neither.
CONTEXT = 4096

# What a driver keeps for each process on each device, with the kernels it has loaded. Ollama's
# figures, which have all but this, fall short of NVML's by 0.3 to 0.8 GiB (as reported).
DEVICE_OVERHEAD = mib(512)
# What a llama-server holds besides its model: 23 MiB of libraries, 5 to 8 of its own after a load
# and 6 more after the first requests. One that drives an accelerator has not been measured.
PROCESS = mib(40)


class Estimate(NamedTuple):
    """Bytes of one model. `weights` can go to an accelerator, `embedding` stays in RAM."""

    weights: Bytes
    embedding: Bytes
    cache: Bytes
    compute: Bytes

    @property
    def total(self) -> Bytes:
        return Bytes(sum(self))


def estimate(header: Header, setup: Setup) -> Estimate:
    """What loading it would take, without what each device and the process cost besides."""
    embedding = min(header.embedding, header.weights)
    return Estimate(
        Bytes(header.weights - embedding), embedding, cache(header, setup), compute(header, setup)
    )


def context(header: Header, setup: Setup) -> int:
    """Tokens of all slots together, as the engine was told, else as the model was made for."""
    return setup.context or header.context or CONTEXT


def cache(header: Header, setup: Setup) -> Bytes:
    """The KV cache: all of it is taken at the load, however few tokens are in it yet.

    A layer with a sliding window keeps that window and one batch for each slot. Exact for f16
    and q8_0 on the real server. States of recurrent layers are left out: some MiB.
    """
    slots = max(1, setup.slots or 1)
    tokens = _padded(context(header, setup))
    return Bytes(
        sum(
            each.count * int(_kept(each, tokens, slots, setup) * _per_token(each, setup))
            for each in header.layers
        )
    )


def compute(header: Header, setup: Setup) -> Bytes:
    """What is worked in: activations of one batch and the mask, or all scores of attention where
    flash attention is off.

    On the real server: 14.0 MiB at 512 tokens and 17.5 at 4,096 (here 14.0 and 17.5), 86.4
    without flash attention (86.4). Servers of before 2026 keep a batch of logits too, 4 bytes for
    each word of the vocabulary: the margin of an estimate has to bear that.
    """
    batch = setup.batch or BATCH
    slots = max(1, setup.slots or 1)
    tokens = _padded(context(header, setup)) // slots
    if setup.flash is False:
        scores = tokens * (header.heads + 1) * FLOAT
        return Bytes(batch * (scores + (3 * header.width + header.inner) * FLOAT))
    wide = max(12 * header.width, 3 * header.width + header.inner)
    return Bytes(batch * (wide * FLOAT + tokens * int(HALF)))


def _per_token(layers: Layers, setup: Setup) -> float:
    keys = WIDTHS.get(setup.keys or "f16", HALF)
    values = WIDTHS.get(setup.values or "f16", HALF)
    return layers.keys * keys + layers.values * values


def _kept(layers: Layers, tokens: int, slots: int, setup: Setup) -> int:
    """How many tokens one such layer keeps."""
    if not layers.window:
        return tokens
    return min(tokens, slots * _padded(layers.window + (setup.batch or BATCH)))


def _padded(tokens: int) -> int:
    return -(-tokens // PADDING) * PADDING
