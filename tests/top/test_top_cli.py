from __future__ import annotations

import subprocess
import sys

import pytest

from tests.canned import BUSY, nobody_at, running, ullage


@pytest.mark.parametrize("refresh", ["often", "1ms", "2d", "-1s"])
def test_a_refresh_that_cannot_be_meant_is_refused(refresh: str) -> None:
    found = ullage("top", "--refresh", refresh)
    assert found.exit_code == 2
    assert "--refresh" in found.stderr


def test_without_a_terminal_another_command_is_named() -> None:
    with running() as daemon:
        daemon.say("/api/v1/state", BUSY)
        found = ullage("top", "--url", daemon.address)
    assert found.exit_code == 2
    assert "needs a terminal" in found.stderr
    assert "ullage status --watch" in found.stderr


def test_without_a_daemon_no_screen_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("supervisor.cli.top.on_a_terminal", lambda: True)
    with nobody_at() as address:
        found = ullage("top", "--url", address)
    assert found.exit_code == 4
    assert "no daemon answers" in found.stderr
    assert "\x1b" not in found.output


def test_textual_is_loaded_by_nobody_who_does_not_open_it() -> None:
    code = "import sys, supervisor.cli.top; sys.exit('textual' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
