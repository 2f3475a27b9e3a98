"""Every file that is deployed, read by the program that will read it, or by its linter.

`make deploy-check` prints a table, and fails where one is wrong. A program that is not there is no
failure: its line says what was not checked.
"""

from __future__ import annotations

import argparse
import os
import plistlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .chart import Missing, Wrong, lint, refuses, rendered, rules, valid, whole

ROOT = Path(__file__).parent.parent
CHART = "deploy/helm/ullage"
EXPOSURE = 2.0  # at most, of 10: what `systemd-analyze security` says of the unit
PATIENCE = 120.0  # seconds, for any of the programs

YAMLLINT = (
    "{extends: default, rules: {line-length: {max: 240}, document-start: disable,"
    " comments: {min-spaces-from-content: 1}, braces: {max-spaces-inside: 1},"
    " indentation: {indent-sequences: whatever}, truthy: {check-keys: false}}}"
)


@dataclass(frozen=True, slots=True)
class Check:
    """`of` a file or several, `by` a program. `run` takes the project's folder and returns what is
    worth saying; raises Wrong, or Missing."""

    of: str
    by: str
    run: Callable[[Path], str]


@dataclass(frozen=True, slots=True)
class Line:
    """`status`: ok, wrong or skipped."""

    check: Check
    status: str
    said: str


def program(name: str) -> str:
    """Its path: beside this Python, or anywhere. Raises Missing."""
    beside = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    found = shutil.which(name, path=beside)
    if found is None:
        raise Missing(f"there is no {name} here")
    return found


def call(name: str, *arguments: str | Path, cwd: Path | None = None) -> str:
    """What it prints. Raises Missing, or Wrong with that."""
    words = [program(name), *map(str, arguments)]
    done = subprocess.run(
        words, cwd=cwd, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    text = done.stdout + done.stderr
    if done.returncode:
        raise Wrong(text.strip() or f"{name} ended with {done.returncode}")
    return text


# -- the unit


def unit(root: Path) -> str:
    """Its options, by systemd itself. Raises Wrong for what it only warns of, too."""
    text = (root / "deploy/ullage.service").read_text()
    # Where the daemon is to be is not where we are; whether that file is there is not asked.
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "ullage.service")
        copy.write_text(re.sub(r"(?m)^(Exec\w+=)/opt/ullage/bin/ullage\b", r"\1/bin/true", text))
        said = call("systemd-analyze", "verify", "--man=no", copy)
    ours = [line for line in said.splitlines() if "ullage.service" in line]
    if ours:
        raise Wrong("\n".join(ours))
    return f"{len(re.findall('(?m)^[A-Z][A-Za-z]+=', text))} options"


def exposure(root: Path) -> str:
    file = root / "deploy/ullage.service"
    try:
        said = call("systemd-analyze", "security", "--offline=true", "--no-pager", file)
    except Wrong as error:
        if "unrecognized option" in str(error):
            raise Missing(
                "systemd-analyze is older than 250, and looks at what runs only"
            ) from None
        raise
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
    if found is None:
        raise Wrong(said)
    if float(found[1]) > EXPOSURE:
        lacks = [line for line in said.splitlines() if line.startswith("✗")]
        raise Wrong(
            "\n".join([f"exposure {found[1]} of 10, and at most {EXPOSURE} is wanted", *lacks])
        )
    return f"exposure {found[1]} of 10, at most {EXPOSURE}"


def agent(root: Path) -> str:
    """launchd's file. Raises Wrong where launchd would ignore it."""
    file = root / "deploy/launchd/local.ullage.plist"
    try:
        told = plistlib.loads(file.read_bytes())
    except (plistlib.InvalidFileException, ValueError, SyntaxError) as error:
        raise Wrong(f"{file.name}: {error}") from None
    except Exception as error:  # of expat
        raise Wrong(f"{file.name}: {error}") from None
    if told.get("Label") != file.stem:
        raise Wrong(f"{file.name}: its Label is {told.get('Label')!r}, not its name")
    words = told.get("ProgramArguments") or [""]
    if not words[0].startswith("/"):
        raise Wrong(f"{file.name}: {words[0]!r} is no absolute path")
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "script.sh")
        script.write_text("#!/bin/sh\n" + words[-1] + "\n")
        call("shellcheck", script)
    return f"{len(told)} keys, and its line of shell"


# -- containers


def dockerfile(root: Path) -> str:
    call("hadolint", root / "deploy/docker/Dockerfile")
    return ""


def compose(root: Path) -> str:
    files = sorted((root / "deploy/docker").glob("compose*.yml"))
    call("check-jsonschema", "--builtin-schema", "vendor.compose-spec", *files)
    return f"{len(files)} files"


