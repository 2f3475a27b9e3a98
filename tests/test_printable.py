"""What strangers say, before it is shown."""

from __future__ import annotations

import sys

from hypothesis import given
from hypothesis import strategies as st

from supervisor.printable import printable

ANY = st.text(st.characters())  # surrogates too


@given(ANY)
def test_whatever_it_is_it_stands_on_one_line_and_can_be_shown(text: str) -> None:
    assert printable(text).isprintable()
    assert printable(text, "?").isprintable()
    assert len(printable(text, "?")) == len(text)
    assert len(printable(text).splitlines()) <= 1


@given(ANY)
def test_of_what_is_written_as_escapes_nothing_is_lost(text: str) -> None:
    text = text.replace("\\", "")
    told = printable(text)
    back = told.encode("latin-1", "backslashreplace").decode("unicode_escape")
    assert back == text


def test_what_can_be_shown_stays_as_it_is() -> None:
    for text in ("qwen3:8b", "qwen3:8b ü 模型", 'ü🜏 \\ "quoted"', ""):
        assert printable(text) is text
        assert printable(text, "") is text
    assert printable(4711) == "4711"


def test_what_cannot_is_an_escape_or_whatever_is_asked_for() -> None:
    assert printable("a\x1b[2J\n\u202eb") == r"a\x1b[2J\n\u202eb"
    assert printable("a\x1b[2Jb\r\n\x9b\u202e\ud800") == r"a\x1b[2Jb\r\n\x9b\u202e\ud800"
    assert printable("a\x1b[2J\nb", "") == "a[2Jb"
    assert printable("a\x1b[2J\nb", " ") == "a [2J b"


def test_it_loads_nothing() -> None:
    module = sys.modules[printable.__module__]
    assert not [n for n, v in vars(module).items() if type(v) is type(sys)]
