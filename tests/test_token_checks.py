"""What is said of tokens: by the doctor, and by `ullage status`."""

from __future__ import annotations

from typing import Any

from supervisor.caller_words import SOME, in_short
from supervisor.cli.checkup import SOON, File, Status
from supervisor.cli.token_checks import UNUSED, examine

NOW = 1.8e9
OK, WARN, FAIL = Status.OK, Status.WARN, Status.FAIL


def row(name: str, *scopes: str, expires: float | None = None, used_at: float | None = NOW - 180):
    return {"name": name, "scopes": list(scopes), "expires": expires, "used_at": used_at}


def told(*rows: Any, up: float = 60.0, files: tuple[File, ...] = ()) -> list[tuple[Status, str]]:
    found = list(examine(rows, NOW, up, files))
    assert all(check.remedy for check in found if check.status is not OK)
    return [(check.status, check.what) for check in found]


def test_who_is_good_is_told_with_what_it_may_and_when_it_was_used() -> None:
    rows = row("desk", "read"), row("ci", "operate", "alerts:write", used_at=None)
    what = "desk (read), used 3m ago; ci (operate, alerts:write), not used yet"
    assert told(*rows) == [(OK, what)]
    assert list(in_short({"tokens": rows}, NOW)) == [(f"tokens: {what}", False)]
    assert told() == list(in_short(None, NOW)) == list(in_short({"tokens": []}, NOW)) == []


def test_one_that_has_expired_or_will_soon_is_a_warning() -> None:
    over, soon = row("old", "admin", expires=NOW), row("next", "read", expires=NOW + 3600)
    late = row("late", "read", expires=NOW + SOON)
    (first, second, third) = told(over, soon, late)
    assert first == (WARN, "old expired 0s ago")
    assert second == (WARN, "next expires in 1h")
    assert (third[0], "old" in third[1]) == (OK, False)
    assert list(in_short({"tokens": [over]}, NOW + 60)) == [
        ("token old expired 1m ago (`ullage token` makes another)", True)
    ]


def test_one_that_nobody_uses_is_a_warning_once_the_daemon_has_run_long_enough() -> None:
    idle = row("ci", "admin", used_at=None)
    assert [status for status, _ in told(idle, up=UNUSED)] == [OK]
    assert told(idle, up=UNUSED + 1)[0] == (
        WARN,
        "ci was not used in the 7d that the daemon has run and may do everything",
    )


def test_a_file_that_all_can_read_is_a_failure() -> None:
    files = (File("/etc/ullage/token", 0o100644), File("/etc/ullage/other", 0o100640))
    (found,) = told(files=files)
    assert found == (
        FAIL,
        "/etc/ullage/token holds one and is open to everybody (mode 644)",
    )


def test_of_many_the_first_are_named() -> None:
    rows = [row(f"t{i}", "read") for i in range(SOME + 3)]
    ((line, _),) = in_short({"tokens": rows}, NOW)
    assert line.endswith("t7 (read), used 3m ago; 3 more")
