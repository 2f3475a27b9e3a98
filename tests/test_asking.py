"""Trouble, where the daemon is, and names for TAB, against a real HTTP server."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete

from supervisor.cli.asking import names, word
from supervisor.cli.main import cli
from tests.canned import BUSY, Daemon, nobody_at, running, state, ullage

ROOT = Path(__file__).parent.parent
ALONE = ("run", "demo", "completion", "replay", "token", "config")  # config: some of its commands
ASKING = sorted(set(cli.commands) - {*ALONE})
NEITHER = {"fleet": ("join", "resources")}  # that ask no daemon
WITHOUT = ("version", "adopt", "init", "top")  # these can do without one, or want a terminal


@pytest.fixture(autouse=True)
def a_bare_environment(monkeypatch):
    for name in ("ULLAGE_URL", "ULLAGE_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def daemon(monkeypatch) -> Iterator[Daemon]:
    with running() as found:
        monkeypatch.setenv("ULLAGE_URL", found.address)
        yield found


@pytest.fixture
def nobody() -> Iterator[str]:
    with nobody_at() as url:
        yield url


# -- trouble


def test_an_unknown_model_is_a_failure_with_the_closest_names(daemon):
    detail = "no model is called 'qwen'; did you mean qwen3:8b?"
    daemon.say("/api/v1/evict", {"detail": detail, "what": "model", "closest": ["qwen3:8b"]}, 404)
    result = ullage("evict", "qwen")
    assert (result.exit_code, result.stdout) == (6, "")
    assert result.stderr == f"error: {detail}\n  try: ullage models\n"


def test_a_body_that_the_daemon_cannot_read_is_wrong_usage(daemon):
    errors = ["free: '8 potatoes' is not a size", "pool: too long"]
    daemon.say("/api/v1/evict", {"detail": "the body has 2 mistakes", "errors": errors}, 422)
    result = ullage("evict", "--free", "8 potatoes")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"error: the body has 2 mistakes\n  why: {'; '.join(errors)}\n"


@pytest.mark.parametrize("words", [["status"], ["models"], ["decisions"], ["why", "m"]])
def test_an_answer_of_another_version_is_said_to_be_one(daemon, words):
    daemon.say(f"/api/v1/{words[0].replace('status', 'state')}", {"a": 1})
    result = ullage(*words)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "it is of another version" in result.stderr
    assert "ullage version" in result.stderr


def test_what_the_daemon_says_cannot_command_the_terminal(daemon):
    daemon.say("/api/v1/why", {"detail": "no \x1b[2J\r\nerror"}, 404)
    assert ullage("why", "x").stderr.splitlines()[0] == "error: no \\x1b[2J\\r\\nerror"


@pytest.mark.parametrize("command", [c for c in ASKING if c not in WITHOUT])
def test_where_nobody_listens_every_command_says_how_to_start_one(nobody, command):
    words = {"evict": ["--all"], "plan": ["--free", "1"], "status": [], "models": []}
    words |= {"decisions": [], "release": [], "resume": [], "doctor": [], "retention": []}
    words |= {"settings": ["get"], "savings": [], "engines": [], "events": [], "pause": []}
    words |= {"continue": [], "drain": [], "undrain": []}
    words |= {"alerts": [], "health": [], "audit": [], "fleet": ["status"]}
    result = ullage("--url", nobody, command, *words.get(command, ["m"]))
    assert (result.exit_code, result.stdout) == (4, "")
    lines = result.stderr.splitlines()
    assert lines[0] == f"error: no daemon answers at {nobody}"
    assert lines[1].startswith("  why: ")
    assert "ullage run" in lines[2]
    assert len(lines) == 3


def test_a_daemon_that_takes_too_long_is_a_timeout():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        result = ullage("status", "--url", url, "--timeout", "50ms")
    assert result.exit_code == 7
    assert "within 0.05 s" in result.stderr


# -- where the daemon is


def test_what_is_said_after_the_command_counts_more(daemon, nobody, tmp_path):
    daemon.say("/api/v1/state", state())
    here, token = tmp_path / "s", tmp_path / "token"
    token.write_text("open-sesame\n")
    with running(str(here)) as other:
        other.say("/api/v1/state", state())
        assert ullage("--url", nobody, "status", "--url", daemon.address).exit_code == 0
        assert ullage("--socket", "/none", "status", "--url", daemon.address).exit_code == 0
        assert len(daemon.asked) == 2
        assert ullage("--socket", str(here), "status").exit_code == 0
        assert ullage("status", "--socket", str(here), "--token-file", str(token)).exit_code == 0
        assert [a[2].get("Authorization") for a in other.asked] == [None, "Bearer open-sesame"]


@pytest.mark.parametrize(
    "words",
    [
        ["--timeout", "soon"],
        ["--url", "ftp://127.0.0.1"],
        ["--token-file", "/nowhere/token"],
    ],
    ids=" ".join,
)
def test_an_address_that_cannot_be_used_is_wrong_usage(words):
    result = ullage("status", *words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ")


@pytest.mark.parametrize("command", sorted(cli.commands))
def test_every_command_that_asks_takes_the_address_too(command):
    found = cli.commands[command]
    each = list(found.commands.values()) if isinstance(found, click.Group) else [found]
    each = [c for c in each if c.name not in NEITHER.get(command, ())]
    options = set.intersection(*({o for p in c.params for o in p.opts} for c in each))
    assert ("--url" in options) == (command in ASKING)


# -- completion


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
def test_completion_prints_a_script_for_the_shell(shell):
    result = ullage("completion", shell)
    assert result.exit_code == 0
    assert "_ULLAGE_COMPLETE" in result.stdout
    assert f"{shell}_complete" in result.stdout


def complete(*words: str, begun: str = "") -> list[str]:
    found = ShellComplete(cli, {}, "ullage", "_ULLAGE_COMPLETE").get_completions([*words], begun)
    return [item.value for item in found]


def test_names_of_models_are_completed(daemon):
    daemon.say("/api/v1/state", BUSY)
    assert complete("evict", begun="ollama/q") == ["ollama/qwen3:8b"]
    assert complete("evict", "a", begun="qwen3") == ["qwen3:8b"]
    assert complete("load", begun="qwen3") == ["qwen3:32b"]
    assert complete("plan", "--load", begun="nomic") == ["nomic-embed-text:latest"]
    assert complete("unpin", begun="ollama/") == ["ollama/llama3.3:70b"]
    assert complete("unload", begun="ollama/q") == ["ollama/qwen3:8b"]
    assert complete("drain", begun="l") == ["llamacpp"]
    assert {path for _, path, _, _ in daemon.asked} == {"/api/v1/state"}


def test_a_name_that_two_engines_have_is_completed_with_its_engine(daemon):
    twins = [{"name": "a/same"}, {"name": "b/same"}, {"name": "b/evil\x1b[2J"}]
    daemon.say("/api/v1/state", state(models=twins))
    assert complete("why") == ["a/same", "b/same"]


def test_completion_is_silent_where_nobody_answers(nobody, monkeypatch, daemon):
    assert complete("--url", nobody, "evict") == []
    monkeypatch.setenv("ULLAGE_URL", "nonsense")
    assert complete("evict") == []
    monkeypatch.setenv("ULLAGE_URL", daemon.address)
    daemon.say("/api/v1/state", {"models": [1, 2]})
    assert complete("evict") == []


def test_the_completer_is_given_the_address_that_was_typed(daemon, nobody, monkeypatch):
    daemon.say("/api/v1/state", BUSY)
    monkeypatch.setenv("ULLAGE_URL", nobody)
    assert complete("--url", daemon.address, "evict", begun="qwen3") == ["qwen3:8b"]
    assert complete("evict", "--url", daemon.address, begun="qwen3") == ["qwen3:8b"]
    assert names("pins")(click.Context(cli), click.Option(["-x"]), "") == []


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_bash_completes_a_name_with_a_colon_in_it(daemon, tmp_path):
    daemon.say("/api/v1/state", BUSY)
    command = tmp_path / "ullage"
    command.write_text(f"#!/bin/sh\ncd '{ROOT}' && exec '{sys.executable}' -m supervisor \"$@\"\n")
    command.chmod(0o755)
    script = (
        'eval "$(ullage completion bash)"; [[ $COMP_WORDBREAKS != *:* ]] || exit 9\n'
        'COMP_WORDS=(ullage evict "qwen3:8"); COMP_CWORD=2\n'
        '_ullage_completion ullage; echo "${COMPREPLY[@]}"'
    )
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    out = subprocess.run(
        ["bash", "-c", script],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert out.stdout == "qwen3:8b\n"


@pytest.mark.parametrize(
    ("name", "positional"),
    [
        ("qwen3:8b", "qwen3:8b"),
        ("two words", "'two words'"),
        ("-rf", "-- -rf"),
        ("a\x1b[2J", "'a\\x1b[2J'"),
    ],
)
def test_a_name_in_an_advice_can_be_pasted_into_a_shell(name, positional):
    assert word(name) == positional
