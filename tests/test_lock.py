"""Two daemons never share a state directory, and no end of one shuts out the next."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from supervisor.lock import NAME, Lock, Taken


def test_the_second_is_told_who_has_it_and_what_to_do(tmp_path: Path) -> None:
    first = Lock(tmp_path / "state")
    first.take()
    with pytest.raises(Taken, match=f"pid {os.getpid()}.*state_dir=PATH"):
        Lock(tmp_path / "state").take()
    first.free()
    Lock(tmp_path / "state").take()


def test_letting_go_leaves_nothing_behind_and_may_be_done_twice(tmp_path: Path) -> None:
    lock = Lock(tmp_path)
    lock.take()
    lock.free()
    lock.free()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_a_killed_daemon_left_is_in_nobody_s_way(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text("4711\n")
    lock = Lock(tmp_path)
    lock.take()
    assert (tmp_path / NAME).read_text() == f"{os.getpid()}\n"


def test_a_lock_on_a_file_that_was_removed_meanwhile_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Lock(tmp_path)
    first.take()
    opened = os.open

    def open_and_be_late(*words: object, **more: object) -> int:
        monkeypatch.setattr(os, "open", opened)
        file = opened(*words, **more)  # type: ignore[arg-type]
        first.free()  # between the second's opening and its locking
        return file

    monkeypatch.setattr(os, "open", open_and_be_late)
    second = Lock(tmp_path)
    second.take()
    with pytest.raises(Taken):
        Lock(tmp_path).take()


def test_a_directory_that_cannot_be_written_to_needs_no_lock(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    lock = Lock(tmp_path / "file" / "state")
    lock.take()
    lock.free()


def test_a_link_in_the_place_of_the_lock_is_not_written_through(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    state = tmp_path / "state"
    state.mkdir()
    (state / NAME).symlink_to(precious)
    with pytest.raises(Taken, match=f"{NAME} is a link, and none of ours; remove it"):
        Lock(state).take()
    assert precious.read_text() == "mine"
