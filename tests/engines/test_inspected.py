"""Containers in words, and whatever an engine may answer instead."""

import asyncio
from contextlib import suppress

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.config.served import Launching
from supervisor.core.snapshot import EngineId, ModelId
from supervisor.engines import inspected, wire
from supervisor.engines.answer import Json
from supervisor.engines.base import EngineError
from supervisor.engines.container import Containers
from supervisor.engines.launched import Phase, Told

M = ModelId("alpha")


@given(st.binary(max_size=200))
def test_no_log_however_broken_raises_or_grows(content):
    assert len(inspected.joined(content)) <= len(content)


def found(**state):
    usual = {"Status": "exited", "ExitCode": 0, "OOMKilled": False, "Error": "", "StartedAt": "1"}
    return Json("own", "GET /", {"State": usual | state})


@pytest.mark.parametrize(
    ("state", "phase", "trouble"),
    [
        ({}, Phase.STOPPED, None),
        ({"Status": "running"}, Phase.RUNNING, None),
        ({"ExitCode": 143}, Phase.STOPPED, None),
        ({"ExitCode": 137}, Phase.STOPPED, "c was ended by SIGKILL"),
        (
            {"ExitCode": 137, "OOMKilled": True},
            Phase.STOPPED,
            "c was killed by the kernel for want of memory",
        ),
        ({"ExitCode": 127}, Phase.STOPPED, "c exited with 127 (there is no such program in it)"),
        (
            {"Status": "restarting", "ExitCode": 4},
            Phase.STARTING,
            "c is about to be started again: it exited with 4",
        ),
        ({"Status": "stopped", "ExitCode": 1}, Phase.STOPPED, "c exited with 1"),
        ({"Status": "created", "Error": "no GPU"}, Phase.STOPPED, "c did not start: no GPU"),
        ({"Status": "removing"}, Phase.STOPPING, None),
    ],
)
def test_what_the_engine_says_of_a_container_is_put_in_our_words(state, phase, trouble):
    described = found(**state)
    assert (inspected.phase(described), inspected.trouble("c", described)) == (phase, trouble)


def test_a_container_between_two_runs_is_in_none():
    assert inspected.run(found(Status="restarting")) != inspected.run(found(Status="running"))


values = st.none() | st.booleans() | st.integers(-9, 300) | st.text(max_size=5)


@given(
    st.dictionaries(
        st.sampled_from(["State", "Config", "HostConfig", "Id"]),
        st.dictionaries(
            st.sampled_from(["Status", "Pid", "ExitCode", "Error", "Health", "Tty", "Labels"]),
            values | st.dictionaries(st.sampled_from(["Status", "Log", "Name"]), values),
        )
        | values,
    )
)
def test_whatever_is_answered_nothing_but_an_engine_error_is_raised(value):
    async def run():
        transport = httpx.MockTransport(lambda request: httpx.Response(200, json=value))
        table = Launching.model_validate({"served": {"alpha": {"container": "alpha"}}})
        made = Containers(EngineId("own"), Told(table, None, None), {M: table.of("alpha")})
        made._wire = wire.Wire("own", "http://docker", httpx.AsyncClient(transport=transport))
        calls = made.version(), made.status(), made.start(M, ()), made.stop(M), made.logs(M, 1)
        for call in (*calls, made.habits()):
            with suppress(EngineError):
                await call

    asyncio.run(run())
