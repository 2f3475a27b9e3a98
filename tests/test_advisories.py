"""What a file of OSV advisories says against what is locked."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from deploy.supply import known
from deploy.supply.__main__ import main
from deploy.supply.advisories import BadAdvisories, complaints, read

PACKAGES = {"one-two": known.Package("one-two", "1.5.0", "", "MIT", "", ())}


def advisory(*events: dict[str, str], id: str = "GHSA-1", **more: Any) -> dict[str, Any]:
    ranges = [{"type": "ECOSYSTEM", "events": list(events)}] if events else []
    package = {"ecosystem": "PyPI", "name": "One_Two"}
    affected = {"package": package, "ranges": ranges, **more.pop("affected", {})}
    return {"id": id, "summary": "it breaks", "affected": [affected], **more}


@pytest.mark.parametrize(
    ("events", "meant"),
    [
        ([{"introduced": "0"}], True),
        ([{"introduced": "0"}, {"fixed": "1.5.0"}], False),
        ([{"introduced": "0"}, {"fixed": "1.5.1"}], True),
        ([{"introduced": "1.5"}], True),
        ([{"introduced": "1.6"}], False),
        ([{"introduced": "0"}, {"last_affected": "1.5.0"}], True),
        ([{"introduced": "0"}, {"last_affected": "1.4.9"}], False),
        ([{"introduced": "0"}, {"fixed": "1.2"}, {"introduced": "1.4"}, {"fixed": "1.6"}], True),
        ([{"fixed": "1.6"}, {"introduced": "1.4"}], True),  # in whatever order they stand
        ([{"introduced": "0"}, {"fixed": "1.5.0rc1"}], False),
        ([{"introduced": "no version"}], False),
        ([{"limit": "2.0"}], False),
    ],
)
def test_a_version_is_meant_where_the_last_event_below_it_says_so(
    events: list[dict[str, str]], meant: bool
) -> None:
    found = complaints(PACKAGES, [advisory(*events, aliases=["CVE-1"])])
    assert found == (["one-two 1.5.0: GHSA-1, CVE-1: it breaks"] if meant else [])


def test_a_version_is_meant_that_is_named_and_no_other() -> None:
    assert complaints(PACKAGES, [advisory(affected={"versions": ["1.4", "1.5"]})]) != []
    assert complaints(PACKAGES, [advisory(affected={"versions": ["1.4", "1.50"]})]) == []


def test_others_packages_and_what_was_taken_back_are_passed_over() -> None:
    always = {"introduced": "0"}
    npm = {"package": {"ecosystem": "npm", "name": "one-two"}}
    other = {"package": {"ecosystem": "PyPI", "name": "three"}}
    gone = advisory(always, withdrawn="2026-01-01T00:00:00Z")
    found = [advisory(always, affected=npm), advisory(always, affected=other), gone]
    assert complaints(PACKAGES, found) == []


def test_one_a_list_an_answer_and_a_zip_are_read_alike(tmp_path: Path) -> None:
    one, two = advisory(id="A"), advisory(id="B")
    file, packed = tmp_path / "told.json", tmp_path / "told.zip"
    for content, ids in ((one, "A"), ([one, two], "AB"), ({"vulns": [two]}, "B"), ([], "")):
        file.write_text(json.dumps(content))
        assert [a["id"] for a in read(file)] == list(ids)
    with zipfile.ZipFile(packed, "w") as made:
        for told in (one, two):
            made.writestr(f"{told['id']}.json", json.dumps(told))
        made.writestr("README", "not one of them")
    assert [a["id"] for a in read(packed)] == ["A", "B"]


@pytest.mark.parametrize("content", ["", "[1]", '{"vulns": [{}]}', "<html>"])
def test_a_file_of_something_else_is_told_by_its_name(tmp_path: Path, content: str) -> None:
    file = tmp_path / "told.json"
    file.write_text(content)
    with pytest.raises(BadAdvisories, match=r"told\.json is no file of OSV advisories"):
        list(read(file))


def test_whoever_asks_is_told_and_the_exit_code_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "told.json"
    told = advisory({"introduced": "0"})
    told["affected"][0]["package"]["name"] = "HTTPX"
    for content, code, says in (
        ([told], 1, ": GHSA-1: it breaks"),
        ([], 0, "nothing is said against the"),
    ):
        file.write_text(json.dumps(content))
        assert main(["--advisories", str(file)]) == code
        assert says in capsys.readouterr().out
    assert main(["--advisories", str(tmp_path / "nothing")]) == 1
    assert "nothing is no file of OSV advisories" in capsys.readouterr().err
