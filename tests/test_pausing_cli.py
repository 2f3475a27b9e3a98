"""`ullage pause`, `continue`, `drain` and `undrain`, against canned answers of a daemon."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.canned import Daemon, running, ullage


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    for name in ("ULLAGE_URL", "ULLAGE_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with running() as found:
        monkeypatch.setenv("ULLAGE_URL", found.address)
        yield found


@pytest.mark.parametrize(
    ("words", "method", "path", "body"),
    [
        (["pause"], "POST", "/api/v1/pause", {}),
        (["pause", "--for", "10m"], "POST", "/api/v1/pause", {"for": "10m"}),
        (["continue"], "DELETE", "/api/v1/pause", None),
        (["drain"], "POST", "/api/v1/drain", {"unload": True}),
        (
            ["drain", "ollama", "--for", "1h", "--keep-loaded"],
            "POST",
            "/api/v1/drain",
            {"engine": "ollama", "for": "1h", "unload": False},
        ),
        (["undrain"], "DELETE", "/api/v1/drain", None),
        (["undrain", "a b&c"], "DELETE", "/api/v1/drain?engine=a+b%26c", None),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_what_is_asked_for_is_sent(
    daemon: Daemon, words: list[str], method: str, path: str, body: Any
) -> None:
    text = daemon.say(path.partition("?")[0], {"paused": None, "sentences": ["so it is\x1b"]})
    assert ullage(*words).exit_code == 0
    assert (daemon.asked[0][:2], daemon.body) == ((method, path), body)
    assert ullage(*words, "--json").stdout == text + "\n"


def test_what_the_daemon_says_of_it_is_told_and_cannot_command_the_terminal(
    daemon: Daemon,
) -> None:
    daemon.say("/api/v1/drain", {"drained": [], "sentences": ["o is drained\x1b", "o/a stays"]})
    assert ullage("drain", "o").stdout == "o is drained\\x1b\no/a stays\n"


def test_what_was_taken_back_is_said_where_nothing_is_left(daemon: Daemon) -> None:
    daemon.say("/api/v1/drain", {"drained": [], "sentences": []})
    daemon.say("/api/v1/pause", {"paused": None, "sentences": []})
    assert ullage("undrain", "o").stdout == "o takes requests again\n"
    assert ullage("undrain").stdout == "every engine takes requests again\n"
    assert ullage("continue").stdout == "it goes on: memory is looked after again\n"


def test_an_engine_that_is_not_known_is_not_found(daemon: Daemon) -> None:
    detail = "no engine is called 'olama'; did you mean ollama?"
    daemon.say("/api/v1/drain", {"detail": detail, "what": "engine", "closest": ["ollama"]}, 404)
    for command in ("drain", "undrain"):
        result = ullage(command, "olama")
        assert (result.exit_code, result.stdout) == (6, "")
        assert result.stderr == f"error: {detail}\n  try: ullage engines\n"
