"""What an installation brings along: locked, licensed, told of, and above what is known unsafe."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from deploy.supply import ask, floors, known, licences, locks, sbom
from deploy.supply.__main__ import complaints, files, main
from supervisor import __version__

ROOT = Path(__file__).parent.parent


@functools.cache
def packages() -> dict[str, known.Package]:
    return known.read()


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    (tmp_path / "deploy/supply").mkdir(parents=True)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for file in (*(ROOT / "deploy").glob("*.lock"), ROOT / "deploy/licences.md"):
        shutil.copy(file, tmp_path / "deploy")
    shutil.copy(ROOT / "deploy/sbom.json", tmp_path / "deploy")
    shutil.copy(known.PACKAGES, tmp_path / "deploy/supply")
    return tmp_path


def with_range(root: Path, was: str, is_: str) -> Path:
    file = root / "pyproject.toml"
    assert was in file.read_text()
    file.write_text(file.read_text().replace(was, is_))
    return root


def test_what_is_locked_fits_the_project_and_every_file_says_so(capsys):
    assert main(["--check"]) == 0, capsys.readouterr().out


# -- the lock files


def test_a_range_that_has_moved_on_is_found(copy):
    with_range(copy, '"click>=8.5,<9"', '"click>=99"')
    (said,) = (s for s in locks.complaints(packages(), copy) if "click" in s)
    assert said == "nothing that is locked is click>=99"


def test_a_dependency_that_is_not_locked_is_found(copy):
    with_range(copy, '"rich>=14",', '"rich>=14", "colorama>=0.4; sys_platform == \'win32\'",')
    (said,) = locks.complaints(packages(), copy)
    assert said.startswith("nothing that is locked is colorama>=0.4")


def test_what_a_dependency_needs_is_not_forgotten():
    without = {name: p for name, p in packages().items() if name != "httpcore"}
    assert "nothing that is locked is httpcore==1.*" in locks.complaints(without)


def test_what_nobody_needs_is_found():
    more = packages() | {"left-pad": known.Package("left-pad", "1", "", "MIT", "")}
    assert locks.complaints(more) == ["left-pad is locked, and nobody needs it"]


def test_what_does_not_run_on_a_python_of_ours_is_found():
    older = packages() | {"h11": replace(packages()["h11"], python=">=3.12")}
    assert locks.complaints(older) == ["h11 0.16.0 is not for Python 3.11"]


@pytest.mark.parametrize(
    ("kept", "fits"),
    [
        ("x-1-py3-none-any.whl", ["x86_64", "aarch64"]),
        ("x-1-cp313-cp313-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", ["x86_64"]),
        ("x-1-cp39-abi3-manylinux_2_28_aarch64.whl", ["aarch64"]),
        ("x-1-cp313-cp313t-manylinux_2_17_x86_64.whl", []),
        ("x-1-cp312-cp312-manylinux_2_17_x86_64.whl", []),
        ("x-1-cp313-cp313-musllinux_1_2_x86_64.whl", []),
        ("x-1-cp313-cp313-macosx_11_0_arm64.whl", []),
        ("x-1.tar.gz", []),
    ],
)
def test_what_the_image_could_not_install_is_found(kept, fits):
    one = packages() | {"h11": replace(packages()["h11"], files={kept: "00"})}
    said = locks.complaints(one)
    lacks = [f"h11 0.16.0 has no wheel for cp313 on Linux, {m}" for m in locks.MACHINES]
    assert said == [s for s in lacks if s.rpartition(" ")[2] not in fits]


LINUX, ALL = {("linux", v) for v in known.PYTHONS}, set(known.WHERE)
WINDOWS = {("win32", v) for v in known.PYTHONS}


@pytest.mark.parametrize(
    ("places", "marker"),
    [
        (ALL, ""),
        (LINUX, "sys_platform == 'linux'"),
        (ALL - WINDOWS, "sys_platform == 'linux' or sys_platform == 'darwin'"),
        ({w for w in ALL if w[1] == "3.11"}, "python_version < '3.12'"),
        ({w for w in ALL if w[1] != "3.11"}, "python_version >= '3.12'"),
        ({w for w in ALL if w[1] == "3.12"}, "(python_version == '3.12')"),
        ({("win32", "3.11")}, "sys_platform == 'win32' and python_version < '3.12'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # a set has no order
)  # fmt: skip
def test_a_lock_file_says_where_a_package_is_needed(places, marker):
    said = locks.marker(places)
    assert said == marker
    asked = Requirement(f"x ; {said}" if said else "x").marker
    met = {
        where
        for where in known.WHERE
        for environment in known.environments(where)
        if asked is None or asked.evaluate(dict(environment))
    }
    assert met == places


def test_every_line_of_a_lock_file_has_a_version_and_hashes():
    for part in known.PARTS:
        text = locks.file_of(part).read_text().replace("\\\n", "")
        rows = [line for line in text.splitlines() if not line.startswith("#")]
        assert rows
        for row in rows:
            pinned, *hashes = row.split("--hash=")
            (specifier,) = Requirement(pinned.strip()).specifier
            assert specifier.operator == "=="
            assert hashes
            assert all(len(h.strip()) == len("sha256:") + 64 for h in hashes)


def wheel(folder: Path, name: str, *needs: str) -> str:
    """Version 1.0 of a package that has nothing in it; its lines of a lock file."""
    info, file = f"{name}-1.0.dist-info", folder / f"{name}-1.0-py3-none-any.whl"
    needed = "".join(f"Requires-Dist: {need}\n" for need in needs)
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{needed}"
        )
        packed.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        packed.writestr(f"{info}/RECORD", "")
    return f"{name}==1.0 \\\n    --hash=sha256:{sha256(file.read_bytes()).hexdigest()}\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda lines: lines, None),
        (lambda lines: lines[:-5] + "0000\n", "HASHES"),  # another file of that name
        (lambda lines: lines.partition("two==")[0], "two"),  # it is needed, and not locked
        (lambda lines: lines.replace("one==1.0", "one==2.0"), "one==2.0"),  # there is none
    ],
    ids=["whole", "exchanged", "incomplete", "gone"],
)  # fmt: skip
def test_pip_installs_what_is_locked_by_its_hashes_and_nothing_else(tmp_path, spoil, says):
    """By a folder of wheels: where the index is, nobody here knows."""
    (tmp_path / "deploy").mkdir()
    lines = wheel(tmp_path, "one", "two") + wheel(tmp_path, "two")
    (tmp_path / "deploy/requirements.lock").write_text(spoil(lines))
    here = ("--no-index", "--find-links", str(tmp_path))
    wrong = ask.resolve(tmp_path, *here, parts=(known.CORE,))
    assert len(wrong) == (says is not None)
    assert says is None or (wrong[0].startswith("requirements.lock: ") and says in wrong[0])


def test_an_extra_adds_to_what_all_have_and_never_says_it_again():
    needs = known.needed(packages())
    for extra in known.EXTRAS:
        assert needs[extra]
        assert not needs[extra].keys() & needs[known.CORE].keys()


def test_the_image_installs_by_the_lock_files_alone():
    text = (ROOT / "deploy/docker/Dockerfile").read_text().replace("\\\n", "")
    installs = [part for part in text.split("&&") if "pip install" in part]
    assert len(installs) == 3
    assert all("--require-hashes" in i or "--no-index --no-deps" in i for i in installs)


@pytest.mark.parametrize("name", ["requirements.lock", "licences.md", "sbom.json"])
def test_a_file_that_was_changed_by_hand_is_found_and_written_anew(copy, name, capsys):
    file = copy / "deploy" / name
    before = file.read_text()
    file.write_text(before.replace("h11", "h12"))
    assert main(["--check"], copy) == 1
    assert f"deploy/{name} is not what it should be" in capsys.readouterr().out
    assert file.read_text() != before
    assert main([], copy) == 0
    assert file.read_text() == before


def test_what_is_wrong_is_not_written_down(copy, capsys):
    with_range(copy, '"click>=8.5,<9"', '"click>=99"')
    before = {p: p.read_text() for p in (copy / "deploy").glob("*.*")}
    assert main([], copy) == 1
    assert "click>=99" in capsys.readouterr().out
    assert {p: p.read_text() for p in (copy / "deploy").glob("*.*")} == before


# -- asking


def test_a_page_of_an_index_is_read_with_its_hashes():
    page = ask.Page()
    page.feed(
        '<a href="../../f/x-1.0-py3-none-any.whl#sha256=ab">x</a>'
        '<a href="x-1.0+l.tar.gz#md5=1">x</a>'
        '<a href="x-0.9.tar.gz#sha256=cd" data-yanked="broken">x</a><b href="y#sha256=ef">y</b>'
        '<a href="x-1.0%2Bcpu-py3-none-any.whl#sha256=12">x</a>'
    )
    assert page.files == {"x-1.0-py3-none-any.whl": "ab", "x-1.0+cpu-py3-none-any.whl": "12"}


# -- licences


@pytest.mark.parametrize(
    ("licence", "fine"),
    [
        ("MIT", True),
        ("MIT OR GPL-3.0-only", True),
        ("MIT AND GPL-3.0-only", False),
        ("(MIT OR GPL-2.0-only) AND BSD-3-Clause", True),
        ("(MIT AND GPL-2.0-only) OR AGPL-3.0-only", False),
        ("GPL-2.0-only WITH Classpath-exception-2.0", False),
        ("MIT WITH something", False),
        ("LGPL-3.0-or-later", False),
        ("SSPL-1.0", False),
        ("(MIT", False),
        ("MIT)", False),
        ("", False),
        (licences.UNKNOWN, False),
    ],
)
def test_only_a_licence_that_is_known_to_be_harmless_is_permitted(licence, fine):
    assert licences.permitted(licence) is fine


@pytest.mark.parametrize(
    ("metadata", "licence"),
    [
        ({"license_expression": "mit or apache-2.0"}, "MIT OR Apache-2.0"),
        ({"license": "BSD 3", "classifier": ["License :: OSI Approved :: MIT License"]}, "MIT"),
        ({"license": "Apache License, Version 2.0"}, "Apache-2.0"),
        ({"license": "Apache-2.0"}, "Apache-2.0"),
        ({"license": "GNU something\nand a page of it"}, "GNU something"),
        ({}, "unknown"),
    ],
)
def test_a_licence_is_read_from_what_a_package_says(metadata, licence):
    assert licences.expression(metadata) == licence


def test_a_package_under_another_licence_is_refused():
    other = packages() | {"h11": replace(packages()["h11"], licence="AGPL-3.0-only")}
    (said,) = complaints(other)
    assert said.startswith("h11 0.16.0 comes under AGPL-3.0-only")


# -- what is known to be unsafe


@pytest.mark.parametrize("floor", floors.FLOORS, ids=lambda f: f.name)
def test_what_is_known_to_be_unsafe_is_refused(floor):
    assert floor.name in packages(), "nobody needs it any more: its floor says nothing"
    old = {floor.name: replace(packages()[floor.name], version=f"{floor.version}rc1")}
    (said,) = floors.complaints(old)
    assert floor.because in said
    at = {floor.name: replace(packages()[floor.name], version=floor.version)}
    assert floors.complaints(at) == []


def test_a_range_that_allows_what_is_unsafe_is_found(copy):
    with_range(copy, '"h11>=0.16"', '"h11>=0.14"')
    (said,) = complaints(packages(), copy)
    assert said == "h11>=0.14 in pyproject.toml allows what is below 0.16.0"


# -- the bill of materials


@pytest.mark.slow
def test_the_bill_of_materials_is_valid():
    validation = pytest.importorskip("cyclonedx.validation.json")
    schema = pytest.importorskip("cyclonedx.schema")
    validator = validation.JsonStrictValidator(schema.SchemaVersion.V1_6)
    bom = json.loads((ROOT / "deploy/sbom.json").read_text())
    for component in bom["components"]:  # hundreds of files are all alike, and take half a minute
        del component["externalReferences"][3:]
    assert validator.validate_str(json.dumps(bom)) is None
    bom["components"][0]["type"] = "lib"
    assert validator.validate_str(json.dumps(bom)) is not None


def test_the_bill_of_materials_has_every_package_with_its_hashes_and_who_needs_it():
    bom = json.loads((ROOT / "deploy/sbom.json").read_text())
    assert bom["specVersion"] == "1.6"
    assert bom["metadata"]["component"]["version"] == __version__
    runs = known.run_time(known.needed(packages()))
    assert {c["name"] for c in bom["components"]} == runs
    digests = {
        h["content"]
        for c in bom["components"]
        for r in c["externalReferences"]
        for h in r["hashes"]
    }
    assert digests == {d for name in runs for d in packages()[name].files.values()}
    links = {d["ref"]: d.get("dependsOn", []) for d in bom["dependencies"]}
    assert len(links) == len(runs) + 1
    seen, left = set(), [bom["metadata"]["component"]["bom-ref"]]
    while left:
        ref = left.pop()
        if ref not in seen:
            seen.add(ref)
            left += links[ref]
    assert seen == links.keys()  # nothing is there for no reason


def test_the_same_packages_give_the_same_bill_and_others_another():
    needs = known.needed(packages())
    number = json.loads(sbom.text(packages(), needs, "1"))["serialNumber"]
    assert json.loads(sbom.text(packages(), needs, "1"))["serialNumber"] == number
    assert json.loads(sbom.text(packages(), needs, "2"))["serialNumber"] != number


def test_nothing_says_where_packages_were_found():
    for path, text in files(packages()).items():
        assert "://" not in text, path.name


# -- the wheel


@pytest.mark.slow
def test_whoever_builds_it_gets_the_same_bytes(tmp_path):
    pytest.importorskip("hatchling")
    built = []
    for place, hour in (("here", 1), ("some/where/else", 23)):
        folder = tmp_path / place
        kept = ("pyproject.toml", "README.md", "LICENSE", ".gitignore", "collectors", "supervisor")
        for name in kept:
            source, target = ROOT / name, folder / name
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)  # as of now, not as of the original
        environment = {
            "PATH": "/usr/bin:/bin",
            "SOURCE_DATE_EPOCH": "1790000000",
            "TZ": f"UTC{hour}",
            "PYTHONHASHSEED": str(hour),
        }
        done = subprocess.run(
            [sys.executable, "-m", "hatchling", "build", "-d", str(tmp_path / f"out{hour}")],
            cwd=folder, env=environment, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        out = sorted((tmp_path / f"out{hour}").iterdir())
        built.append({file.name: file.read_bytes() for file in out})
    assert [n.rpartition(".")[2] for n in built[0]] == ["whl", "gz"]
    assert built[0] == built[1]
