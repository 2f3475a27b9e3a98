"""What a child writes is kept, kept short, and harmless to read."""

import os

import pytest

from supervisor.children import logs
from supervisor.children.logs import Log, clean
from tests.children.programs import PYTHON, keeping, pid_of, run, runs, said, start, until


@pytest.fixture
def log(tmp_path):
    return Log(tmp_path / "deep" / "m.log")


def write(log, text):
    fd = log.open()
    os.write(fd, text if isinstance(text, bytes) else text.encode())
    os.close(fd)


def test_the_last_lines_are_told_the_oldest_first(log):
    assert log.tail(5) == ()
    write(log, "one\ntwo\nthree\nfo")
    assert log.tail(2) == ("three", "fo")
    write(log, "ur\n")
    assert log.tail(2) == ("three", "four")
    assert log.tail(100) == ("one", "two", "three", "four")
    assert log.tail(0) == ()


def test_one_that_has_become_long_is_cut_and_what_was_before_is_kept_once(log, monkeypatch):
    monkeypatch.setattr(logs, "LIMIT", 1000)
    fd = log.open()
    for n in range(300):
        os.write(fd, f"line {n}\n".encode())
        if n % 50 == 49:
            log.trim()
    os.write(fd, b"and on\n")  # by the same descriptor
    os.close(fd)
    files = list(log._path.parent.iterdir())
    assert sorted(f.name for f in files) == ["m.log", "m.log.1"]
    assert sum(f.stat().st_size for f in files) < 2500
    tail = log.tail(100)
    assert tail[-1] == "and on"
    assert tail[:-1] == tuple(f"line {n}" for n in range(201, 300))


def test_of_far_too_much_only_the_end_is_kept(log, monkeypatch):
    monkeypatch.setattr(logs, "LIMIT", 1000)
    write(log, "x" * 100 + "\n" + "y" * 5000 + "\nlast\n")
    log.trim()
    assert log._path.stat().st_size == 0
    assert log.tail(3) == ("last",)


def test_a_child_that_writes_for_ever_fills_no_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "LIMIT", 100_000)
    # Some megabytes a second, so that a look on a busy machine is not as many late.
    endless = (
        "import os, threading\nwait = threading.Event().wait\n"
        "while not wait(0.0001): os.write(1, b'more and more and more\\n' * 20)"
    )

    async def story():
        async with keeping(tmp_path, m=start(endless)) as keep:
            await keep.start("m")
            cuts = before = 0

            async def cut_three_times():
                nonlocal cuts, before
                await keep.look()
                size = keep.log("m")._path.stat().st_size
                cuts, before = cuts + (size < before), size
                return cuts == 3

            await until(cut_three_times)
            assert runs(pid_of(keep, "m"))
            # What lies between two looks comes on top: a look was never far here.
            assert sum(f.stat().st_size for f in tmp_path.glob("*.log*")) < 10_000_000
            assert keep.log("m").tail(2)[0] == "more and more and more"

    run(story())


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("plain ünï €", "plain ünï €"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[2J\x1b[1;1Hgone", "gone"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]52;c;cm0gLXJm\x1b\\text", "text"),
        ("\x1bPq#0\x1b\\text", "text"),
        ("\x9b31mred", "red"),
        ("a\tb", "a    b"),
        ("10%\r50%\r100%", "100%"),
        ("windows\r", "windows"),
        ("bell\x07 back\x08 nul\x00 \x7f", "bell back nul "),
        ("right\u202eleft \u2028line", "rightleft line"),
        ("\x1b", ""),
    ],
)
def test_nothing_that_a_terminal_would_act_on_is_shown(log, written, shown):
    assert clean(written) == shown
    write(log, written + "\n")
    assert log.tail(1) == (shown,)
    assert shown.isprintable()


def test_what_is_no_text_is_shown_all_the_same(log):
    write(log, b"\xff\xfe ok\n")
    assert log.tail(1) == ("\ufffd\ufffd ok",)


def test_a_line_without_an_end_is_cut(log):
    write(log, "x" * 1_000_000)
    assert log.tail(1) == ("x" * logs.LONGEST,)


def test_its_last_words_are_those_of_its_last_run(log):
    assert log.last_words() is None
    log.say("starting")
    write(log, "loading\nout of memory\n\n   \n")
    assert log.last_words() == "out of memory"
    log.say("starting")
    assert log.last_words() is None


def test_what_it_writes_to_both_of_its_outputs_is_kept_in_order(tmp_path):
    both = "import os; os.write(1, b'out\\n'); os.write(2, b'err\\n'); os.write(1, b'done\\n')"

    async def story():
        async with keeping(tmp_path, m=start(both)) as keep:
            await keep.start("m")
            await said(keep, "m", "ended with")
            begun, *words, ended = keep.log("m").tail(10)
            assert PYTHON[0] in begun
            assert words == ["out", "err", "done"]
            assert ended == "[ullage] ended with exit code 0 (done)"

    run(story())


def test_a_link_in_the_place_of_a_log_is_neither_read_nor_written_nor_cut(tmp_path, monkeypatch):
    monkeypatch.setattr("supervisor.children.logs.LIMIT", 4)
    precious = tmp_path / "precious"
    precious.write_text("mine, and long enough\n")
    (tmp_path / "m.log").symlink_to(precious)
    log = Log(tmp_path / "m.log")
    log.say("x")
    log.trim()
    assert log.tail(9) == ()
    with pytest.raises(OSError):
        log.open()
    (tmp_path / "m.log").unlink()
    (tmp_path / "m.log.new").symlink_to(precious)
    log.say("cut me")
    log.trim()
    assert precious.read_text() == "mine, and long enough\n"
