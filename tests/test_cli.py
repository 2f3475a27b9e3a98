"""The command line, against a real HTTP server that gives canned answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import supervisor
from supervisor.cli.main import cli
from tests.canned import BUSY, DONE, REFUSED, Daemon, nobody_at, running, state, ullage

ROOT = Path(__file__).parent.parent
COMMANDS = sorted(cli.commands)


pytestmark = pytest.mark.usefixtures("bare_environment")


@pytest.fixture
def daemon(monkeypatch) -> Iterator[Daemon]:
    with running() as found:
        monkeypatch.setenv("ULLAGE_URL", found.address)
        yield found


@pytest.fixture
def nobody() -> Iterator[str]:
    with nobody_at() as url:
        yield url


def carried(decision: Any, *sentences: str, ok: bool = True) -> dict[str, Any]:
    return {"decision": decision, "sentences": list(sentences), "ok": ok}


def planned(works: bool = True, **others: Any) -> dict[str, Any]:
    nothing = {"actions": [], "notes": [], "unmet": [], "full": [], "sentences": ["so be it"]}
    return {"works": works, **nothing, **others}


# -- questions


def test_status_shows_pools_models_and_what_is_wrong(daemon):
    daemon.say("/api/v1/state", BUSY)
    result = ullage("status")
    assert result.exit_code == 0
    for text in ("5.5 GiB of 23.5 GiB free", "ollama/qwen3:8b", "2 in flight", "engine down"):
        assert text in result.stdout
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("words", "path"),
    [
        (["status"], "/api/v1/state"),
        (["models"], "/api/v1/models"),
        (["decisions"], "/api/v1/decisions"),
        (["why", "qwen3:8b"], "/api/v1/why"),
        (["plan", "--load", "qwen3:8b"], "/api/v1/plan"),
        (["evict", "--all"], "/api/v1/evict"),
        (["load", "qwen3:8b"], "/api/v1/load"),
    ],
    ids=lambda v: v[0] if isinstance(v, list) else None,
)
def test_json_is_exactly_what_the_daemon_wrote(daemon, words, path):
    text = daemon.say(path, {**planned(), **carried(DONE), "unheard of": [1, "ü"]})
    result = ullage(*words, "--json")
    assert (result.exit_code, result.stdout, result.stderr) == (0, text + "\n", "")


def test_watching_looks_again_until_interrupted(daemon, monkeypatch):
    daemon.say("/api/v1/state", state())
    looks = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        daemon.say("/api/v1/state", state(mode=f"look {len(looks)}"))
        if len(looks) == 2:
            daemon.says.clear()
        if len(looks) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("supervisor.cli.looking.time", SimpleNamespace(sleep=sleep))
    result = ullage("status", "--watch")
    assert result.exit_code == 0
    assert looks == [2.0] * 3
    assert "look 1" in result.stdout
    assert "there is nothing here; still asking" in result.stdout


def test_watching_begins_only_where_a_daemon_answers(nobody):
    assert ullage("status", "--watch", "--url", nobody).exit_code == 4


def test_watching_is_not_for_programs(daemon):
    assert ullage("status", "--watch", "--json").exit_code == 2
    assert daemon.asked == []


def test_models_lists_the_loaded_and_the_installed(daemon):
    daemon.say("/api/v1/models", {"models": BUSY["models"], "installed": BUSY["installed"]})
    result = ullage("models")
    assert "ollama/qwen3:8b" in result.stdout
    assert "ollama/qwen3:32b" in result.stdout


def test_decisions_asks_for_as_many_as_it_is_told(daemon):
    daemon.say("/api/v1/decisions", {"decisions": [DONE, REFUSED]})
    result = ullage("decisions", "-n", "2", "--model", "qwen3:8b")
    assert daemon.asked[0][1] == "/api/v1/decisions?limit=2&model=qwen3%3A8b"
    assert "d-000012" in result.stdout
    assert ullage("decisions", "-n", "0").exit_code == 2


def test_why_says_its_sentences_one_a_line(daemon):
    daemon.say("/api/v1/why", {"model": "m", "sentences": ["one", "two\x1b[2J"], "decisions": []})
    result = ullage("why", "a model")
    assert daemon.asked[0][1] == "/api/v1/why?model=a+model"
    assert result.stdout == "one\ntwo\\x1b[2J\n"


def test_version_tells_its_own_and_the_daemons(daemon):
    daemon.say("/api/v1/version", {"version": "9.9"})
    assert f"ullage {supervisor.__version__} (daemon 9.9 at" in ullage("version").stdout
    found = json.loads(ullage("version", "--json").stdout)
    assert found == {"version": supervisor.__version__, "daemon": "9.9"}


def test_version_needs_no_daemon(nobody):
    result = ullage("version", "--url", nobody)
    assert (result.exit_code, "no daemon answers" in result.stdout) == (0, True)
    assert json.loads(ullage("version", "--url", nobody, "--json").stdout)["daemon"] is None


# -- wishes


@pytest.mark.parametrize(
    ("words", "body"),
    [
        (["a", "b"], {"models": ["a", "b"], "wait": True}),
        (["--all", "--no-wait"], {"all": True, "wait": False}),
        (["--free", "8GiB"], {"free": "8GiB", "wait": True}),
        (["--free", "8GiB", "--pool", "gpu0"], {"free": "8GiB", "pool": "gpu0", "wait": True}),
        (["a", "--force"], {"models": ["a"], "force": True, "wait": True}),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_evict_posts_what_was_asked_for(daemon, words, body):
    daemon.say("/api/v1/evict", carried(DONE, "it went"))
    result = ullage("evict", *words)
    assert (result.exit_code, result.stdout) == (0, "it went\n")
    assert (daemon.asked[0][:2], daemon.body) == (("POST", "/api/v1/evict"), body)


@pytest.mark.parametrize(
    "words",
    [
        ["evict"],
        ["evict", "a", "--all"],
        ["evict", "--all", "--free", "1GiB"],
        ["evict", "a", "--pool", "ram"],
        ["plan"],
        ["plan", "--load", "a", "--evict", "b"],
        ["plan", "--load", "a", "--pool", "ram"],
    ],
    ids=" ".join,
)
def test_a_wish_that_says_nothing_or_two_things_is_not_posted(daemon, words):
    result = ullage(*words)
    assert result.exit_code == 2
    assert "say one of" in result.stderr or "--pool goes with --free" in result.stderr
    assert daemon.asked == []


def test_what_is_refused_by_policy_is_told_apart_from_what_failed(daemon):
    daemon.say("/api/v1/evict", carried(DONE, "d-1: asked", "a stayed: it is pinned", ok=False))
    result = ullage("evict", "a")
    assert (result.exit_code, result.stdout) == (5, "")
    assert result.stderr.splitlines() == [
        "error: a was not unloaded",
        "  why: a stayed: it is pinned",
        "  try: ullage why a",
    ]


def test_a_refusal_as_json_is_on_standard_output_all_the_same(daemon):
    text = daemon.say("/api/v1/load", carried(REFUSED, "no", ok=False))
    result = ullage("load", "a", "--json")
    assert (result.exit_code, result.stdout) == (5, text + "\n")
    assert "try: ullage why a · ullage load a --dry-run" in result.stderr


def test_a_daemon_that_only_advises_says_so(daemon):
    daemon.say("/api/v1/evict", carried({**DONE, "mode": "advise"}, "it would go", ok=False))
    result = ullage("evict", "--all")
    assert result.exit_code == 5
    assert "ullage run --mode enforce" in result.stderr


@pytest.mark.parametrize(("verb", "word"), [("pin", "pinned"), ("unpin", "unpinned")])
def test_pins_are_told_by_their_full_name(daemon, verb, word):
    daemon.say(f"/api/v1/{verb}", {word: "ollama/a"})
    result = ullage(verb, "a")
    assert (result.exit_code, daemon.body) == (0, {"model": "a"})
    assert "ollama/a" in result.stdout


@pytest.mark.parametrize(
    ("words", "body"),
    [
        (["--load", "a"], {"load": "a"}),
        (["--free", "1GiB", "--pool", "ram"], {"free": "1GiB", "pool": "ram"}),
        (["--evict", "a", "--evict", "b"], {"evict": ["a", "b"]}),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_plan_asks_and_tells(daemon, words, body):
    daemon.say("/api/v1/plan", planned())
    result = ullage("plan", *words)
    assert (result.exit_code, result.stdout, daemon.body) == (0, "so be it\n", body)


def test_a_plan_that_does_not_work_is_told_by_its_exit_code(daemon):
    daemon.say("/api/v1/plan", planned(works=False))
    result = ullage("plan", "--load", "a")
    assert (result.exit_code, result.stdout) == (5, "so be it\n")


def test_a_plan_that_spares_who_should_go_is_told_by_its_exit_code(daemon):
    daemon.say("/api/v1/plan", planned(notes=[{"model": "ollama/a", "why": "pinned"}]))
    assert ullage("plan", "--evict", "a").exit_code == 5
    gone = {"notes": [{"model": "ollama/a", "why": "asked for"}]}
    gone["actions"] = [{"action": "evict", "model": "ollama/a"}]
    daemon.say("/api/v1/plan", planned(**gone))
    assert ullage("plan", "--evict", "a").exit_code == 0


def test_a_plan_with_nothing_to_say_says_that(daemon):
    daemon.say("/api/v1/plan", planned(sentences=[]))
    assert ullage("plan", "--free", "1").stdout == "nothing would have to be done\n"


# -- help


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_shows_an_example(command):
    result = ullage(command, "--help")
    assert result.exit_code == 0
    assert f"    ullage {command}" in result.stdout.partition("Examples:")[2] or (
        command == "completion" and "ullage completion bash" in result.stdout
    )


def test_the_help_documents_the_exit_codes():
    text = ullage("-h").stdout
    for code in range(10):
        assert f"    {code}  " in text
    assert "ULLAGE_URL" in text


def test_help_loads_nothing_heavy():
    heavy = {"httpx", "uvicorn", "starlette", "pydantic", "rich", "asyncio", "http.client"}
    code = (
        "import runpy, sys\nsys.argv = ['ullage', '--help']\n"
        "try: runpy.run_module('supervisor', run_name='__main__')\n"
        f"except SystemExit: print('LOADED', *sorted({heavy} & set(sys.modules)))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert out.stdout.startswith("Usage: ullage")
    assert out.stdout.splitlines()[-1] == "LOADED"


def test_asking_loads_no_second_http_client(daemon):
    daemon.say("/api/v1/state", BUSY)
    code = (
        "import sys\nfrom supervisor.cli.main import main\n"
        "try: main(['status'])\n"
        "except SystemExit as end: print('LOADED', end.code, *"
        "sorted({'httpx', 'uvicorn', 'pydantic', 'asyncio'} & set(sys.modules)))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert out.stdout.splitlines()[-1] == "LOADED 0"


def test_a_name_that_the_terminal_cannot_show_ends_nothing(daemon):
    daemon.say("/api/v1/why", {"model": "m", "sentences": ["模型 stays"], "decisions": []})
    out = subprocess.run(
        [sys.executable, "-m", "supervisor", "why", "m"],
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert out.stdout == "\\u6a21\\u578b stays\n"
