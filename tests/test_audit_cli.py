"""`ullage audit`: entries as lines, and what is asked of the daemon."""

from __future__ import annotations

import time
from urllib.parse import parse_qs, urlsplit

import pytest
from click.testing import CliRunner

from supervisor.cli.audit import line
from supervisor.cli.main import cli
from tests.canned import running

ENTRY = {
    "id": "a-000007",
    "at": 1_790_000_000.0,
    "last_at": 1_790_000_030.0,
    "times": 1,
    "who": "ci",
    "via": "api",
    "address": "192.0.2.7",
    "what": "post_evict",
    "target": None,
    "wish": '{"all": true}',
    "status": 200,
    "result": "done",
    "why": None,
    "decisions": ["d-000003"],
}


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({}, 'ci at 192.0.2.7: post_evict {"all": true}: done (200) [d-000003]'),
        (
            {"who": "nobody", "what": "GET /", "wish": None, "status": 401, "result": "refused",
             "why": "no token", "times": 60, "decisions": []},
            "nobody at 192.0.2.7: GET /: refused (401): no token (60 times)",
        ),
        (
            {"who": "daemon", "via": "daemon", "address": None, "what": "start", "wish": None,
             "status": None, "decisions": []},
            "daemon: start: done",
        ),
        ({"via": "page", "wish": None, "decisions": []},
         "ci at 192.0.2.7 by the page: post_evict: done (200)"),
    ],
)  # fmt: skip
def test_an_entry_is_a_line(told, said):
    row = ENTRY | told
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row["last_at"]))
    assert line(row) == f"{when}  {said}"


def asked(*words: str, rows: list | None = None):
    with running() as daemon:
        daemon.say("/api/v1/audit", {"entries": [ENTRY] if rows is None else rows})
        return CliRunner().invoke(cli, ["--url", daemon.address, "audit", *words]), daemon


def test_the_newest_is_last_and_no_name_does_harm_to_a_terminal():
    found, _ = asked(rows=[ENTRY | {"who": "new\x1b[2J"}, ENTRY | {"who": "old"}])
    assert found.exit_code == 0
    first, last = found.stdout.splitlines()
    assert "  old at" in first
    assert "  new\\x1b[2J at" in last


def test_the_daemon_is_asked_for_what_is_wanted():
    before = time.time() - 3600
    _, daemon = asked("-n", "5", "--who", "ci", "--since", "1h")
    query = parse_qs(urlsplit(daemon.asked[-1][1]).query)
    assert (query["limit"], query["who"]) == (["5"], ["ci"])
    assert before <= float(query["since"][0]) <= before + 60


def test_a_time_that_is_none_is_wrong_usage():
    found, _ = asked("--since", "yesterday")
    assert found.exit_code == 2
    assert "--since" in found.stderr


def test_none_is_no_failure():
    found, _ = asked(rows=[])
    assert (found.exit_code, found.stdout) == (0, "")
    assert "nothing of that kind" in found.stderr
