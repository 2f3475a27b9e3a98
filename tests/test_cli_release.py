"""`ullage release` and `ullage resume`, against a real HTTP server that gives canned answers."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.canned import Daemon, nobody_at, running, ullage

UNTIL = 1_790_000_600.0


@pytest.fixture(autouse=True)
def a_zone_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("ULLAGE_URL", "ULLAGE_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    with running() as found:
        monkeypatch.setenv("ULLAGE_URL", found.address)
        yield found


def test_release_says_who_let_go_and_until_when(daemon: Daemon) -> None:
    daemon.say("/api/v1/release", {"released": ["nvidia"], "until": UNTIL})
    result = ullage("release", "--for", "30m")
    assert (result.exit_code, result.stderr) == (0, "")
    assert (
        result.stdout
        == "released: nvidia, until 14:23:20; `ullage resume` takes them back sooner\n"
    )
    assert (daemon.asked[0][:2], daemon.body) == (("POST", "/api/v1/release"), {"period": "30m"})


def test_without_a_word_it_is_ten_minutes(daemon: Daemon) -> None:
    daemon.say("/api/v1/release", {"released": ["nvidia", "amd\x1b[2J"], "until": UNTIL})
    result = ullage("release")
    assert daemon.body == {"period": "10m"}
    assert "released: nvidia, amd\\x1b[2J," in result.stdout


@pytest.mark.parametrize(
    ("resumed", "told"),
    [(["nvidia"], "resumed: nvidia\n"), ([], "nothing was released\n")],
)
def test_resume_says_who_came_back(daemon: Daemon, resumed: list[str], told: str) -> None:
    daemon.say("/api/v1/resume", {"resumed": resumed})
    result = ullage("resume")
    assert (result.exit_code, result.stdout, result.stderr) == (0, told, "")
    assert daemon.asked[0][:2] == ("POST", "/api/v1/resume")


def test_where_there_is_nothing_to_let_go_of_it_fails_with_the_reason(daemon: Daemon) -> None:
    detail = "no device is held open here: there is nothing to let go of"
    daemon.say("/api/v1/release", {"detail": detail}, 409)
    result = ullage("release")
    assert (result.exit_code, result.stdout, result.stderr) == (5, "", f"error: {detail}\n")


def test_a_period_that_is_none_is_wrong_usage(daemon: Daemon) -> None:
    errors = ["period: 'soon' is not a duration; write it as 2h30m"]
    daemon.say("/api/v1/release", {"detail": "the body has a mistake", "errors": errors}, 422)
    result = ullage("release", "--for", "soon")
    assert (result.exit_code, result.stdout) == (2, "")
    assert errors[0] in result.stderr


@pytest.mark.parametrize("command", ["release", "resume"])
def test_an_answer_of_another_version_is_said_to_be_one(daemon: Daemon, command: str) -> None:
    daemon.say(f"/api/v1/{command}", {"a": 1})
    result = ullage(command)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "it is of another version" in result.stderr


@pytest.mark.parametrize("command", ["release", "resume"])
def test_without_a_daemon_nothing_is_said_to_be_done(command: str) -> None:
    with nobody_at() as url:
        result = ullage(command, "--url", url)
    assert (result.exit_code, result.stdout) == (4, "")
