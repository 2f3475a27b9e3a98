"""What must be known of a child after the daemon has ended."""

import json
import logging
import os
import stat
from dataclasses import asdict

import pytest

from supervisor.children import kin
from supervisor.children.adopt import Fate, look_back
from supervisor.children.records import KEPT, Record, Records, fingerprint, folders, slug


def record(model="qwen3:8b", **more):
    told = {
        "mark": "name.run",
        "pid": os.getpid(),
        "started": kin.birth(os.getpid()),
        "boot": kin.boot(),
        "port": 8001,
        "fingerprint": "f",
        "program": "llama-server",
        "group": None,
    }
    return Record(model, **{**told, **more})


def test_what_was_written_is_read_and_only_its_owner_may_read_it(tmp_path):
    records = Records(tmp_path / "own")
    both = [record("a", group="/sys/fs/cgroup/ullage-name.run"), record("b/c")]
    for each in both:
        records.write(each)
    assert sorted(records.read(), key=lambda r: r.model) == both
    for file in (tmp_path / "own").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    records.remove(both[0])
    assert records.read() == [both[1]]


def test_a_record_is_not_removed_once_it_is_about_another_run(tmp_path):
    records = Records(tmp_path)
    records.write(record(mark="name.second"))
    records.remove(record(mark="name.first"))
    assert records.read() == [record(mark="name.second")]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '"text"',
        "[" * 100_000,
        "\xff",
        json.dumps(asdict(record()) | {"pid": "17"}),
        json.dumps(asdict(record()) | {"pid": True}),
        json.dumps(asdict(record()) | {"pid": 1}),
        json.dumps(asdict(record()) | {"pid": -1}),
        json.dumps(asdict(record()) | {"group": 3}),
        json.dumps(asdict(record()) | {"more": 3}),
        json.dumps({"model": "a"}),
        " " * 1_000_000 + json.dumps(asdict(record())),
    ],
)
def test_one_that_cannot_be_read_is_set_aside_and_said(tmp_path, caplog, text):
    (tmp_path / "bad.json").write_bytes(text.encode("latin-1"))
    Records(tmp_path).write(record())
    with caplog.at_level(logging.WARNING):
        assert Records(tmp_path).read() == [record()]
    assert "bad.json cannot be read" in caplog.text
    assert (tmp_path / "bad.bad-1").exists()
    assert not (tmp_path / "bad.json").exists()


def test_those_that_are_set_aside_do_not_pile_up(tmp_path):
    for _ in range(3 * KEPT):
        (tmp_path / "bad.json").write_text("{")
        Records(tmp_path).read()
    assert len(list(tmp_path.iterdir())) == KEPT


def test_a_folder_keeps_its_name_and_another_has_another(tmp_path):
    first = Records(tmp_path / "a").name()
    assert first == Records(tmp_path / "a").name() != Records(tmp_path / "b").name()
    (tmp_path / "a/name").write_text("../../etc")
    assert Records(tmp_path / "a").name() != first


def test_a_file_is_named_after_its_model_and_after_no_other():
    names = [
        "qwen3:8b",
        "qwen3-8b",
        "a/b",
        "..",
        "../../etc/passwd",
        ".",
        "",
        "x" * 500,
        "ü",
        "A",
        "a",
    ]
    slugs = [slug(n) for n in names]
    assert len(set(slugs)) == len(names)
    for each in slugs:
        assert "/" not in each
        assert not each.startswith(".")
        assert len(each) < 100
    assert slug("qwen3:8b").startswith("qwen3-8b-")


def test_a_fingerprint_is_of_all_that_is_run():
    same = fingerprint(("a", "b"), {"x": "1", "y": "2"}, None)
    assert same == fingerprint(["a", "b"], {"y": "2", "x": "1"}, None)
    assert same != fingerprint(("a", "b"), {"x": "1", "y": "3"}, None)
    assert same != fingerprint(("a b",), {"x": "1", "y": "2"}, None)


def test_folders_of_engines_that_are_configured_no_more_are_found(tmp_path):
    for each in ("own", "old"):
        (tmp_path / each).mkdir()
    (tmp_path / "file").touch()
    assert folders(tmp_path, ["own"]) == [tmp_path / "old"]
    assert folders(tmp_path / "nowhere", []) == []


def fates(*records, wanted=None):
    found = []
    for each, fate, handle in look_back(records, wanted or {}):
        found.append((each.model, fate))
        assert (handle is not None) == (fate in (Fate.ADOPTED, Fate.UNWANTED))
        if handle is not None:
            handle.close()
    return found


def test_what_runs_is_adopted_where_it_is_what_would_be_started():
    assert fates(record("a"), wanted={"a": "f"}) == [("a", Fate.ADOPTED)]
    assert fates(record("a"), wanted={"a": "another"}) == [("a", Fate.UNWANTED)]
    assert fates(record("a")) == [("a", Fate.UNWANTED)]


def test_a_pid_that_is_another_s_now_is_not_taken_for_ours():
    later = record("a", started=kin.birth(os.getpid()) + 1)
    assert fates(later, wanted={"a": "f"}) == [("a", Fate.OVER)]
    assert fates(record("a", pid=2**22 - 3)) == [("a", Fate.OVER)]


def test_what_was_of_another_boot_is_void():
    assert fates(record("a", boot="before"), wanted={"a": "f"}) == [("a", Fate.VOID)]


@pytest.mark.parametrize("group", ["/sys/fs/cgroup/system.slice", "/", "/sys/fs/cgroup/ullage-x"])
def test_a_control_group_that_is_not_named_after_it_is_none_of_ours(group):
    ((found, _, handle),) = look_back([record(group=group)], {})
    handle.close()
    assert found.group is None


def test_links_and_pipes_in_the_place_of_records_are_neither_read_nor_written(tmp_path):
    records, precious = Records(tmp_path / "e"), tmp_path / "precious"
    records.write(record())
    (file,) = (tmp_path / "e").glob("*.json")
    file.rename(precious)
    before = precious.read_text()
    file.symlink_to(precious)
    os.mkfifo(tmp_path / "e" / "pipe.json")  # whoever reads one waits for who writes
    assert records.read() == []
    file.with_suffix(".new").symlink_to(precious)
    records.write(record(port=1))
    assert [r.port for r in records.read()] == [1]
    assert precious.read_text() == before


def test_a_link_to_a_folder_is_no_engines_folder(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "engines" / "one").mkdir(parents=True)
    (tmp_path / "engines" / "two").symlink_to(tmp_path / "elsewhere")
    assert folders(tmp_path / "engines", ()) == [tmp_path / "engines" / "one"]
