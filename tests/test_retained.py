"""Retention in the file, the environment and flags; and what contradicts what."""

from __future__ import annotations

from typing import Any

import pytest

from supervisor.core.policy import FOREVER, Retention
from supervisor.core.snapshot import EngineId
from tests.builders import ref
from tests.configs import nothing


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ('"5m"', 300),
        ('"10m0s"', 600),
        ("90", 90),
        ("0", 0),
        ('"0"', 0),
        ("-1", FOREVER),
        ('"-1"', FOREVER),
        ('"-1m"', FOREVER),
        ("-3600", FOREVER),
    ],
)
def test_a_keep_alive_is_written_as_for_ollama(read: Any, written: str, seconds: float) -> None:
    config = read(f"keep_alive = {written}\n")
    assert config.policy.keep_alive == seconds
    assert config.policy.retention_of(ref("m")) is Retention.KEEP_ALIVE


@pytest.mark.parametrize("written", ['"soon"', "true", '"-"', '"- 5m"', "[]"])
def test_what_is_no_duration_is_none_here_either(mistakes: Any, written: str) -> None:
    (told,) = mistakes(f"keep_alive = {written}\n")
    assert "keep_alive" in told


def test_each_scope_has_its_own_word(read: Any) -> None:
    config = read("""
retention = "on_demand"
[engines.main]
url = "http://127.0.0.1:8080"
keep_alive = "5m"
[models."qwen3:8b"]
retention = "pinned"
[models."main/gemma"]
keep_alive = -1
""")
    policy = config.policy
    assert policy.retention_of(ref("x", "other")) is Retention.ON_DEMAND
    assert policy.idle_timeout_of(ref("x", "main")) == 300
    assert policy.is_pinned(ref("qwen3:8b", "main"))
    assert policy.idle_timeout_of(ref("gemma", "main")) is None
    assert policy.engines[EngineId("main")].keeps is Retention.KEEP_ALIVE


def test_the_host_s_may_be_in_the_environment_and_in_flags(read: Any) -> None:
    config = nothing(ULLAGE_RETENTION="on_demand")
    assert config.policy.retention is Retention.ON_DEMAND
    assert config.sources["retention"] == "environment ULLAGE_RETENTION"
    config = read('keep_alive = "5m"\n', {"ULLAGE_KEEP_ALIVE": "-1"})
    assert config.policy.keep_alive == FOREVER
    config = read('keep_alive = "5m"\n', {"ULLAGE_KEEP_ALIVE": "-1"}, keep_alive="0")
    assert config.policy.keep_alive == 0
    assert config.sources["keep_alive"] == "flag --keep-alive"


MODEL = '[models."m"]\n'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('retention = "on_demand"\nkeep_alive = "5m"\n', 'contradicts retention = "on_demand"'),
        (f'{MODEL}retention = "pinned"\nkeep_alive = 0\n', "makes it go, and it is pinned"),
        ('retention = "pinned"\nkeep_alive = -1\n', 'contradicts retention = "pinned"'),
        (f'{MODEL}pinned = true\nretention = "on_demand"\n', "is on_demand, and it is pinned"),
        (f'{MODEL}pinned = true\nkeep_alive = "5m"\n', "makes it go, and it is pinned"),
        (f'{MODEL}pinned = false\nretention = "pinned"\n', 'contradicts retention = "pinned"'),
        ('keep_alive = "5m"\n[watchdog]\nidle_timeout = "6m"\n', "keep_alive of the same is 5m"),
        ('keep_alive = "5m"\n[watchdog]\nidle = false\n', "false contradicts keep_alive = 5m"),
        ('keep_alive = "-1"\n[watchdog]\nidle = true\n', "true contradicts keep_alive = -1"),
        (
            f'{MODEL}keep_alive = 9\n[models."m".watchdog]\nidle_timeout = 8\n',
            "keep_alive of the same is 9s",
        ),
    ],
)
def test_one_scope_does_not_say_two_things(mistakes: Any, text: str, told: str) -> None:
    (found,) = mistakes(text)
    assert told in found


@pytest.mark.parametrize(
    "text",
    [
        'retention = "keep_alive"\nkeep_alive = "5m"\n[watchdog]\nidle_timeout = "5m"\n',
        'keep_alive = "5m"\n[watchdog]\nidle = true\n',
        'keep_alive = -1\n[watchdog]\nidle = false\nidle_timeout = "5m"\n',
        f'keep_alive = "5m"\n{MODEL}pinned = true\n',
        f'{MODEL}pinned = true\nretention = "pinned"\n',
        f'[watchdog]\nidle_timeout = "6m"\n{MODEL}keep_alive = "5m"\n',
        f'{MODEL}retention = "on_demand"\n[models."m".watchdog]\nidle_timeout = "5m"\n',
    ],
)
def test_what_goes_together_is_taken(read: Any, text: str) -> None:
    read(text)
