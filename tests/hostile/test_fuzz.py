"""The parsers of what others say, fuzzed for a few seconds; `make fuzz` does it for longer."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import strategies as st

from tests.hostile import fuzz as fuzzing
from tests.hostile.fuzz import fuzz, main
from tests.hostile.targets import TARGETS

FEW = {"engines": 40, "config": 40}  # they are slower
OTHERS = 100
MAKEFILE = (Path(__file__).parents[2] / "Makefile").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_nothing_but_documented_errors_comes_of_whatever_is_said(name: str) -> None:
    fuzz(TARGETS[name], FEW.get(name, OTHERS), 9)


class Parser:
    """It cannot bear numbers of more than `most`. `seen`: what it was given."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.seen: list[int] = []

    def __call__(self, data: st.DataObject) -> Callable[[], object]:
        number = data.draw(st.integers(0, 10**9))

        def act() -> None:
            self.seen.append(number)
            if number > self.most:
                raise ZeroDivisionError

        return act


def test_each_execution_is_counted() -> None:
    patient = Parser(10**9)
    assert fuzz(patient, 30, 1) == len(patient.seen) >= 30


def test_what_crashed_is_kept_and_tried_first_until_it_is_mended(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        fuzz(Parser(1000), 500, 1, tmp_path)
    later = Parser(1000)
    with pytest.raises(ZeroDivisionError):
        fuzz(later, 500, 2, tmp_path)
    assert later.seen[0] == 1001  # the smallest that was found
    mended = Parser(10**9)
    fuzz(mended, 500, 3, tmp_path)
    assert mended.seen[0] == 1001
    forgotten = Parser(10**9)
    fuzz(forgotten, 5, 4, tmp_path)
    assert 1001 not in forgotten.seen


def test_how_much_was_tried_is_told_with_its_sum(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    one, two = Parser(10**9), Parser(10**9)
    monkeypatch.setattr(fuzzing, "TARGETS", {"one": one, "two": two})
    assert main(["0"], tmp_path) == 0  # each of them once round
    told = capsys.readouterr().out
    counts = {
        name: int(n) for name, n in re.findall(r"^(\w+) +(\d+) executions", told, re.MULTILINE)
    }
    assert set(counts) == {"one", "two", "all"}
    assert counts["all"] == counts["one"] + counts["two"]
    assert counts["one"] >= fuzzing.BATCH
    assert len(one.seen) >= counts["one"]


def test_a_crash_names_its_target_and_where_it_is_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(fuzzing, "TARGETS", {"weak": Parser(-1)})
    with pytest.raises(ZeroDivisionError):
        main(["0"], tmp_path)
    assert f"weak: crashed; kept in {tmp_path / 'weak'}" in capsys.readouterr().out
    assert list((tmp_path / "weak").rglob("*"))


def test_the_makefile_says_the_same_figure_twice() -> None:
    (said,) = re.findall(r"^# make fuzz .*FUZZ=(\d+) seconds", MAKEFILE, re.MULTILINE)
    (usual,) = re.findall(r"^FUZZ \?= (\d+)$", MAKEFILE, re.MULTILINE)
    assert float(said) == float(usual) == fuzzing.USUAL
