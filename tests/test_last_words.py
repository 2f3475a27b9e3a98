"""Why a load failed, where its engine does not say."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from collectors.reading import Bytes, HostFacts
from supervisor.core.snapshot import ModelId
from supervisor.engines.base import EngineDown
from supervisor.last_words import QUOTED, because
from tests.builders import machine

LOG = (
    "load_tensors: loading model tensors, this can take a while...",
    "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 4560.87 MiB on device 0: cudaMalloc"
    " failed: out of memory",
    "llama_model_load_from_file_impl: failed to load model",
    "main: exiting due to model loading error",
)


class Speaker:
    def __init__(self, lines: Sequence[str] | Exception) -> None:
        self.lines = lines

    async def logs(self, model: ModelId, lines: int) -> tuple[str, ...]:
        if isinstance(self.lines, Exception):
            raise self.lines
        return tuple(self.lines)


def told(detail: str, engine: Any = None, before: int | None = 3, now: int | None = 3) -> str:
    def seen(kills: int | None) -> Any:
        host = HostFacts(Bytes(0), Bytes(0), oom_kills=kills)
        return replace(machine(free=1), host=host)

    return asyncio.run(because(detail, engine, ModelId("m"), seen(before), seen(now)))


def test_the_line_that_tells_of_memory_is_found_before_the_last_one() -> None:
    assert told("ended with exit code 1", Speaker(LOG)) == f"ended with exit code 1; {LOG[1]}"


def test_a_detail_that_says_it_itself_is_left_alone() -> None:
    assert told("CUDA out of memory", Speaker(LOG)) == "CUDA out of memory"


@pytest.mark.parametrize(
    "engine", [None, Speaker(()), Speaker(LOG[2:]), Speaker(EngineDown("e", "logs", "no"))]
)
def test_where_nothing_tells_nothing_is_made_up(engine: Any) -> None:
    assert told("gave up", engine) == "gave up"


def test_a_kill_of_the_kernel_meanwhile_is_taken_for_the_cause() -> None:
    detail = told("gave up", None, 3, 4)
    assert detail == "gave up; meanwhile the kernel killed a process for want of memory"
    assert told("gave up", None, None, 4) == told("gave up", None, 4, None) == "gave up"


def test_a_line_of_any_length_is_quoted_in_part() -> None:
    assert len(told("x", Speaker(("out of memory " * 100,)))) == QUOTED + 3
