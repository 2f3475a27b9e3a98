"""Lines, strangers and steps as they are written in the file, the environment and flags."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from collectors.reading import RAM, PoolId, Seconds, gib
from supervisor.config.config import Config, ConfigError, effective, load
from supervisor.core.foreign_rule import ForeignRule
from supervisor.core.lines import lines_of
from supervisor.core.snapshot import EngineId, ModelId, ModelRef
from supervisor.core.steps import Step
from tests.builders import pool

Read = Callable[..., Config]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read(text: str, environ: dict[str, str] | None = None, **flags: Any) -> Config:
        file = tmp_path / "ullage.toml"
        file.write_text(text)
        return load(file, environ or {}, flags, kinds=frozenset({"llamacpp"}))

    return read


def refused(read: Read, text: str) -> dict[str, str]:
    with pytest.raises(ConfigError) as wrong:
        read(text)
    return {problem.key: problem.message for problem in wrong.value.problems}


def test_the_lines_of_a_pool_are_in_bytes_or_shares_of_it(read: Read) -> None:
    config = read(
        '[pools.GPU-1]\nreserve = "4GiB"\nsoft = "10%"\nhard = "1GiB"\nrestore = "5GiB"\n'
        'relief_grace = "3s"'
    )
    lines = lines_of(pool(free=10, id=PoolId("GPU-1")), config.policy)
    assert (lines.hard, lines.restore, lines.grace) == (gib(1), gib(5), 3)
    assert lines.soft == pytest.approx(gib(2.4), abs=1)


def test_those_of_ram_can_be_given_in_the_environment(read: Read) -> None:
    config = read("", {"ULLAGE_POOLS_RAM_SOFT": "5%", "ULLAGE_POOLS_RAM_FOREIGN_PRESSURE": "alert"})
    ram = config.policy.pools[RAM]
    assert ram.soft is not None
    assert ram.soft.fraction == 0.05
    assert config.policy.foreign_of(RAM) is ForeignRule.ALERT
    assert config.policy.foreign_of(PoolId("GPU-1")) is ForeignRule.YIELD


def test_lines_out_of_order_are_told_with_their_key_all_at_once(read: Read) -> None:
    told = refused(
        read,
        '[pools.ram]\nsoft = "20%"\n'
        '[pools.GPU-1]\nreserve = "2GiB"\nhard = "3GiB"\nrestore = "1GiB"',
    )
    assert set(told) == {"pools.ram.soft", "pools.GPU-1.hard", "pools.GPU-1.restore"}
    assert "above the reserve of 12%" in told["pools.ram.soft"]


def test_strangers_are_named_by_patterns(read: Read) -> None:
    config = read(
        '[foreign."steam*"]\nrule = "refuse"\nminimum = "1GiB"\n[foreign.train]\nrule="ignore"'
    )
    found = {s.pattern: (s.rule, s.minimum) for s in config.policy.strangers}
    assert found == {
        "steam*": (ForeignRule.REFUSE, gib(1)),
        "train": (ForeignRule.IGNORE, 0),
    }
    shown = {key: value for key, value, _ in effective(config)}
    assert shown['foreign."steam*".rule'] == "refuse"
    assert shown['foreign."steam*".minimum'] == "1GiB"
    assert "foreign.train.minimum" not in shown


def test_a_stranger_needs_a_name_and_a_rule(read: Read) -> None:
    told = refused(read, '[foreign."steam*"]\nminimum = "1GiB"\n[foreign." "]\nrule = "alert"')
    assert told['foreign."steam*".rule'] == "is missing; write ignore, yield, refuse or alert"
    assert "is the name of no process" in told['foreign." "']
    told = refused(read, '[foreign.a]\nrule = "kill"\n[foreign.b]\nsize = 1')
    assert "is not one of ignore, yield, refuse, alert" in told["foreign.a.rule"]
    assert told["foreign.b.size"].startswith("unknown key")


def test_steps_are_said_of_the_host_an_engine_and_a_model_in_the_order_they_are_taken(
    read: Read,
) -> None:
    config = read(
        '[watchdog]\nbusy_steps = ["report", "unload"]\n'
        '[engines.e]\nurl = "http://127.0.0.1:1"\n[engines.e.watchdog]\nbusy_step_interval = "5s"\n'
        '[models."e/m".watchdog]\nbusy_steps = ["restart", "cancel", "restart"]'
    )
    policy = config.policy

    def ref(engine: str, model: str) -> ModelRef:
        return ModelRef(EngineId(engine), ModelId(model))

    assert policy.busy_steps_of(ref("x", "m")) == (Step.REPORT, Step.UNLOAD)
    assert policy.busy_steps_of(ref("e", "m")) == (Step.RESTART, Step.CANCEL)
    assert policy.busy_step_interval_of(ref("e", "m")) == 5
    assert policy.busy_step_interval_of(ref("x", "m")) == 30
    shown = {key: value for key, value, _ in effective(config)}
    assert shown['models."e/m".watchdog.busy_steps'] == "restart, cancel"
    assert shown["engines.e.watchdog.busy_step_interval"] == "5s"


def test_what_is_no_list_of_steps_is_told(read: Read) -> None:
    for text in ('"unload"', "[]", '["reboot"]'):
        (message,) = refused(read, f"[watchdog]\nbusy_steps = {text}").values()
        assert "write some of report, cancel, unload, restart in a list" in message


def test_the_defaults_act_as_ever(read: Read) -> None:
    policy = read("").policy
    assert policy.busy_steps_of(ModelRef(EngineId("e"), ModelId("m"))) == (Step.UNLOAD,)
    assert policy.foreign is ForeignRule.YIELD
    assert policy.growth_horizon == Seconds(30)
    assert policy.relief_pause == Seconds(10)
