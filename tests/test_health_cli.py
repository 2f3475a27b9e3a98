"""`ullage health`: what a probe learns by the exit code."""

from __future__ import annotations

import pytest

from tests.canned import Daemon, nobody_at, running, ullage

pytestmark = pytest.mark.usefixtures("bare_environment")


@pytest.fixture
def daemon(monkeypatch):
    with running() as found:
        monkeypatch.setenv("ULLAGE_URL", found.address)
        yield found


@pytest.mark.parametrize(
    ("words", "path", "said"),
    [(["health"], "/healthz", "it answers"), (["health", "--ready"], "/readyz", "ready")],
)
def test_a_daemon_that_answers_is_well(daemon: Daemon, words, path, said):
    text = daemon.say(path, {"ok": True})
    result = ullage(*words)
    assert (result.exit_code, result.stdout) == (0, said + "\n")
    assert daemon.asked[0][:2] == ("GET", path)
    assert ullage(*words, "--json").stdout == text + "\n"


def test_one_that_sees_nothing_lives_and_is_not_ready(daemon: Daemon):
    daemon.say("/healthz", {"ok": True})
    daemon.say("/readyz", {"detail": "the first sample is not in yet"}, 503)
    assert ullage("health").exit_code == 0
    result = ullage("health", "--ready")
    assert result.exit_code == 1
    assert "the first sample is not in yet" in result.stderr


def test_where_nobody_listens_it_is_ill():
    with nobody_at() as address:
        assert ullage("health", "--url", address).exit_code == 4
