"""`ullage run` and `ullage demo`: what they hand on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import supervisor
from tests.canned import ullage

pytestmark = pytest.mark.usefixtures("bare_environment")


@pytest.fixture
def app(monkeypatch) -> Iterator[list[Any]]:
    """In the place of the daemon: keeps the configuration and ends with exit code 3."""
    started: list[Any] = []
    fake = SimpleNamespace(run=lambda config: started.append(config) or 3)
    monkeypatch.setitem(sys.modules, "supervisor.app", fake)
    monkeypatch.setattr(supervisor, "app", fake, raising=False)
    return started


def test_run_hands_the_flags_to_the_configuration_and_the_exit_code_back(app, tmp_path):
    file, token = tmp_path / "my.toml", tmp_path / "token"
    file.write_text('mode = "observe"\nlog_level = "error"\n')
    token.write_text("0123456789abcdef")
    token.chmod(0o600)
    result = ullage(
        *("run", "--config", str(file), "--mode", "advise", "--host", "127.0.0.1"),
        *("--port", "0", "--socket", str(tmp_path / "s"), "--token-file", str(token)),
        *("--log-format", "json"),
        *("--engine", "a=http://127.0.0.1:1", "--engine", "b=http://127.0.0.1:2"),
        *("--set", "relief_grace=3s", "--set", "watchdog.idle_timeout=30m"),
    )
    assert result.exit_code == 3, result.stderr
    config = app[0]
    assert (config.mode.value, config.log_level.value) == ("advise", "error")
    assert config.log_format.value == "json"
    assert config.sources["log_format"] == "flag --log-format"
    assert (config.listen_port, config.socket) == (0, tmp_path / "s")
    assert config.token == "0123456789abcdef"
    assert [e.id for e in config.engines] == ["a", "b"]
    assert config.policy.grace == 3
    assert config.policy.watchdog.idle_timeout == 1800


def test_run_takes_the_gateway_s_port_or_none(app):
    assert ullage("run", "--gateway-port", "11434").exit_code == 3
    assert ullage("run", "--no-gateway").exit_code == 3
    told = [(config.gateway.enabled, config.gateway.port) for config in app]
    assert told == [(True, 11434), (False, 8553)]


def test_run_without_a_word_runs_on_the_defaults(app):
    assert ullage("run").exit_code == 3
    assert (app[0].mode.value, app[0].listen_port) == ("enforce", 8552)


def test_every_mistake_of_the_configuration_is_told_at_once(app):
    result = ullage("run", "--mode", "bogus", "--port", "99999", "--set", "grace=1s")
    assert (result.exit_code, result.stdout, app) == (3, "", [])
    assert "3 mistakes" in result.stderr
    for word in ("bogus", "99999", "grace"):
        assert word in result.stderr


def test_a_setting_without_a_value_is_wrong_usage(app):
    assert ullage("run", "--set", "relief_grace").exit_code == 2


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            [],
            {
                "real": False,
                "speed": 1.0,
                "seconds": None,
                "plain": False,
                "model": None,
                "serve": None,
            },
        ),
        (
            ["--real", "--model", "m.gguf", "--speed", "4", "--seconds", "60", "--once"],
            {
                "real": True,
                "speed": 4.0,
                "seconds": 60.0,
                "plain": True,
                "model": "m.gguf",
                "serve": None,
            },
        ),
        (
            ["--serve", "--port", "7"],
            {
                "real": False,
                "speed": 1.0,
                "seconds": None,
                "plain": False,
                "model": None,
                "serve": 7,
            },
        ),
    ],
    ids=["bare", "full", "serve"],
)
def test_demo_plays_what_it_is_told(monkeypatch, words, expected):
    played = []
    fake = ModuleType("supervisor.demo")
    fake.main = lambda **given: played.append(given) or 6  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "supervisor.demo", fake)
    assert ullage("demo", *words).exit_code == 6
    assert played == [expected]
    assert ullage("demo", "--speed", "0").exit_code == 2
    assert ullage("demo", "--serve", "--real").exit_code == 2


@pytest.mark.slow
def test_the_daemon_does_without_what_colours_answers_of_a_command_line():
    story = (
        "import sys\n"
        "from supervisor.cli.run import without_httpx_cli\n"
        "without_httpx_cli()\n"
        "import httpx, supervisor.app\n"
        "print(httpx.AsyncClient.__name__, 'pygments' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", story], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["AsyncClient", "False"]
