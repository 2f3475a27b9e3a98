"""deploy/reference.md has every command and every code of an error, and no other."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from deploy.commands import commands
from supervisor.cli.main import cli
from supervisor.gateway.telling import code_of
from supervisor.gateway.wishes import RefusalKind

ROOT = Path(__file__).parent.parent
REFERENCE = (ROOT / "deploy" / "reference.md").read_text()
# Whoever is called with a code among its words, and what else is a word there.
CALLS = {"_refuse", "fault", "Refused", "event", "last_words"}
NO_CODES = {"model"}
CODE = re.compile(r"[a-z_]+")


def _words(call: ast.Call) -> Iterator[str]:
    for given in call.args:
        found = (given.body, given.orelse) if isinstance(given, ast.IfExp) else (given,)
        for each in found:
            if isinstance(each, ast.Constant) and isinstance(each.value, str):
                yield each.value


def codes() -> set[str]:
    """As the gateway's source says them."""
    found = {code_of(kind) for kind in RefusalKind}
    for path in sorted((ROOT / "supervisor" / "gateway").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                found |= set(_words(node)) if name in CALLS else set()
            elif isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == "code":
                found |= {str(node.value.value)} if isinstance(node.value, ast.Constant) else set()
    return {word for word in found - NO_CODES if CODE.fullmatch(word)}


def test_every_code_of_an_error_is_told() -> None:
    table = REFERENCE.partition("## Error codes")[2].partition("\n## ")[0]
    told = re.findall(r"^\| `([a-z_]+)` \|", table, re.MULTILINE)
    assert len(told) == len(set(told))
    assert set(told) == codes()


def test_every_command_is_told_with_its_options() -> None:
    text = commands()
    assert text in REFERENCE
    for name in cli.commands:
        assert f"### `ullage {name}" in text
    assert "### `ullage settings set" in text
    assert "- `--dry-run`" in text
    assert "--help" not in text


def test_writing_it_changes_no_command() -> None:
    """Each keeps the option for help that it is first asked for, with the names of that time."""
    code = (
        "from deploy.commands import commands; commands()\n"
        "from tests.canned import ullage\n"
        "assert 'Exit codes' in ullage('-h').stdout"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
