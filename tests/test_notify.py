"""What the service manager is told, and when it is told nothing."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from collectors.reading import Seconds
from supervisor.core.policy import Policy
from supervisor.core.snapshot import Snapshot
from supervisor.loop import Loop
from supervisor.notify import EVERY, LONGEST, SLACK, Notifier
from supervisor.tally import Counts
from tests.builders import machine, resident
from tests.managed import Manager
from tests.stepped import now, pass_time, play


@dataclass
class Turning:
    """What is seen of a loop from outside."""

    counts: Counts = field(default_factory=Counts)
    period: Seconds = Seconds(1.0)
    snapshot: Snapshot | None = None
    policy: Policy = field(default_factory=Policy)
    findings: tuple[object, ...] = ()


def notifier(turning: Turning, manager: Manager | None, **more: Any) -> Notifier:
    address = None if manager is None else manager.address
    return Notifier(cast(Loop, turning), address, **more)


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    name = tmp_path / "s" if request.param == "path" else f"@ullage-{os.getpid()}-{id(request)}"
    with Manager(name) as listening:
        yield listening


def test_each_phase_is_told_as_the_protocol_has_it(manager):
    told = notifier(Turning(), manager)
    told.ready()
    with told.reloading():
        (_, reloading) = manager.listen()
        assert int(reloading.pop("MONOTONIC_USEC")) > 0
        assert reloading == {"RELOADING": "1"}
    told.stopping()
    assert manager.listen()[2:] == [
        {"READY": "1"},
        {"STOPPING": "1", "STATUS": "finishing what is under way"},
    ]


def test_after_a_reload_that_fails_it_is_ready_again(manager):
    told = notifier(Turning(), manager)
    with pytest.raises(ValueError), told.reloading():
        raise ValueError
    assert manager.said("READY") == ["1"]


def test_a_sign_of_life_is_given_while_ticks_are_served_and_not_a_moment_longer(tmp_path, caplog):
    turning = Turning()

    async def story() -> None:
        with Manager(tmp_path / "s") as manager:
            told = notifier(turning, manager, watchdog=Seconds(30), clock=now)
            told.beat()  # before the first tick
            turning.counts.tick(now(), now())
            pass_time(turning.period + SLACK)
            told.beat()
            assert manager.said("WATCHDOG") == ["1", "1"]
            pass_time(0.1)
            told.beat()
            told.beat()
            assert manager.said("WATCHDOG") == ["1", "1"]
            assert caplog.text.count("served nothing for 11 s") == 1
            turning.counts.tick(now(), now())
            told.beat()
            assert len(manager.said("WATCHDOG")) == 3

    caplog.set_level(logging.ERROR, "ullage.notify")
    play(story)


def test_a_slow_pace_is_no_stuck_loop(tmp_path):
    turning = Turning(period=Seconds(60))

    async def story() -> None:
        with Manager(tmp_path / "s") as manager:
            told = notifier(turning, manager, watchdog=Seconds(30), clock=now)
            turning.counts.tick(now(), now())
            pass_time(60)
            told.beat()
            assert manager.said("WATCHDOG") == ["1"]

    play(story)


def test_a_loop_that_never_served_a_tick_is_stuck_too(tmp_path):
    async def story() -> None:
        with Manager(tmp_path / "s") as manager:
            told = notifier(Turning(), manager, watchdog=Seconds(30), clock=now)
            pass_time(1 + SLACK + 0.1)
            told.beat()
            assert manager.said("WATCHDOG") == []

    play(story)


@pytest.mark.parametrize(("watchdog", "every"), [(None, EVERY), (3.0, 1.0), (3600.0, EVERY)])
def test_there_are_three_signs_of_life_in_the_time_of_the_watchdog(tmp_path, watchdog, every):
    turning = Turning(snapshot=machine(free=10))

    async def story() -> None:
        with Manager(tmp_path / "s") as manager:
            told = notifier(turning, manager, watchdog=watchdog, clock=now)
            running = asyncio.create_task(told.run())
            beats = []
            for _ in range(3):
                turning.findings += (object(),)  # something new to tell, each time
                turning.counts.tick(now(), now())
                await asyncio.sleep(0 if not beats else every)
                beats.append(len(manager.listen()))
            running.cancel()
            assert beats == [1, 2, 3]

    play(story)


def test_the_status_says_what_is_there_and_is_told_when_it_changes(tmp_path):
    turning = Turning()
    with Manager(tmp_path / "s") as manager:
        told = notifier(turning, manager)
        told.beat()
        told.beat()
        assert manager.said("STATUS") == ["waiting for the first sample"]
        turning.snapshot = machine(resident("a", 4, busy=3), resident("b", 1), free=10)
        told.beat()
        (_, status) = manager.said("STATUS")
        assert status.startswith("2 models there, 1 at work; least headroom ")
        assert status.endswith(" GiB, of gpu:0")


def test_a_status_is_one_short_line(tmp_path):
    with Manager(tmp_path / "s") as manager:
        notifier(Turning(), manager).failed("no\nMAINPID=1\x1b[2J" + "x" * 999)
        (word,) = manager.listen()
        assert set(word) == {"STATUS"}
        assert word["STATUS"].isprintable()
        assert len(word["STATUS"]) == LONGEST


def test_what_nobody_had_room_for_is_said_again(tmp_path, caplog):
    """A full queue is never waited for, and readiness is not lost by it."""
    with Manager(tmp_path / "s") as manager:
        filler = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        filler.setblocking(False)
        with filler, suppress(BlockingIOError):
            while True:
                filler.sendto(b"X=1", manager.address)
        told = notifier(Turning(), manager)
        told.ready()
        assert manager.said("READY") == []
        assert caplog.text == ""
        told.beat()
        assert manager.said("READY") == ["1"]
        told.beat()
        assert manager.said("READY") == ["1"]


def test_a_manager_that_is_gone_is_complained_of_once(tmp_path, caplog):
    told = Notifier(cast(Loop, Turning()), str(tmp_path / "nobody"))
    told.ready()
    told.beat()
    told.stopping()
    assert caplog.text.count("the service manager cannot be told") == 1


def test_without_a_manager_nothing_is_done():
    told = notifier(Turning(), None, watchdog=Seconds(1))
    told.ready()
    told.stopping()
    play(told.run)  # ends at once


def of(**environment: str) -> tuple[Notifier, dict[str, str]]:
    return Notifier.of(cast(Loop, Turning()), environment), environment


def test_what_the_environment_says_is_for_this_process_alone():
    mine = str(os.getpid())
    told, left = of(NOTIFY_SOCKET="/s", WATCHDOG_USEC="30000000", WATCHDOG_PID=mine, HOME="/h")
    assert (told.address, told.watchdog) == ("/s", 30)
    assert left == {"HOME": "/h"}


@pytest.mark.parametrize(
    "environment",
    [
        {"NOTIFY_SOCKET": "/s"},
        {"NOTIFY_SOCKET": "/s", "WATCHDOG_USEC": "0"},
        {"NOTIFY_SOCKET": "/s", "WATCHDOG_USEC": "soon"},
        {"NOTIFY_SOCKET": "/s", "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"},
        {"WATCHDOG_USEC": "1000000"},
        {"NOTIFY_SOCKET": "vsock:2:1", "WATCHDOG_USEC": "1000000"},
    ],
)
def test_where_no_watchdog_waits_for_us_none_is_fed(environment):
    assert of(**environment)[0].watchdog is None


def test_an_address_that_is_no_socket_is_refused_aloud(caplog):
    told, _ = of(NOTIFY_SOCKET="vsock:2:1")
    assert told.address is None
    assert "NOTIFY_SOCKET=vsock:2:1" in caplog.text
