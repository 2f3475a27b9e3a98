"""A trace is read as it is, and every mistake in it is told with its file and line."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from supervisor.replay import lines
from supervisor.replay.trace import TraceError, capacity, read
from tests.replay.traces import SHIPPED, ref

HEAD = "arrival_s,model,service_s"
WIDE = f"{HEAD},size_bytes,load_s"
MODELS = "seed,model,size_bytes,load_s\n1,a,100,2\n1,b,50,1.5\n"


def written(folder: Path, text: str | bytes, models: str | None = MODELS) -> Path:
    path = folder / "t.csv"
    if isinstance(text, bytes):
        path.write_bytes(text)
    else:
        path.write_text(text)
    if models is not None:
        (folder / "t.models.csv").write_text(models)
    return path


def mistakes(path: Path) -> list[str]:
    with pytest.raises(TraceError) as error:
        read(path)
    return [m.replace(f"{path.parent}/", "") for m in error.value.mistakes]


def test_a_trace_has_its_requests_and_the_sizes_of_each_seed(tmp_path: Path) -> None:
    path = written(tmp_path, f"{HEAD}\n0.5,a,1\n0.5,b,0\n2,a,3\n", MODELS + "2,a,7,1\n2,b,8,1\n")
    found = read(path)
    assert [(r.at, r.ref, r.service) for r in found.requests] == [
        (0.5, ref("a"), 1), (0.5, ref("b"), 0), (2, ref("a"), 3),
    ]  # fmt: skip
    assert found.trace().models == {ref("a"): (100, 2.0), ref("b"): (50, 1.5)}
    assert found.trace(2).models[ref("b")] == (8, 1.0)


def test_sizes_may_stand_in_the_trace_itself(tmp_path: Path) -> None:
    path = written(tmp_path, f"{WIDE}\n1,a,1,100,2\n2,b,1,50,1\n3,a,1,100,2\n", models=None)
    found = read(path).trace()
    assert found.models == {ref("a"): (100, 2.0), ref("b"): (50, 1.0)}


def test_columns_may_be_in_any_order_and_windows_may_have_written_them(tmp_path: Path) -> None:
    text = '\ufeffmodel,service_s,arrival_s\r\n"a",1,0\r\n\r\nb,1,1\r\n'
    assert len(read(written(tmp_path, text)).requests) == 2


def test_a_packed_trace_is_known_by_its_content(tmp_path: Path) -> None:
    path = written(tmp_path, gzip.compress(f"{HEAD}\n0,a,1\n".encode()))
    assert len(read(path).requests) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["t.csv:1: the file is empty"]),
        (HEAD + "\n", ["t.csv:1: there is no request in it"]),
        (
            "arrival_s,modell,service_s\n0,a,1\n",
            [
                "t.csv:1: no column is called 'modell'",
                "t.csv:1: column model is missing",
                "t.csv:1: it takes arrival_s, model, service_s, and together size_bytes, load_s",
            ],
        ),
        (
            f"{HEAD},model\n0,a,1,a\n",
            [
                "t.csv:1: column model is there twice",
                "t.csv:1: it takes arrival_s, model, service_s, and together size_bytes, load_s",
            ],
        ),
        (
            f"{HEAD},size_bytes\n0,a,1,5\n",
            [
                "t.csv:1: column load_s is missing",
                "t.csv:1: it takes arrival_s, model, service_s, and together size_bytes, load_s",
            ],
        ),
        (
            f"{HEAD}\n5,a,1\n3,b,1\n6,a,1\n2,b,1\n",
            [
                "t.csv:3: arrival_s goes back, to 3 after 5: sort by it",
                "t.csv:5: arrival_s goes back, to 2 after 6: sort by it",
            ],
        ),
        (f"{HEAD}\n-1,a,1\n", ["t.csv:2: arrival_s is -1: expected a number from 0 on"]),
        (f"{HEAD}\nnan,a,1\n", ["t.csv:2: arrival_s is nan: expected a number from 0 on"]),
        (f"{HEAD}\n0,a,inf\n", ["t.csv:2: service_s is inf: expected a number from 0 on"]),
        (f"{HEAD}\n0,a,\n", ["t.csv:2: service_s is missing"]),
        (f"{HEAD}\nsoon,a,1\n", ["t.csv:2: arrival_s 'soon' is not a number"]),
        (f"{HEAD}\n0,a\n", ["t.csv:2: expected 3 columns, found 2"]),
        (
            f"{HEAD}\n0,a,1\n1,stray,1\n2,stray,1\n",
            ["t.csv:3: stray has no size: it is missing from seed 1 of t.models.csv"],
        ),
        (
            f"{HEAD}\n0,,1\n",
            [
                "t.csv:2: the model without a name has no size: it is missing from seed 1 of"
                " t.models.csv"
            ],
        ),
        (
            f"{WIDE}\n0,a,1,100,2\n1,a,1,101,2\n",
            ["t.csv:3: a has another size or load_s than in line 2"],
        ),
        (f"{WIDE}\n0,a,1,,2\n", ["t.csv:2: size_bytes is missing"]),
        (f"{WIDE}\n0,a,1,0,2\n", ["t.csv:2: size_bytes is 0: expected bytes, from 1 on"]),
        (f"{WIDE}\n0,a,1,1.5,2\n", ["t.csv:2: size_bytes is 1.5: expected bytes, from 1 on"]),
        (f'{HEAD}\n0,"a,1\n', ["t.csv:2: unexpected end of data"]),
        (f"{HEAD}\n0,{'a' * 5000},1\n", ["t.csv:2: a line of more than 4096 characters"]),
        (f"{HEAD}\n0,a,1\n".encode() + b"1,\xff,1\n", ["t.csv:3: this is not text (UTF-8)"]),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_line(
    tmp_path: Path, text: str | bytes, expected: list[str]
) -> None:
    assert mistakes(written(tmp_path, text)) == expected


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        (None, "t.csv:1: no sizes: neither columns size_bytes and load_s, nor a file t.models.csv"),
        ("", "t.models.csv:1: the file is empty"),
        ("seed,model,size_bytes,load_s\n", "t.models.csv:1: there is no model in it"),
        (MODELS + "1,a,3,1\n", "t.models.csv:4: a is there twice for seed 1"),
        (MODELS + "1.5,a,3,1\n", "t.models.csv:4: seed is a whole number, not 1.5"),
        (MODELS + "2,a,3,-1\n", "t.models.csv:4: load_s is -1: expected a number from 0 on"),
    ],
)
def test_so_is_one_in_the_sizes(tmp_path: Path, models: str | None, expected: str) -> None:
    assert mistakes(written(tmp_path, f"{HEAD}\n0,a,1\n", models)) == [expected]


def test_of_many_mistakes_the_first_are_told_and_the_rest_counted(tmp_path: Path) -> None:
    found = mistakes(written(tmp_path, HEAD + "\n" + "x,a,1\n" * 20))
    assert len(found) == lines.MOST_TOLD + 1
    assert found[-1] == "and 12 more"


def test_a_file_of_nothing_but_mistakes_is_not_read_to_its_end(tmp_path: Path) -> None:
    found = mistakes(written(tmp_path, HEAD + "\n" + "x,a,1\n" * 5000))
    assert found[-1] == f"and {lines.MOST_COUNTED - lines.MOST_TOLD} more"


def test_a_file_without_end_is_not_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "MOST_LINES", 100)
    packed = gzip.compress((HEAD + "\n" + "\n" * 10_000).encode())
    found = mistakes(written(tmp_path, packed))
    assert found == ["t.csv:101: more than 100 lines; replay a part of it"]


def test_what_is_called_gz_and_is_not_is_told(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_text(f"{HEAD}\n0,a,1\n")
    assert mistakes(path) == ["t.csv.gz: it is called .gz and is not gzip"]


def test_a_packed_trace_that_breaks_off_is_told(tmp_path: Path) -> None:
    whole = gzip.compress((HEAD + "\n" + "".join(f"{i},a,1\n" for i in range(5000))).encode())
    (told,) = mistakes(written(tmp_path, whole[: len(whole) // 2]))
    assert "the gzip file is damaged" in told
    (told,) = mistakes(written(tmp_path, whole[:20] + b"\x00" * 50 + whole[70:]))
    assert "damaged" in told or "not text" in told


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    assert mistakes(tmp_path / "none.csv") == ["none.csv: No such file or directory"]
    assert mistakes(tmp_path)[0].endswith("Is a directory")


def test_a_seed_that_there_is_not_is_told_with_those_there_are() -> None:
    with pytest.raises(TraceError, match="no sizes of seed 9; there are 1, 2, 3"):
        read(SHIPPED / "azfn19-32.csv.gz").trace(9)


def test_there_is_always_room_for_the_largest_model() -> None:
    models = read(SHIPPED / "azfn19-32.csv.gz").trace(1).models
    total = sum(m.size for m in models.values())
    assert capacity(models, 1.5) == int(total / 1.5)
    assert capacity(models, 1000) == max(m.size for m in models.values())
