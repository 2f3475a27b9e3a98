"""The audit trail: what is noted, what is one entry, how long it is kept, and that no secret is in
it."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from supervisor.asker import ASKER, Asker
from supervisor.journal import audit as subject
from supervisor.journal.audit import HOUR, MINUTE, MOST_SUMS
from supervisor.journal.journal import Journal
from tests.journals import PATIENT, Disk
from tests.lines import FORGED, written


class Wall:
    def __init__(self, at: float = 1.8e9) -> None:
        self.at = at

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def journal(tmp_path: Path, wall: Wall):
    made = Journal(tmp_path / "journal.db", wall)
    made.open()
    yield made
    made.close()


def again(journal: Journal, wall: Wall) -> Journal:
    """The next daemon's."""
    journal.close()
    assert journal.audit.path is not None
    made = Journal(journal.audit.path, wall)
    made.open()
    return made


def on_disk(journal: Journal) -> list[dict]:
    assert journal.flush()
    with sqlite3.connect(journal.audit.path) as db:
        return [json.loads(body) for (body,) in db.execute("SELECT body FROM audit ORDER BY n")]


def test_what_is_begun_is_written_before_it_ends(journal, wall):
    n = journal.audit.begin("ci", "post_evict", address="10.0.0.1", wish='{"all": true}')
    (row,) = on_disk(journal)
    assert (row["result"], row["status"], row["who"]) == ("begun", None, "ci")
    journal.audit.decided(n, "d-000001")
    journal.audit.end(n, 200)
    (row,) = on_disk(journal)
    assert (row["result"], row["status"], row["decisions"]) == ("done", 200, ["d-000001"])
    assert row["id"] == "a-000001"
    assert row["at"] == wall.at


@pytest.mark.parametrize(
    ("status", "result"),
    [(202, "done"), (401, "refused"), (403, "refused"), (409, "failed"), (500, "failed")],
)
def test_a_status_is_told_in_a_word(journal, status, result):
    n = journal.audit.begin("ci", "post_load")
    journal.audit.end(n, status, "because")
    (row,) = journal.audit.find(1)
    assert (row["result"], row["why"]) == (result, "because")


def test_the_next_daemon_knows_and_goes_on_counting(journal, wall):
    for what in ("a", "b"):
        journal.audit.note("daemon", what)
    later = again(journal, wall)
    later.audit.note("daemon", "c")
    assert [(r["id"], r["what"]) for r in later.audit.find(9)] == [
        ("a-000003", "c"),
        ("a-000002", "b"),
        ("a-000001", "a"),
    ]
    later.close()


def test_it_is_found_by_who_and_when_also_in_the_file(journal, wall, monkeypatch):
    monkeypatch.setattr(subject, "IN_MEMORY", 3)
    for count in range(10):
        wall.at += 10
        journal.audit.note("ci" if count % 2 else "local", f"w{count}")
    journal.flush()

    def whats(*asked, **how) -> list[str]:
        return [row["what"] for row in journal.audit.find(*asked, **how)]

    assert whats(5) == ["w9", "w8", "w7", "w6", "w5"]
    assert whats(99) == [f"w{n}" for n in range(9, -1, -1)]
    assert whats(3, who="ci") == ["w9", "w7", "w5"]
    assert whats(99, since=wall.at - 45) == ["w9", "w8", "w7", "w6", "w5"]
    assert whats(2, before=5) == ["w3", "w2"]
    assert whats(2, before=9) == ["w7", "w6"]


def test_refusals_of_one_source_are_one_entry_a_minute(journal, wall):
    def knock(address: str, what: str = "POST /api/v1/evict") -> None:
        journal.audit.sum_up("nobody", what, MINUTE, 401, "no token", address=address)

    for n in range(1000):
        knock("10.0.0.1", f"POST /{n}")
    knock("10.0.0.2")
    assert [(r["address"], r["times"]) for r in journal.audit.find(9)] == [
        ("10.0.0.2", 1),
        ("10.0.0.1", 1000),
    ]
    assert [r["times"] for r in on_disk(journal)] == [1, 1]
    journal.audit.flush()
    assert [r["times"] for r in on_disk(journal)] == [1000, 1]
    wall.at += MINUTE
    knock("10.0.0.1")
    knock("10.0.0.1")
    assert [r["times"] for r in journal.audit.find(9)] == [2, 1, 1000]


def test_sources_without_end_are_one_entry(journal):
    for n in range(5 * MOST_SUMS):
        journal.audit.sum_up("nobody", "GET /", MINUTE, 401, address=f"10.0.{n >> 8}.{n & 255}")
    rows = journal.audit.find(1000)
    assert len(rows) == MOST_SUMS + 1
    assert rows[0]["address"] == "others"
    assert sum(row["times"] for row in rows) == 5 * MOST_SUMS


