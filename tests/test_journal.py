"""What the journal keeps, and for how long."""

import pytest

from collectors.reading import Bytes
from supervisor.core.snapshot import Share, Source
from supervisor.core.watch import Kind
from supervisor.journal.journal import DAY, IN_MEMORY
from supervisor.journal.schema import Decided
from supervisor.journal.search import Search
from tests.journals import (
    RAM,
    VRAM,
    Disk,
    decision,
    finding,
    ids,
    journals,
    outcome,
    pin,
    pins,
    query,
    record,
    ref,
    share,
    stored,
    unpin,
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "journal.db"


@pytest.fixture
def begin(path):
    with journals(path) as begin:
        yield begin


# -- what is kept


def test_a_decision_is_read_back_with_its_outcomes(begin):
    journal = begin()
    assert record(journal, decision()) == [True]
    journal.add_outcome(outcome())
    (found,) = journal.decisions(10)
    assert found["cause"] == "somebody wants qwen"
    assert found["mode"] == "enforce"
    assert found["trigger"] == "demand"
    evict, load = found["actions"]
    assert (evict["action"], evict["model"]) == ("evict", "main/gemma")
    assert evict["shares"] == [{"pool": "GPU-1", "size": 7, "source": "measured"}]
    assert (load["action"], load["shares"][0]["size"]) == ("load", 5)
    assert found["notes"][1]["why"] == "wanted"
    assert found["rooms"][0]["headroom"] == -1
    (became,) = found["outcomes"]
    assert (became["result"], became["took"]) == ("done", 0.5)
    assert became["judgement"]["verdict"] == "recovered"


def test_everything_is_there_after_a_restart(begin):
    first = begin()
    record(first, decision("d-000001"), decision("d-000002"))
    first.add_outcome(outcome("d-000001"))
    first.add_outcome(outcome("d-000001", at=1002.0))
    first.add_finding(finding(), 1500.0)
    first.clear_finding("pressure", "GPU-1", 1600.0)
    first.remember(ref(), (share(7), share(2, RAM)))
    pin(first, "main/gemma")
    asked = [first.decisions(10), first.findings(10), pins(first), first.footprint(ref())]
    first.close()
    again = begin()
    answer = [again.decisions(10), again.findings(10), pins(again), again.footprint(ref())]
    assert answer == asked
    assert [len(d["outcomes"]) for d in answer[0]] == [0, 2]


def test_the_newest_decisions_come_first_and_can_be_paged_and_filtered(begin):
    journal = begin()
    names = [(f"d-{n:06}", f"m{n % 3}") for n in range(1, 8)]
    record(journal, *(decision(id, victim=model) for id, model in names))
    assert ids(journal)[:2] == ["d-000007", "d-000006"]
    assert ids(journal, before="d-000003") == ["d-000002", "d-000001"]
    assert ids(journal, model="m1") == ["d-000007", "d-000004", "d-000001"]
    assert ids(journal, model="main/m1", before="d-000007") == ["d-000004", "d-000001"]
    assert ids(journal, model="m") == []
    assert len(journal.decisions(2)) == 2
    assert ids(journal, model="qwen") == ids(journal)


def test_any_name_is_found_and_what_became_of_it_is(begin):
    journal = begin()
    odd = ['größe:7b"q4"', "a\\b", "模型"]
    record(journal, *(decision(f"d-{n:06}", victim=name) for n, name in enumerate(odd, 1)))
    journal.add_outcome(outcome("d-000002"))
    for n, name in enumerate(odd, 1):
        assert ids(journal, model=name) == ids(journal, model=f"main/{name}") == [f"d-{n:06}"]
    done = journal.decisions(10, search=Search(result="done"))
    assert [d["id"] for d in done] == ["d-000002"]
    assert journal.decisions(10, search=Search(engine="mai")) == []


def test_nothing_is_read_for_a_name_that_is_only_a_part_of_others(begin, monkeypatch):
    journal = begin()
    record(journal, decision(victim="qwen"))
    monkeypatch.setattr(Decided, "body", lambda self: pytest.fail("it is read"))
    for search in (Search("qwe"), Search("wen/"), Search(engine="mai"), Search(engine="ain/qwen")):
        assert journal.decisions(10, search=search) == []


def test_who_reads_a_decision_cannot_change_what_is_kept(begin):
    journal = begin()
    record(journal, decision())
    for found in (journal.decision("d-000001"), *journal.decisions(1)):
        found["notes"].clear()
    assert journal.decision("d-000001")["notes"]


def test_who_reads_or_writes_a_shelf_cannot_change_what_is_kept_afterwards(begin):
    shelf = begin().shelves["pins"]
    body = {"ends": [1]}
    shelf.keep("qwen", body)
    for found in (body, shelf.get("qwen"), shelf.all()["qwen"]):
        found["ends"].clear()
    assert shelf.all() == {"qwen": {"ends": [1]}}
    assert shelf.keys() == ["qwen"]
    assert "qwen" in shelf
    assert "mistral" not in shelf


def test_a_decision_is_indexed_by_the_model_that_it_is_about(begin, path):
    journal = begin()
    record(journal, decision())
    journal.close()
    (row,) = query(path, "SELECT id, at, model, trigger FROM decisions")
    plan = query(path, "EXPLAIN QUERY PLAN SELECT id FROM decisions WHERE model = ''")
    assert row == ("d-000001", 1000.0, "main/qwen", "demand")
    assert "USING INDEX" in plan[0][3]


def test_pins_come_and_go(begin):
    journal = begin()
    assert pin(journal, "a")
    assert pin(journal, "main/b")
    assert unpin(journal, "a")
    assert unpin(journal, "never-there")
    assert pins(journal) == {"main/b"}
    journal.close()
    assert pins(begin()) == {"main/b"}


def test_a_footprint_is_the_most_that_was_held_lately(begin):
    journal = begin(at=0.0)
    assert journal.footprint(ref()) is None
    journal.remember(ref(), (share(5), share(1, RAM), share(2, RAM)))
    journal.remember(ref(), (share(9), share(3, RAM)))
    journal.remember(ref(), (share(6), share(3, RAM)))
    learned = (Share(VRAM, Bytes(9), Source.LEARNED), Share(RAM, Bytes(3), Source.LEARNED))
    assert journal.footprint(ref()) == learned
    assert journal.footprint(ref(engine="other")) is None


def test_a_pool_that_a_model_has_left_is_forgotten(begin):
    journal = begin()
    journal.remember(ref(), (share(5), share(1, RAM)))
    journal.remember(ref(), (share(4, RAM),))
    assert [s.pool for s in journal.footprint(ref())] == [RAM]
    journal.close()
    assert [s.pool for s in begin().footprint(ref())] == [RAM]


def test_a_footprint_shrinks_after_a_day_and_a_day_of_use(begin):
    sizes = []
    for day, size in enumerate([9, 5, 4, 4]):
        journal = begin(at=day * DAY)
        journal.remember(ref(), (share(size),))
        sizes.append(journal.footprint(ref())[0].size)
        journal.close()
    assert sizes == [9, 9, 5, 4]


def test_a_footprint_that_says_nothing_new_is_not_written(begin):
    disk = Disk()
    journal = begin(connect=disk.connect)
    journal.remember(ref(), (share(5),))
    assert journal.flush()
    disk.full()
    journal.remember(ref(), (share(5),))
    assert journal.lag == 0


def test_a_finding_is_open_until_it_is_cleared(begin):
    journal = begin()
    journal.add_finding(finding(), 1500.0)
    journal.add_finding(finding(detail="lower"), 1510.0)
    journal.add_finding(finding(Kind.BLIND, "ram"), 1520.0)
    journal.clear_finding("pressure", "GPU-1", 1600.0)
    journal.clear_finding("pressure", "GPU-1", 1700.0)
    blind, pressure = journal.findings(10)
    assert (blind["kind"], blind["opened"], blind["cleared"]) == ("blind", 1520.0, None)
    assert (pressure["opened"], pressure["cleared"]) == (1500.0, 1600.0)
    assert pressure["detail"] == "lower"
    assert "since" not in pressure
    assert journal.findings(1) == [blind]


def test_a_finding_that_was_open_at_the_end_is_cleared_at_the_next_start(begin):
    first = begin()
    first.add_finding(finding(), 1500.0)
    first.close()
    for _ in range(2):
        again = begin(at=3000.0)
        assert [f["cleared"] for f in again.findings(10)] == [3000.0]
        again.close()


@pytest.mark.slow
def test_memory_holds_the_last_thousand(begin):
    journal = begin(where=None)
    record(journal, *(decision(journal.next_id()) for _ in range(IN_MEMORY + 5)))
    assert len(journal.decisions(5000)) == IN_MEMORY
    assert journal.decisions(5000)[-1]["id"] == "d-000006"


def test_an_outcome_of_a_decision_long_gone_is_kept_on_disk_alone(begin, path):
    journal = begin()
    journal.add_outcome(outcome("d-000009"))
    record(journal, decision())
    assert [d["outcomes"] for d in journal.decisions(10)] == [[]]
    journal.close()
    assert query(path, "SELECT decision FROM outcomes") == [("d-000009",)]


def test_whatever_an_engine_calls_a_model_can_be_kept(begin):
    odd = "мод\x00ель\ud800/'; DROP TABLE decisions"
    journal = begin()
    journal.remember(ref(odd), (share(2**70),))
    assert record(journal, decision(victim=odd), decision("d-000002", wanted=odd)) == [True, True]
    assert pin(journal, "\udcff")
    journal.close()
    again = begin()
    assert len(ids(again, model=odd)) == 2
    assert len(pins(again)) == 1
    assert (journal.dropped, journal.failures) == (0, 0)


# -- ids


def test_ids_go_on_after_a_restart(begin):
    first = begin()
    assert [first.next_id() for _ in range(3)] == ["d-000001", "d-000002", "d-000003"]
    first.close()
    assert begin().next_id() == "d-000004"


def test_ids_need_no_disk(begin):
    assert begin(where=None).next_id() == "d-000001"


def test_an_id_is_never_given_twice_even_if_its_decision_was_never_written(begin, path):
    first = begin()
    given = [first.next_id() for _ in range(250)]
    assert first.flush()
    # The process ends here, suddenly: its journal is not closed.
    second = begin()
    assert second.next_id() not in given
    assert int(second.next_id()[2:]) > 250


def test_ids_outlive_the_decisions_that_were_pruned(begin):
    first = begin()
    record(first, decision(first.next_id(), at=-100 * DAY))
    first.close()
    prune(begin())
    third = begin()
    assert third.decisions(10) == []
    assert third.next_id() == "d-000002"


# -- retention


def prune(journal):
    """An hour passes."""
    journal._put(journal._prune())
    journal.close()


def test_what_is_older_than_thirty_days_is_deleted(begin, path):
    first = begin(at=0.0)
    record(first, decision("d-000001", at=0.0), decision("d-000002", at=2 * DAY))
    first.add_outcome(outcome("d-000001"))
    first.add_finding(finding(), 10.0)
    first.clear_finding("pressure", "GPU-1", 11.0)
    first.close()
    prune(begin(at=31 * DAY))
    assert ids(begin(at=31 * DAY)) == stored(path) == ["d-000002"]
    assert query(path, "SELECT count(*) FROM outcomes") == [(0,)]
    assert query(path, "SELECT count(*) FROM findings") == [(0,)]


def test_a_start_with_a_clock_that_is_far_ahead_forgets_nothing(begin, path):
    first = begin(at=10 * DAY)
    record(first, decision("d-000001", at=9 * DAY))
    first.remember(ref(), (share(5),))
    first.close()
    wrong = begin(at=3660 * DAY)
    assert ids(wrong) == ["d-000001"]
    assert wrong.footprint(ref())[0].size == 5
    wrong.close()
    right = begin(at=10 * DAY)
    assert ids(right) == stored(path) == ["d-000001"]
    assert right.footprint(ref())[0].size == 5


def test_no_more_decisions_are_kept_than_agreed(begin, path):
    first = begin(kept_decisions=3)
    record(first, *(decision(f"d-{n:06}") for n in range(1, 7)))
    first.close()
    prune(begin(kept_decisions=3))
    assert stored(path) == ["d-000004", "d-000005", "d-000006"]


def test_a_disk_that_hangs_keeps_nobody_from_acting(path, monkeypatch):
    monkeypatch.setattr("supervisor.journal.shelves.TOLD", 0.05)
    disk = Disk()
    with journals(path) as begin:
        journal = begin(connect=disk.connect)
        assert record(journal, decision("d-000001")) == [True]
        disk.gate.clear()
        try:
            assert record(journal, decision("d-000002")) == [False]
            assert ids(journal) == ["d-000002", "d-000001"]
        finally:
            disk.gate.set()
        assert journal.flush()
    assert stored(path) == ["d-000001", "d-000002"]
