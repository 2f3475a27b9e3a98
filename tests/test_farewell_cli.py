"""Waiting at the command line for models that leave when their last user does."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from supervisor.cli import farewell as farewell_cli
from supervisor.cli.asking import Trouble
from supervisor.cli.client import Client


def leaving(*rows: Any) -> Callable[[str], Any]:
    """A client whose daemon answers so, look by look."""
    answers = list(rows)

    class Asked(Client):
        def get(self, path: str, **query: object) -> Any:
            found = answers.pop(0) if len(answers) > 1 else answers[0]

            return SimpleNamespace(document={"models": found})

    return Asked


def one(status: str, contexts: int) -> list[dict[str, Any]]:
    return [{"name": "o/a", "status": status, "contexts": contexts}]


def test_who_waits_for_a_model_to_leave_is_told_how_many_use_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = leaving(one("leaving", 2), one("leaving", 2), one("leaving", 1), [])
    farewell_cli.wait(asked("http://127.0.0.1:1"), ["o/a"], sleep=lambda _: None)
    told = capsys.readouterr()
    assert told.out == "o/a has left\n"
    assert told.err.splitlines() == [
        "waiting: o/a is leaving (contexts=2)",
        "waiting: o/a is leaving (contexts=1)",
    ]


def test_one_that_stays_after_all_and_one_that_takes_too_long_are_told_apart() -> None:
    taken_back = leaving(one("leaving", 1), one("loaded", 1))
    with pytest.raises(Trouble, match="taken back") as caught:
        farewell_cli.wait(taken_back("http://127.0.0.1:1"), ["o/a"], sleep=lambda _: None)
    assert caught.value.exit_code == 5
    times = iter(range(0, 9999, 100))
    with pytest.raises(Trouble, match="still in use") as caught:
        farewell_cli.wait(
            leaving(one("leaving", 1))("http://127.0.0.1:1"),
            ["o/a"],
            sleep=lambda _: None,
            clock=lambda: next(times),
        )
    assert caught.value.exit_code == 7


def test_an_engine_that_does_not_answer_for_a_while_has_taken_nothing_back(
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = leaving(one("leaving", 1), one("unknown", 0), one("leaving", 1), [])
    farewell_cli.wait(asked("http://127.0.0.1:1"), ["o/a"], sleep=lambda _: None)
    assert capsys.readouterr().out == "o/a has left\n"


def test_one_that_nobody_uses_and_that_does_not_go_is_not_called_used() -> None:
    times = iter(range(0, 9999, 100))
    with pytest.raises(Trouble, match="nobody uses it") as caught:
        farewell_cli.wait(
            leaving(one("leaving", 0))("http://127.0.0.1:1"),
            ["o/a"],
            sleep=lambda _: None,
            clock=lambda: next(times),
        )
    assert caught.value.exit_code == 7
