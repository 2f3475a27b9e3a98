"""Words of the configuration become programs."""

import asyncio
import json
import logging
import sys
from contextlib import asynccontextmanager

import pytest

from supervisor.children import kin
from supervisor.config.served import Launching
from supervisor.core.snapshot import EngineId, ModelId, State
from supervisor.engines.base import EngineDown, EngineRefused
from supervisor.engines.launched import Told
from supervisor.engines.process import OwnProcess
from supervisor.engines.wire import client

M = ModelId("qwen3:8b")
REPORT = """
import json, os, sys
print(json.dumps([sys.argv[1:], dict(os.environ), os.getcwd()]), flush=True)
import signal; signal.pause()
"""
PYTHON = [sys.executable, "-I", "-S", "-c"]
GPU = "GPU-8f2a1c3d-1111-2222-3333-444455556666"


@asynccontextmanager
async def engine(state, *, ends="stop", model=None, **table):
    told = Launching.model_validate(
        {"when_daemon_ends": ends, "served": {M: model or {}}, "stop_timeout": "1s", **table}
    )
    async with client() as http:
        made = OwnProcess(EngineId("own"), "", http, None, Told(told, None, state))
        try:
            yield made
        finally:
            await made.close()


async def lines(made, count=1, within=20.0):
    """What it wrote, as soon as it is so much."""
    async with asyncio.timeout(within):
        while True:
            found = [t for t in await made.logs(M, 100) if not t.startswith("[ullage]")]
            if len(found) >= count:
                return found
            await asyncio.sleep(0)


def started(tmp_path, devices=(), **table):
    """Its words, its environment and its folder."""

    async def story():
        async with engine(tmp_path, **table) as made:
            await made.load(M, devices)
            return json.loads((await lines(made))[0])

    return asyncio.run(story())


def test_variables_are_put_in_once_and_never_read_again(tmp_path):
    words, environment, _ = started(
        tmp_path,
        command=[*PYTHON, REPORT, "${FILE}", "--port=${PORT}", "${MODEL}", "$${MODEL}", "$HOME"],
        variables={"FILE": "/models/${MODEL}.gguf", "EVIL": "${PORT} $(id)"},
        environment={"HOST": "127.0.0.1:${PORT}", "PLAIN": "a b"},
        model={"variables": {"OWN": "1"}, "environment": {"TWO": "${OWN}${EVIL}"}},
    )
    file, port, *rest = words
    number = port.removeprefix("--port=")
    assert file == "/models/qwen3:8b.gguf"
    assert number.isdecimal()
    assert rest == ["qwen3:8b", "${MODEL}", "$HOME"]
    assert environment["HOST"] == f"127.0.0.1:{number}"
    assert environment["TWO"] == f"1{number} $(id)"


def test_the_daemon_s_environment_is_handed_down_without_its_secrets(tmp_path, monkeypatch):
    monkeypatch.setenv("ULLAGE_TOKEN", "sesame")
    monkeypatch.setenv("HF_HOME", "/models")
    monkeypatch.setenv("PLAIN", "old")
    _, environment, folder = started(
        tmp_path, command=[*PYTHON, REPORT, "${PORT}"], environment={"PLAIN": "new"}
    )
    assert "ULLAGE_TOKEN" not in environment
    assert environment["HF_HOME"] == "/models"
    assert environment["PLAIN"] == "new"
    assert folder == "/"


def test_it_works_in_its_own_folder(tmp_path):
    found = started(tmp_path, command=[*PYTHON, REPORT, "${PORT}"], folder=str(tmp_path))
    assert found[2] == str(tmp_path)


@pytest.mark.parametrize(
    ("devices", "table", "shown"),
    [
        ([GPU], {}, GPU),
        ([], {}, None),
        ([GPU], {"gpus": False}, None),
        ([GPU], {"environment": {"CUDA_VISIBLE_DEVICES": "3"}}, "3"),
    ],
)
def test_it_sees_the_accelerators_that_it_was_planned_for(
    tmp_path, monkeypatch, devices, table, shown
):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    command = [*PYTHON, REPORT, "${PORT}"]
    _, environment, _ = started(tmp_path, devices, command=command, **table)
    assert environment.get("CUDA_VISIBLE_DEVICES") == shown