def test_nobody_is_named_for_what_many_have_done(journal):
    for n in range(MOST_SUMS + 5):
        told = {"address": "10.0.0.1", "target": f"l-{n}", "wish": "{}"}
        journal.audit.sum_up(f"agent{n}", "renew", HOUR, 200, **told)
    journal.audit.sum_up("agent1", "alerts", HOUR, 200, address="10.0.0.1", wish="{}")
    alerts, row, *_ = journal.audit.find(1000)
    assert (row["who"], row["address"], row["times"]) == ("others", "others", 5)
    assert (row["what"], row["target"], row["wish"]) == ("renew", None, None)
    assert (alerts["who"], alerts["what"], alerts["times"]) == ("others", "alerts", 1)


def test_what_a_program_repeats_is_counted_by_what_it_is(journal, wall):
    def renew(lease: str, who: str = "ci") -> int:
        return journal.audit.sum_up(who, "renew", HOUR, 200, address="10.0.0.1", target=lease)

    for _ in range(60):
        assert renew("l-1") == 1
        wall.at += 30
    assert renew("l-2") == 2
    assert renew("l-1", "other") == 3
    (row,) = (r for r in journal.audit.find(9) if r["id"] == "a-000001")
    assert (row["times"], row["last_at"] - row["at"]) == (60, 59 * 30)


def test_counts_are_written_at_the_end(journal, wall):
    for _ in range(7):
        journal.audit.sum_up("nobody", "GET /", MINUTE, 403, address="10.0.0.1")
    later = again(journal, wall)
    assert later.audit.find(1)[0]["times"] == 7
    later.close()


def test_the_old_and_the_many_are_forgotten(journal, wall, monkeypatch):
    monkeypatch.setattr(subject, "MOST", 3)
    for count in range(6):
        journal.audit.note("ci", f"w{count}")
    later = again(journal, wall)
    later._put(later._prune())  # an hour passes
    assert [r["what"] for r in on_disk(later)] == ["w3", "w4", "w5"]
    wall.at += (subject.KEPT_DAYS + 1) * subject.DAY
    last = again(later, wall)
    last._put(last._prune())
    assert on_disk(last) == []
    last.close()


def test_a_full_disk_loses_nothing_silently(tmp_path, wall):
    disk = Disk()
    journal = Journal(
        tmp_path / "j.db", wall, connect=disk.connect, retry_delays=PATIENT, most_waiting=5
    )
    journal.open()
    journal.flush()
    disk.full()
    with written(name="ullage.audit") as (_, out):
        for count in range(20):
            journal.audit.note("ci", f"w{count}")
    assert out.getvalue().count("ci: w") == 20  # and so whoever ships lines has them
    assert journal.dropped > 0
    disk.error = None
    journal.retry_now()
    assert [r["what"] for r in on_disk(journal)] == [f"w{n}" for n in range(20)]
    journal.close()


def test_no_secret_is_in_it(journal):
    brief = journal.audit.brief
    told = brief({"model": "m", "api_key": "sk-1234567890", "deep": [{"password": "hunter2"}]})
    assert told == '{"model": "m", "api_key": "***", "deep": [{"password": "***"}]}'
    assert brief({}) is None


def test_a_secret_after_what_is_an_escape_in_json_is_none_less(journal):
    journal.audit.redact.hide(["only-letters-here"])
    told = journal.audit.brief(
        {"model": "a\nbearer abcdefgh12345678", "tag": ["x\tonly-letters-here"]}
    )
    assert told == '{"model": "a\\nbearer ***", "tag": ["x\\t***"]}'


def test_what_looks_like_a_secret_and_what_would_forge_a_line_are_taken_out(journal):
    n = journal.audit.begin("ci", "post_load", wish=f"Bearer abcdefgh12345678 {FORGED}")
    journal.audit.end(n, 422, "x" * 5000)
    (row,) = journal.audit.find(1)
    assert "12345678" not in row["wish"]
    assert "\n" not in row["wish"]
    assert "\x1b" not in row["wish"]
    assert len(row["why"]) < 600


def test_who_had_the_configuration_read_is_told(journal):
    told = {"ok": True, "mistakes": [], "changed": ["prefetch"], "restart": []}
    journal.audit.reread("has changed", told)
    journal.audit.reread("read by SIGHUP", told)
    bad = {"ok": False, "mistakes": ["a: b"], "changed": [], "restart": []}
    on_behalf = ASKER.set(Asker("ci"))
    journal.audit.reread("read, as it was asked for", bad)
    ASKER.reset(on_behalf)
    rows = journal.audit.find(9)
    assert [(r["who"], r["via"], r["result"]) for r in rows] == [
        ("ci", "api", "failed"),
        ("signal", "signal", "done"),
        ("file", "file", "done"),
    ]
    assert rows[0]["why"] == "a: b"
    assert rows[1]["wish"] == '{"changed": ["prefetch"]}'


def test_without_a_file_it_is_kept_in_memory(wall):
    journal = Journal(None, wall)
    journal.audit.note("daemon", "start")
    assert journal.audit.find(9)[0]["what"] == "start"
