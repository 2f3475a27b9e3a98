"""What a model's file says of itself, and how its engine would load it: all that can be known of
what a model takes before it was ever loaded."""

from __future__ import annotations

from dataclasses import dataclass

from collectors.reading import NONE, Bytes


@dataclass(frozen=True, slots=True)
class Layers:
    """So many layers that cache alike: numbers kept of keys and of values for each token, and how
    many tokens back they look (`window`; 0: all of them)."""

    count: int
    keys: int
    values: int
    window: int = 0


@dataclass(frozen=True, slots=True)
class Header:
    """`weights` are the bytes of all tensors, `embedding` those that stay in RAM although the rest
    goes to an accelerator. `context` is in tokens, the most that it was made for; `width` and
    `inner` are the numbers of one token in a layer, `heads` its attention heads. 0: not said.
    """

    weights: Bytes
    embedding: Bytes = NONE
    layers: tuple[Layers, ...] = ()
    context: int = 0
    width: int = 0
    inner: int = 0
    heads: int = 0

    @property
    def depth(self) -> int:
        return sum(layers.count for layers in self.layers)


@dataclass(frozen=True, slots=True)
class Setup:
    """How an engine would load a model, as far as it is known. None: by the engine's own default.

    `path` is the model's file or folder, or its name in Hugging Face's cache. `context` is in
    tokens, of all `slots` together. `keys` and `values` are the types of the cache ("f16",
    "q8_0"), `batch` the tokens that are worked on at once. `flash` False: attention keeps all its
    scores. `offloaded` layers go to accelerators: 0 none, None all of them. `fraction` of an
    accelerator is what the engine takes, whatever the model is; `devices` over how many
    accelerators it spreads it. `tiers`: an engine that is told no context goes by the memory of
    all accelerators, from so many bytes on so many tokens.
    """

    path: str | None = None
    context: int | None = None
    slots: int | None = None
    keys: str | None = None
    values: str | None = None
    batch: int | None = None
    flash: bool | None = None
    offloaded: int | None = None
    fraction: float | None = None
    devices: int | None = None
    tiers: tuple[tuple[Bytes, int], ...] = ()

    def context_of(self, memory: Bytes) -> int | None:
        """Tokens, on a machine whose accelerators have `memory` bytes, all together."""
        fitting = [tokens for least, tokens in self.tiers if memory >= least]
        return self.context or (fitting[-1] if fitting else None)


UNTOLD = Setup()