@pytest.mark.parametrize(
    ("table", "anywhere"),
    [
        ({}, True),
        ({"gpus": False}, False),
        ({"environment": {"CUDA_VISIBLE_DEVICES": "3"}}, False),
        ({"command": ["serve", "${PORT}", "--device", "CUDA0"]}, False),
    ],
)
def test_it_says_of_which_models_it_can_be_told_where_to_run(
    tmp_path, monkeypatch, table, anywhere
):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    async def story():
        async with engine(tmp_path, **{"command": ["serve", "${PORT}"], **table}) as made:
            return [m.anywhere for m in await made.list()]

    assert asyncio.run(story()) == [anywhere]


def test_what_the_operator_has_set_for_the_daemon_holds_for_its_children(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    _, environment, _ = started(tmp_path, [GPU], command=[*PYTHON, REPORT, "${PORT}"])
    assert environment["CUDA_VISIBLE_DEVICES"] == "1"


def test_an_address_of_its_own_gives_it_that_port(tmp_path):
    words, *_ = started(
        tmp_path,
        command=[*PYTHON, REPORT, "${PORT}"],
        model={"url": "http://127.0.0.1:49151"},
    )
    assert words == ["49151"]


def test_no_value_of_a_variable_is_logged_or_written_down(tmp_path, caplog):
    async def story():
        async with engine(
            tmp_path,
            command=[*PYTHON, "import sys; sys.exit(1)", "${PORT}", "${KEY}"],
            variables={"KEY": "open-sesame"},
            environment={"TOKEN": "open-sesame"},
        ) as made:
            await made.load(M)
            for file in tmp_path.iterdir():
                assert "sesame" not in file.read_text()
            async with asyncio.timeout(20):
                while (await made.list())[0].trouble is None:
                    await asyncio.sleep(0)

    with caplog.at_level(logging.DEBUG):
        asyncio.run(story())
    assert "sesame" not in caplog.text


def test_what_cannot_be_started_is_refused_in_words(tmp_path):
    async def story():
        async with engine(tmp_path, command=["no-such-program", "${PORT}"]) as made:
            with pytest.raises(EngineRefused, match="no-such-program is not on the PATH"):
                await made.load(M)
            (model,) = await made.list()
            assert (model.state, model.due) == (None, False)
            assert model.trouble == "no-such-program is not on the PATH"

    asyncio.run(story())


def test_a_limit_that_cannot_be_kept_is_no_reason_to_run_without(tmp_path, monkeypatch):
    from supervisor.children.cgroup import Groups, NoGroup

    def make(self, name, limit=None):
        raise NoGroup("memory is not counted here")

    monkeypatch.setattr(Groups, "make", make)

    async def story():
        async with engine(
            tmp_path, command=[*PYTHON, REPORT, "${PORT}"], memory_limit="1GiB"
        ) as made:
            with pytest.raises(EngineRefused, match="memory_limit cannot be kept: memory is not"):
                await made.load(M)

    asyncio.run(story())


def test_where_nothing_can_be_written_down_the_engine_is_down_and_says_why(tmp_path):
    (tmp_path / "file").touch()

    async def story():
        async with engine(tmp_path / "file/own", command=["true", "${PORT}"]) as made:
            with pytest.raises(EngineDown, match="is state_dir writable"):
                await made.list()
            with pytest.raises(EngineRefused, match="is state_dir writable"):
                await made.load(M)

    asyncio.run(story())


def test_the_next_daemon_has_what_the_last_one_kept(tmp_path):
    command = [*PYTHON, REPORT, "${PORT}"]

    async def story():
        async with engine(tmp_path, ends="keep", command=command) as made:
            await made.load(M)
            await lines(made)
            (model,) = await made.list()
            pid = model.process.pid
        async with engine(tmp_path, ends="keep", command=command) as made:
            (model,) = await made.list()
            assert (model.state, model.process.pid) == (State.LOADING, pid)
        # The same models, started otherwise: they are not what is wanted.
        async with engine(tmp_path, ends="keep", command=[*command, "more"]) as made:
            (model,) = await made.list()
            assert (model.state, model.process.pid) == (State.LEAVING, pid)
            async with asyncio.timeout(20):
                while (await made.list())[0].state is not None:
                    await asyncio.sleep(0)
        assert pid not in kin.table()
        assert not list(tmp_path.glob("*.json"))

    asyncio.run(story())
