"""When a load has failed for want of memory: how that is told, how much more is asked for the
next time, and how long nobody tries again."""

from __future__ import annotations

import re
from dataclasses import replace
from enum import Enum

from collectors.reading import RAM, Bytes, PoolId, Seconds

from .snapshot import Demand, Share, Source

# Whatever was expected was not enough: once more, with so much.
MORE = 1.25

FIRST = Seconds(10.0)  # after the first failure; it doubles
LONGEST = Seconds(300.0)


def pause(failures: int) -> Seconds:
    """How long to wait after so many failures in a row."""
    return Seconds(min(LONGEST, FIRST * 2 ** min(failures - 1, 16)))


LOOKED = 4000  # characters of an error or a line: libraries write it at the beginning


class Shortage(Enum):
    """Where memory was missing."""

    DEVICE = "an accelerator's memory"
    HOST = "RAM"
    SOMEWHERE = "memory"


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE)


# By what engines and their libraries write. llama.cpp's words are those of its source (ggml-cuda,
# ggml-vulkan, ggml-backend, llama-context), PyTorch's those of its exceptions; Ollama, vLLM and
# SGLang have some of their own, and pass the others on.
_DEVICE = _any(
    r"cuda (error: )?out of memory",
    r"hip (error: )?out of memory",
    r"xpu out of memory",
    r"mps backend out of memory",
    r"cuda_?error_?(out_of_memory|memory_?allocation)",
    r"cublas_status_alloc_failed",
    r"(?<!\w)\w{0,40}(cuda|hip)\w{0,40}malloc\w{0,40} failed",
    r"out_?of_?device_?memory",
    r"device memory allocation of size \d+ failed",
    r"(failed|unable) to allocate \S*(cuda|rocm|hip|vulkan|sycl|metal|cann|musa)\d* ",
    r"kIOGPUCommandBufferCallbackErrorOutOfMemory",
    r"less than desired gpu memory utilization",
    r"no available memory for the cache blocks",
    r"please try to increase --mem-fraction-static",
)
_HOST = _any(
    r"cannot allocate memory",
    r"defaultcpuallocator: (can't|not enough)",
    r"std::bad_alloc",
    r"insufficient memory",
    r"(failed|unable) to allocate \S*cpu\S* ",
    r"requires more system memory",
    r"for want of memory",  # the kernel's doing, as we and systemd tell of it
    r"more than its memory_limit",
    r"oom[- ]?kill",
    r"\bmemoryerror\b",
    r"signal: killed",  # Ollama's, of a runner that nobody but the kernel kills
)
_SOMEWHERE = _any(
    r"\bout of memory\b",
    r"outofmemory",
    r"not enough memory",
    r"(failed|unable) to (allocate|reserve|alloc)\b.*(buffer|memory|cache)",
    r"memory (allocation|alloc) failed",
)


def shortage(text: str) -> Shortage | None:
    """Does `text`, an error or a line of a log, say that memory was missing, and where?"""
    text = text[:LOOKED]
    for found, where in (
        (_DEVICE, Shortage.DEVICE),
        (_HOST, Shortage.HOST),
        (_SOMEWHERE, Shortage.SOMEWHERE),
    ):
        if found.search(text):
            return where
    return None


def more(shares: tuple[Share, ...], where: Shortage) -> tuple[Share, ...]:
    """What to ask for after `shares` were not enough: more of what was missing."""

    def grows(pool: PoolId) -> bool:
        of_host = pool == RAM
        if where is Shortage.DEVICE and any(s.pool != RAM for s in shares):
            return not of_host
        if where is Shortage.HOST and any(s.pool == RAM for s in shares):
            return of_host
        return True

    return tuple(replace(s, size=Bytes(int(s.size * MORE))) if grows(s.pool) else s for s in shares)


def at_least(demand: Demand, shares: tuple[Share, ...]) -> Demand:
    """`demand`, and no less than `shares` in any pool that it names; they count alone where it is
    for other pools."""
    floor = {s.pool: s for s in shares}
    if not {s.pool for s in demand.shares} >= floor.keys():
        return demand
    return replace(
        demand,
        shares=tuple(
            Share(s.pool, max(s.size, f.size), s.source if s.size >= f.size else Source.LEARNED)
            if (f := floor.get(s.pool)) is not None
            else s
            for s in demand.shares
        ),
    )
