"""`ullage settings`, against a real HTTP server that gives canned answers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.canned import Daemon, running, ullage

ROW = {"key": "max_active_backends", "value": "2", "source": "override", "settable": True}
CHANGE = {
    "key": "max_active_backends",
    "value": "1",
    "before": "0",
    "apply_now": False,
    "now": ["ollama/a b"],
    "next_load": {"ollama": ["ollama/a b"]},
    "sentences": ["max_active_backends = 1 (it was 0)"],
    "dry_run": False,
}
AT = "/api/v1/settings/max_active_backends"


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    for name in ("ULLAGE_URL", "ULLAGE_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with running() as found:
        monkeypatch.setenv("ULLAGE_URL", found.address)
        yield found


def test_one_or_all_are_shown_with_whence_they_are(daemon: Daemon) -> None:
    other = ROW | {"key": "detect", "value": "true\x1b[2J", "source": "default"}
    aside = {"watchdog.idle": "is refused"}
    daemon.say("/api/v1/settings", {"settings": [ROW, other], "set_aside": aside})
    result = ullage("settings", "get")
    assert (result.exit_code, result.stdout) == (
        0,
        "max_active_backends = 2  (override)\ndetect              = true\\x1b[2J\n",
    )
    assert "watchdog.idle is not in force" in result.stderr
    daemon.say(AT, ROW)
    assert ullage("settings", "get", "max_active_backends").stdout == (
        "max_active_backends = 2  (override)\n"
    )


def test_a_setting_is_set_and_what_it_would_do_is_told(daemon: Daemon) -> None:
    daemon.say(AT, CHANGE)
    result = ullage("settings", "set", "max_active_backends", "1")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == (
        "max_active_backends = 1 (it was 0)\n"
        "to apply it at once: ullage settings set --apply-now max_active_backends 1\n"
    )
    assert daemon.asked[-1][:2] == ("PUT", AT)
    assert daemon.body == {"value": "1", "apply_now": False, "dry_run": False}
    ullage("settings", "set", "max_active_backends", "1", "--apply-now", "--dry-run")
    assert daemon.body == {"value": "1", "apply_now": True, "dry_run": True}


def test_a_setting_is_taken_back(daemon: Daemon) -> None:
    daemon.say(AT, CHANGE)
    offered = ullage("settings", "unset", "max_active_backends").stdout.splitlines()[-1]
    assert offered == "to apply it at once: ullage config reload --apply-now"  # it is unset now
    dry = ullage("settings", "unset", "max_active_backends", "--dry-run").stdout.splitlines()[-1]
    assert dry.endswith(": ullage settings unset --apply-now max_active_backends")
    assert ullage("settings", "unset", "max_active_backends", "--apply-now").exit_code == 0
    assert daemon.asked[-1][:2] == ("DELETE", f"{AT}?apply_now=true")


def test_one_that_is_refused_is_told_with_every_mistake(daemon: Daemon) -> None:
    errors = ["max_active_backends: is 1, and a and b are pinned", "mode: no"]
    daemon.say(AT, {"detail": "the setting is refused", "errors": errors}, 422)
    result = ullage("settings", "set", "max_active_backends", "1")
    assert (result.exit_code, result.stdout) == (5, "")
    assert all(error in result.stderr for error in errors)


def test_the_names_of_models_in_keys_are_sent_as_they_are(daemon: Daemon) -> None:
    daemon.say("/api/v1/settings/models.%22a%2Fb%22.priority", CHANGE)
    result = ullage("settings", "set", 'models."a/b".priority', "1")
    assert result.exit_code == 0, result.stderr


def test_a_load_says_who_asks(daemon: Daemon) -> None:
    decision = {"mode": "enforce", "notes": [], "actions": []}
    daemon.say("/api/v1/load", {"ok": True, "decision": decision, "sentences": ["done"]})
    assert ullage("load", "qwen3:8b", "--client", "agent").exit_code == 0
    assert daemon.body == {"model": "qwen3:8b", "client": "agent"}