# -- the chart


def chart(root: Path) -> str:
    with whole(root / CHART) as folder:
        lint(folder)
        return f"and {refuses(folder)} wrong values are refused"


def objects(root: Path) -> str:
    with whole(root / CHART) as folder:
        return valid(folder)


def operator_rules(root: Path) -> str:
    """The rules as the chart has them, by Prometheus."""
    with whole(root / CHART) as folder:
        file = folder / "rules.yml"
        file.write_text(rules(rendered(folder, {"prometheusRule": {"enabled": True}})))
        return _found(call("promtool", "check", "rules", file))


# -- Prometheus and Alertmanager


def prometheus(root: Path) -> str:
    folder = root / "deploy/prometheus"
    names = ("prometheus.yml", "federation.yml")
    return _found(call("promtool", "check", "config", *names, cwd=folder))


def rule_tests(root: Path) -> str:
    folder = root / "deploy/prometheus"
    files = sorted(path.relative_to(folder) for path in folder.glob("tests/*.yml"))
    call("promtool", "test", "rules", *files, cwd=folder)
    return f"{len(files)} files"


def alertmanager(root: Path) -> str:
    said = call("amtool", "check-config", root / "deploy/alertmanager/alertmanager.yml")
    found = re.search(r"(\d+) receivers", said)
    return found[0] if found else ""


def _found(said: str) -> str:
    return ", ".join(f"{n} rules" for n in re.findall(r"(\d+) rules found", said))


# -- everything else


def yaml_files(root: Path) -> str:
    tops = (root / "deploy", root / "grafana")
    files = sorted(p for top in tops for kind in ("*.yml", "*.yaml") for p in top.rglob(kind))
    files = [p for p in files if "templates" not in p.parts and not p.is_symlink()]
    call("yamllint", "--strict", "-d", YAMLLINT, *files)
    return f"{len(files)} files"


def scripts(root: Path) -> str:
    files = [root / ".ci/run", *sorted((root / "deploy").rglob("*.sh"))]
    call("shellcheck", *files)
    return f"{len(files)} files"


def schema(root: Path) -> str:
    files = [root / "deploy/helm/ullage/values.schema.json", root / "deploy/ullage.schema.json"]
    call("check-jsonschema", "--check-metaschema", *files)
    return f"{len(files)} files"


CHECKS = (
    Check("deploy/ullage.service", "systemd-analyze verify", unit),
    Check("deploy/ullage.service", "systemd-analyze security", exposure),
    Check("deploy/launchd/", "plistlib, shellcheck", agent),
    Check("deploy/docker/Dockerfile", "hadolint", dockerfile),
    Check("deploy/docker/compose*.yml", "the compose specification", compose),
    Check(CHART, "Helm's lint and schema", chart),
    Check(CHART, "Kubernetes' schemas", objects),
    Check(CHART, "promtool check rules", operator_rules),
    Check("deploy/prometheus/", "promtool check config", prometheus),
    Check("deploy/prometheus/tests/", "promtool test rules", rule_tests),
    Check("deploy/alertmanager/", "amtool check-config", alertmanager),
    Check("*.yml", "yamllint", yaml_files),
    Check("*.schema.json", "their metaschema", schema),
    Check("scripts", "shellcheck", scripts),
)


def look(check: Check, root: Path = ROOT) -> Line:
    try:
        return Line(check, "ok", check.run(root))
    except Missing as error:
        return Line(check, "skipped", str(error))
    except Wrong as error:
        return Line(check, "wrong", str(error))


def table(lines: Sequence[Line]) -> str:
    """One line a check; what is wrong stands below, whole."""
    widths = [
        max(map(len, column))
        for column in zip(*((x.check.of, x.check.by) for x in lines), strict=True)
    ]
    rows = []
    for line in lines:
        said = line.said if line.status != "wrong" else ""
        cells = (
            line.check.of.ljust(widths[0]),
            line.check.by.ljust(widths[1]),
            line.status.ljust(7),
            said,
        )
        rows.append("  ".join(cells).rstrip())
        if line.status == "wrong":
            rows += [f"    {text}" for text in line.said.splitlines()]
    return "\n".join(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.check", description=__doc__)
    parser.add_argument(
        "--all", action="store_true", help="fail as well where a program is missing"
    )
    given = parser.parse_args(arguments)
    lines = [look(check) for check in CHECKS]
    print(table(lines))
    bad = {"wrong", "skipped"} if given.all else {"wrong"}
    return int(any(line.status in bad for line in lines))


if __name__ == "__main__":
    sys.exit(main())
