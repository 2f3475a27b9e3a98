"""Is the right model kept? What is promised of it, on the traces that are shipped; and the
benchmark that says so, which has to notice when it is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import cells, policy
from benchmarks.cells import HOST, SEQUENCE, Cell, Row
from benchmarks.promises import average, mean, of_host, of_sequence
from supervisor.replay.lines import TraceError
from tests.replay.traces import SHIPPED

MODELS = "seed,model,size_bytes,load_s\n1,a,4,1\n1,b,4,2\n1,c,4,5\n"
TRACE = "arrival_s,model,service_s\n" + "".join(
    f"{60 * i},{name},1\n" for i, name in enumerate("abcab" * 6)
)
SEQUENCE_HEAD = "trace,ratio,seed,capacity_bytes,offline_best_s,lru_s"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A trace for which nothing is stored."""
    (tmp_path / "small.csv").write_text(TRACE)
    (tmp_path / "small.models.csv").write_text(MODELS)
    return tmp_path


def run(folder: Path, *words: str) -> tuple[int, dict[str, object]]:
    file = folder / "out.json"
    code = policy.main(["--traces", str(folder), "--jobs", "1", "--json", str(file), *words])
    return code, json.loads(file.read_text()) if file.exists() else {}


def test_a_folder_without_stored_figures_is_held_against_its_own_oracle(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = run(folder, "--policies", "value,lru")
    assert code in (0, 1)  # nothing is promised of so little
    averages = found["average_ratio_to_oracle"]
    assert isinstance(averages, dict)
    assert averages["lru"] >= averages["value"] >= 1.0
    rows = found["rows"]
    assert isinstance(rows, list)
    assert len(rows) == len(cells.RATIOS) * 2 * 2
    assert {(r["setting"], r["ratio"], r["seed"]) for r in rows} == {
        (setting, ratio, 1) for setting in (SEQUENCE, HOST) for ratio in cells.RATIOS
    }
    assert all(r["ratio_to_oracle"] >= 1 for r in rows if r["setting"] == SEQUENCE)
    assert "the oracle" in capsys.readouterr().out


def test_what_is_stored_is_the_denominator_and_the_cells_are_those_stored(folder: Path) -> None:
    text = f"{SEQUENCE_HEAD}\nsmall,1.5,1,8,10.0,38.0\n"
    (folder / "reference_sequence.csv").write_text(text)
    code, found = run(folder, "--policies", "lru", "--setting", "sequence")
    (row,) = found["rows"]  # type: ignore[misc]
    assert row["reload_s"] == row["offline_s"] * row["ratio_to_oracle"]
    assert row["offline_s"] == 10.0
    assert code == (0 if row["reload_s"] == 38.0 else 1)


def test_a_figure_that_does_not_agree_with_what_is_stored_is_not_kept(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = f"{SEQUENCE_HEAD}\nsmall,1.5,1,8,10.0,1.0\n"
    (folder / "reference_sequence.csv").write_text(text)
    code, found = run(folder, "--policies", "lru", "--setting", "sequence")
    assert code == 1
    assert "NOT KEPT lru agrees with what is stored" in capsys.readouterr().out
    assert [c["kept"] for c in found["checks"]] == [False]  # type: ignore[attr-defined]


def test_json_alone_goes_to_standard_output(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy.main(["--traces", str(folder), "--jobs", "1", "--policies", "lru", "--json", "-"])
    captured = capsys.readouterr()
    assert json.loads(captured.out)["rows"]
    assert "the oracle" in captured.err


def test_a_folder_without_traces_or_with_a_broken_one_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert policy.main(["--traces", str(tmp_path)]) == 2
    (tmp_path / "t.csv").write_text("arrival_s,model\n")
    assert policy.main(["--traces", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert "there is no trace in it" in told
    assert "t.csv:1: column service_s is missing" in told
    with pytest.raises(TraceError):
        cells.cells(tmp_path / "nowhere")


def test_a_policy_that_there_is_not_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        policy.main(["--policies", "lruu"])
    assert "no policy is called 'lruu'" in capsys.readouterr().err


def row(
    policy: str, reload: float, seed: int = 1, setting: str = SEQUENCE, wait: float = 1.0,
    killed: int = 0,
) -> Row:  # fmt: skip
    times = reload / 100 if setting == SEQUENCE else None
    return Row(setting, "t", 2.0, seed, policy, 9, 9, reload, 0, killed, 0, wait, 0, 0, 0, 100.0,
               times, None, 1.0 if setting == HOST else None)  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "broken"),
    [
        ([row("value", 130), row("lru", 190), row("idle_over_load", 160)], []),
        ([row("value", 139)], ["value, × the oracle"]),
        ([row("value", 130), row("lru", 150)], ["value, × lru"]),
        ([row("value", 130), row("idle_over_load", 145)], ["value, × idle_over_load"]),
        (
            [row("value", 110), row("value", 160, 2), row("lru", 190), row("lru", 150, 2)],
            ["value, × lru in the worst cell"],
        ),
    ],
)
def test_a_promise_that_is_not_kept_is_named(rows: list[Row], broken: list[str]) -> None:
    found = [c.what for c in of_sequence(rows) if not c.kept]
    assert found == broken


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        (lambda: row("value", 1, setting=HOST), []),
        (lambda: row("value", 1, setting=HOST, wait=1.1), ["value, mean wait × what is stored"]),
        (lambda: row("lru", 1, setting=HOST, killed=2), ["requests cut short"]),
    ],
)
def test_so_is_one_of_the_host(change: Callable[[], Row], broken: list[str]) -> None:
    found = [c.what for c in of_host([change()]) if not c.kept]
    assert len(found) == len(broken)
    assert all(f.startswith(b) for f, b in zip(found, broken, strict=True))


def test_averages_are_geometric() -> None:
    assert mean([1.0, 4.0]) == pytest.approx(2.0)
    assert average([row("lru", 100), row("lru", 400, 2), row("value", 1)], "lru") == pytest.approx(
        2
    )


@pytest.mark.slow
def test_on_the_shipped_traces_value_keeps_the_right_models() -> None:
    """A half of the shipped cells, of every size of memory; 12 s on a core of its own."""
    todo = [c for c in cells.cells(SHIPPED) if c.seed == 1 or (c.seed, c.trace[0]) == (2, "a")]
    found = [r for rows in cells.replay(SHIPPED, todo, ["value", "lru"], [SEQUENCE]) for r in rows]
    assert len(found) == 18
    assert all(r.refused == r.overfull == 0 for r in found)
    assert average(found, "value") <= 1.45
    assert average(found, "value") <= 0.85 * average(found, "lru")
    stored = [(r.reload_s, r.stored_s) for r in found if r.policy == "lru"]
    assert all(ours == pytest.approx(theirs, rel=0.02) for ours, theirs in stored)


@pytest.mark.slow
def test_the_cells_are_those_of_the_stored_figures() -> None:
    found = cells.cells(SHIPPED)
    assert len(found) == 18
    assert Cell("azfn19-32", 1.5, 1) in found
