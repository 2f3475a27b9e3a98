"""What signals mean: an end, or a wish to read the configuration."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from pathlib import Path

import pytest

from supervisor.signals import Signals, closed
from tests.rereading import House, told


def test_the_end_of_a_terminal_is_told_from_a_wish_to_read(tmp_path: Path) -> None:
    ours, terminal = os.openpty()
    try:
        assert not closed([terminal])
        signals = Signals(_terminals=[terminal])
        signals.hang_up()
        assert not signals.ended.is_set()
        os.close(ours)
        signals.hang_up()
        assert signals.ended.is_set()
    finally:
        os.close(terminal)
    assert not closed([])


def test_each_hang_up_has_the_file_read_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(house: House) -> None:
        caplog.set_level(logging.INFO, "ullage.config")
        signals, heard = Signals(), asyncio.Event()
        signals.listen()
        house.reloading.tell.append(lambda said: heard.set())
        serving = asyncio.create_task(signals.serve(house.reloading))
        try:
            for most in (3, 4):
                house.write(f"max_active_backends = {most}")
                os.kill(os.getpid(), signal.SIGHUP)
                async with asyncio.timeout(20):
                    await heard.wait()
                heard.clear()
                await house.reloading.now("asked")  # after whatever else is under way
                assert caplog.text.count("read by SIGHUP") == most - 2
                assert house.loop.policy.max_active == most
        finally:
            serving.cancel()
            for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().remove_signal_handler(number)

    told(tmp_path, story)
