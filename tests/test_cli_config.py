"""`ullage config`: files are checked and shown without a daemon, and read by one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy import tables
from supervisor.cli import show
from supervisor.cli.bars import Screen
from supervisor.config.settings import SETTINGS
from tests.canned import Daemon, nobody_at, running, state, ullage

EXAMPLE = tables.SCHEMA.with_name("ullage.example.toml")
RELOAD = "/api/v1/config/reload"
ANSWER = {
    "file": "/etc/ullage/ullage.toml",
    "changed": ["max_active_backends"],
    "restart": [],
    "hidden": [],
    "set_aside": {},
    "apply_now": False,
    "now": ["ollama/a b"],
    "next_load": {"ollama": ["ollama/a b"]},
    "sentences": ["max_active_backends = 1 (it was 0)", "who is loaded stays for now\x1b[2J"],
    "dry_run": False,
}


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without any configuration."""
    for name in ("ULLAGE_URL", "ULLAGE_TOKEN", "ULLAGE_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    with running() as found:
        monkeypatch.setenv("ULLAGE_URL", found.address)
        yield found


def test_a_good_file_is_good_and_what_is_not_as_usual_is_counted(tmp_path: Path) -> None:
    assert ullage("config", "check", str(EXAMPLE)).stdout == (
        f"{EXAMPLE} is good: 0 settings, 0 engines; the rest is as usual\n"
    )
    Path("ullage.toml").write_text('prefetch = true\n[engines.a]\nurl = "http://127.0.0.1:1"')
    assert ullage("config", "check").stdout == (
        "ullage.toml is good: 2 settings, 1 engine; the rest is as usual\n"
    )
    found = json.loads(ullage("config", "check", "--json").stdout)
    assert found == {"ok": True, "file": "ullage.toml", "mistakes": []}


def test_every_mistake_is_told_with_its_line_in_the_order_of_the_file(tmp_path: Path) -> None:
    Path("bad.toml").write_text(
        'max_active_backends = 1\nprefetsh = true\n[engines.main]\nkind = "olama"\n'
        '[models."a"]\npinned = true\n[models."b"]\npinned = true\n'
        'watchdog = {idle_timeot = "1m"}\n'
    )
    result = ullage("config", "check", "bad.toml")
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr.splitlines() == [
        "error: bad.toml has 5 mistakes",
        "  why: bad.toml:1: max_active_backends: is 1, and a and b are pinned",
        "       bad.toml:2: prefetsh: unknown key; did you mean prefetch?",
        '       bad.toml:3: engines.main.url: is missing; write it as "http://127.0.0.1:8080"',
        '       bad.toml:4: engines.main.kind: "olama" is no kind of engine; did you mean ollama?',
        "       bad.toml:9: models.b.watchdog.idle_timeot: unknown key;"
        " did you mean models.b.watchdog.idle_timeout?",
        "  try: mend them, then ullage config check bad.toml",
    ]
    found = ullage("config", "check", "--json", "bad.toml")
    assert found.exit_code == 3
    mistakes = json.loads(found.stdout)["mistakes"]
    assert {m["where"] for m in mistakes} == {f"bad.toml:{n}" for n in (1, 2, 3, 4, 9)}
    assert ullage("config", "check", "nowhere.toml").exit_code == 3
    assert ullage("config", "show", "bad.toml").exit_code == 3


def test_a_daemon_that_would_start_tells_mistakes_as_the_check_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path("bad.toml").write_text('mdoe = "advise"\nrankng = "lru"\nprefetch = "yes"\n')
    checked = ullage("config", "check", "bad.toml")
    started = ullage("run", "--config", "bad.toml")
    assert (started.exit_code, started.stderr) == (3, checked.stderr)
    flagged = ullage("run", "--mode", "advis")  # which no file has
    assert flagged.exit_code == 3
    assert flagged.stderr.endswith("try: mend it, then ullage run; --help says what may be given\n")
    monkeypatch.setenv("ULLAGE_MODE", "advis")
    assert ullage("run").stderr.endswith("try: mend it, then ullage config check\n")


def test_variables_count_as_they_do_for_the_daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ULLAGE_PREFETSH", "1")
    result = ullage("config", "check", str(EXAMPLE))
    assert result.exit_code == 3
    assert "environment: ULLAGE_PREFETSH: unknown variable; did you mean ULLAGE_PREFETCH?" in (
        result.stderr
    )


def test_what_would_be_in_force_is_shown_with_whence_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ULLAGE_PREFETCH", "1")
    Path("ullage.toml").write_text("max_active_backends = 2")
    assert ullage("config", "show", "--changed").stdout == (
        "max_active_backends = 2  (file ullage.toml)\n"
        "prefetch            = true  (environment ULLAGE_PREFETCH)\n"
    )
    found = json.loads(ullage("config", "show", "--json").stdout)
    assert found["file"] == "ullage.toml"
    keys = {row["key"] for row in found["settings"]}
    assert keys > {s.key for s in SETTINGS if s.at}


def test_without_any_configuration_everything_is_as_usual() -> None:
    result = ullage("config", "show", "--changed")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "everything is as usual\n"
    assert ullage("config", "check").stdout == (
        "without a file: 0 settings, 0 engines; the rest is as usual\n"
    )


def test_the_schema_is_that_of_the_repository() -> None:
    assert ullage("config", "schema").stdout == tables.SCHEMA.read_text()


def test_the_daemon_reads_its_file_and_says_what_it_does(daemon: Daemon) -> None:
    daemon.say(RELOAD, ANSWER)
    result = ullage("config", "reload")
    assert (result.exit_code, result.stdout) == (
        0,
        "max_active_backends = 1 (it was 0)\nwho is loaded stays for now\\x1b[2J\n"
        "to apply it at once: ullage config reload --apply-now\n",
    )
    assert daemon.asked[-1][:2] == ("POST", RELOAD)
    assert daemon.body == {"apply_now": False, "dry_run": False}
    daemon.say(RELOAD, ANSWER | {"now": [], "sentences": []})
    ended = ullage("config", "reload", "--dry-run", "--apply-now")
    assert ended.stdout == "/etc/ullage/ullage.toml: would change nothing\n"
    assert daemon.body == {"apply_now": True, "dry_run": True}
    text = daemon.say(RELOAD, ANSWER)
    assert ullage("config", "reload", "--json").stdout == text + "\n"


def test_a_file_that_the_daemon_refuses_is_told_with_every_mistake(daemon: Daemon) -> None:
    errors = ["prefetsh: unknown key (/etc/u.toml:2)", "detect: 2 is neither true nor false"]
    daemon.say("/api/v1/config", {"file": "/etc/u.toml"})
    daemon.say(RELOAD, {"detail": "the configuration is refused", "errors": errors}, 422)
    result = ullage("config", "reload")
    assert (result.exit_code, result.stdout) == (3, "")
    assert all(error in result.stderr for error in errors)
    assert result.stderr.endswith("  try: ullage config check /etc/u.toml\n")
    daemon.say(RELOAD, {"detail": "no"}, 500)
    assert ullage("config", "reload").exit_code == 1


def test_without_a_daemon_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with nobody_at() as address:
        monkeypatch.setenv("ULLAGE_URL", address)
        assert ullage("config", "reload").exit_code == 4


def test_the_status_says_what_is_wrong_with_the_file_and_what_waits() -> None:
    good = {"file": "/etc/u.toml", "mistakes": [], "restart": []}
    page = show.status(state(config=good), Screen(width=160))
    assert "u.toml" not in page
    assert "u.toml" not in show.status(state(config=None), Screen(width=160))
    row = good | {"mistakes": ["a: no"], "restart": ["mode", "listen.port"]}
    page = show.status(state(config=row), Screen(width=160))
    assert (
        "/etc/u.toml is refused for 1 mistake; what was in force before stays in force"
        " (`ullage config check`)\nin force when the daemon is started anew: mode, listen.port\n"
    ) in page
