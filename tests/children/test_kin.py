"""Who belongs to a child, by a process table."""

from supervisor.children import kin
from supervisor.children.kin import Kin, members


def found(table, root=(10, 100), known=None, marks=None, since=0):
    marks = marks or {}
    real, kin.mark_of = kin.mark_of, marks.get
    try:
        return set(members("m", root, known or {}, table, since))
    finally:
        kin.mark_of = real


def test_its_session_and_its_descendants_are_its_own():
    table = {
        10: Kin(100, 5, 10),
        11: Kin(110, 10, 10),  # of its session
        12: Kin(120, 1, 10),  # of its session, an orphan
        13: Kin(130, 11, 13),  # a grandchild with a session of its own
        14: Kin(140, 13, 13),
        20: Kin(150, 5, 5),  # a brother
    }
    assert found(table) == {10, 11, 12, 13, 14}


def test_an_orphan_with_a_session_of_its_own_is_known_by_its_mark_and_so_are_its_children():
    table = {10: Kin(100, 5, 10), 30: Kin(200, 1, 30), 31: Kin(210, 30, 30), 40: Kin(220, 1, 40)}
    assert found(table, marks={30: "m", 40: "another"}) == {10, 30, 31}


def test_a_session_is_no_proof_once_its_number_may_be_anybody_s():
    table = {10: Kin(900, 5, 10), 11: Kin(910, 10, 10)}
    assert found(table, root=None) == set()
    assert found(table, root=(10, 1000)) == set()  # they are older than our child


def test_a_child_is_never_older_than_its_parent():
    table = {10: Kin(100, 5, 10), 50: Kin(50, 10, 3)}
    assert found(table) == {10}


def test_who_was_known_is_known_as_long_as_it_is_the_same():
    table = {60: Kin(300, 1, 60), 61: Kin(301, 1, 61)}
    assert found(table, root=None, known={60: 300, 61: 5}) == {60}


def test_what_is_older_than_the_child_is_not_asked_for_its_mark():
    table = {70: Kin(10, 1, 70), 71: Kin(500, 1, 71)}
    assert found(table, root=None, marks={70: "m", 71: "m"}, since=100) == {71}


def test_two_that_seem_to_be_each_other_s_parent_end_the_search():
    table = {10: Kin(100, 11, 10), 11: Kin(100, 10, 10)}
    assert found(table) == {10, 11}


def test_neither_we_nor_the_first_process_are_ever_among_them():
    import os

    table = {10: Kin(100, 5, 10), 1: Kin(100, 10, 10), os.getpid(): Kin(100, 10, 10)}
    assert found(table) == {10}


def test_the_table_has_ourselves_with_our_session():
    import os

    own = kin.table()[os.getpid()]
    assert own.session == os.getsid(0)
    assert own.parent == os.getppid()
    assert kin.birth(os.getpid()) == own.started
    assert kin.runs(os.getpid(), own.started)
    assert not kin.runs(os.getpid(), own.started + 1)


def test_where_there_is_no_proc_psutil_tells_the_same(monkeypatch):
    import os

    monkeypatch.setattr(kin, "LINUX", False)
    pid = os.getpid()
    started = kin.birth(pid)
    assert kin.table()[pid].parent == os.getppid()
    assert kin.runs(pid, started)
    assert not kin.runs(pid, started + 1)
    assert kin.birth(2**22 - 1) is None
