"""The machines that the clients ask: each is started once for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from supervisor.demo.real import Missing, find_model, find_server
from tests.clients.host import GATEWAY, LAPTOP, Host, made, real
from tests.clients.program import CLIENTS

LONGEST = 120.0  # seconds for one story


@dataclass(frozen=True, slots=True)
class Stage:
    """A host that stays, and the loop that it lives on."""

    runner: asyncio.Runner
    host: Host

    def play(self, story: Coroutine[Any, Any, None]) -> None:
        """Nothing is loaded when it begins, and nothing may be under way when it ends."""

        async def bounded() -> None:
            async with asyncio.timeout(LONGEST):
                await self.host.emptied()
                await story
                await self.host.all_ended()

        self.runner.run(bounded())


@pytest.fixture(scope="session")
def runner() -> Iterator[asyncio.Runner]:
    if not CLIENTS.is_dir():
        pytest.skip(f"there are no clients: no {CLIENTS}")
    with asyncio.Runner() as runner:
        yield runner


def staged(runner: asyncio.Runner, host: AbstractAsyncContextManager[Host]) -> Iterator[Stage]:
    stack = AsyncExitStack()
    stage = Stage(runner, runner.run(stack.enter_async_context(host)))
    try:
        yield stage
    finally:
        runner.run(stack.aclose())


@pytest.fixture(scope="session")
def engine() -> None:
    try:
        find_server()
        find_model()
    except Missing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def llama(
    runner: asyncio.Runner, engine: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    """Three models of which two may be loaded, behind a token."""
    yield from staged(runner, real(tmp_path_factory.mktemp("llama"), LAPTOP))


@pytest.fixture(scope="session")
def hurried(
    runner: asyncio.Runner, engine: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    """One of them may be loaded, nobody is held for more than a second, and there is no token."""
    folder, gateway = tmp_path_factory.mktemp("hurried"), GATEWAY + '\nmax_wait = "1s"'
    yield from staged(runner, real(folder, most=1, gateway=gateway))


@pytest.fixture(scope="session")
def ollama(runner: asyncio.Runner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """An Ollama and a llama-server that are made of values."""
    yield from staged(runner, made(tmp_path_factory.mktemp("ollama")))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty home for a client: what it finds in the environment is all that it is told."""
    return tmp_path
