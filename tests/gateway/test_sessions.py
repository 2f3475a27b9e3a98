"""On whose behalf a request comes."""

from __future__ import annotations

import pytest

from supervisor.config.gated import TokenConfig
from supervisor.gateway.heads import Head
from supervisor.gateway.sessions import (
    LONGEST,
    MOST,
    OTHERS,
    SILENT,
    Sessions,
    lease_of,
    priority_of,
)
from supervisor.gateway.tokens import Caller

NOBODY = Caller()
LAPTOP = Caller(TokenConfig("laptop", b"", priority=3))


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def head(*headers: tuple[bytes, bytes]) -> Head:
    return Head(b"POST", b"/", b"/", b"", [(b"host", b"x"), *headers], True, True, None)


def session(name: bytes) -> Head:
    return head((b"x-ullage-session", name))


@pytest.mark.parametrize(
    ("asked", "user", "caller", "who"),
    [
        (head(), None, NOBODY, ""),
        (head(), "ann", NOBODY, "ann"),
        (head(), "ann", LAPTOP, "laptop"),
        (session(b"agent-1"), "ann", NOBODY, "agent-1"),
        (session(b"agent-1"), "ann", LAPTOP, "laptop/agent-1"),
        (session(b""), "ann", NOBODY, "ann"),
        (session(b"  "), None, LAPTOP, "laptop"),
        (head(), "  ", NOBODY, ""),
        (session("zo\u00eb".encode()), None, NOBODY, "zo\u00eb"),
        (session(b"a\xff\x1b[2J"), None, NOBODY, "a\ufffd?[2J"),
    ],
)
def test_the_header_counts_more_than_the_token_and_that_more_than_a_user(asked, user, caller, who):
    names = Sessions()
    assert [names.who(asked, user, caller) for _ in range(2)] == [who, who]


def test_a_long_name_is_cut_and_stays_itself():
    names = Sessions()
    one, other = "a" * 500, "a" * 499 + "b"
    found = [names.who(head(), user, NOBODY) for user in (one, other, one)]
    assert found[0] == found[2] != found[1]
    assert {len(name) for name in found} == {LONGEST}


def test_there_are_only_so_many_names_until_some_fall_silent():
    clock = Clock()
    names = Sessions(clock)
    for i in range(MOST):
        assert names.who(head(), f"u{i}", NOBODY) == f"u{i}"
    assert names.who(head(), "late", NOBODY) == OTHERS
    assert names.who(head(), "u5", NOBODY) == "u5"
    clock.now = SILENT - 1
    names.who(head(), "u5", NOBODY)
    clock.now = SILENT + 1
    assert names.who(head(), "late", NOBODY) == "late"
    assert names.who(head(), "u5", NOBODY) == "u5"
    assert len(names) == 2


def test_a_thousand_names_are_looked_through_once_a_second_at_most():
    clock = Clock()
    names = Sessions(clock)
    for i in range(MOST):
        names.who(head(), f"u{i}", NOBODY)
    clock.now = SILENT - 0.25
    assert names.who(head(), "late", NOBODY) == OTHERS
    clock.now = SILENT + 0.25
    assert names.who(head(), "late", NOBODY) == OTHERS
    clock.now = SILENT + 0.75
    assert names.who(head(), "late", NOBODY) == "late"


def test_one_head_may_come_with_several_tokens_words():
    names, same = Sessions(), session(b"s")
    assert names.who(same, None, LAPTOP) == "laptop/s"
    assert names.who(same, None, NOBODY) == "s"


@pytest.mark.parametrize(
    ("said", "caller", "priority"),
    [
        (None, NOBODY, 0),
        (None, LAPTOP, 3),
        (b"5", NOBODY, 5),
        (b"5", LAPTOP, 3),
        (b"-5", LAPTOP, -5),
        (b"99", NOBODY, 20),
        (b"-99", NOBODY, -20),
        (b"99999999", NOBODY, 0),
        (b"high", NOBODY, 0),
        (b"", LAPTOP, 3),
    ],
)
def test_a_request_may_say_how_much_it_hurries_and_with_a_token_only_less(said, caller, priority):
    asked = head() if said is None else head((b"x-ullage-priority", said))
    assert priority_of(asked, caller) == priority


@pytest.mark.parametrize(
    ("said", "lease"), [(None, None), (b"l-000001", "l-000001"), (b"x" * 500, None), (b" ", None)]
)
def test_a_request_may_say_its_lease(said, lease):
    asked = head() if said is None else head((b"x-ullage-lease", said))
    assert lease_of(asked) == lease
