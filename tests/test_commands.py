"""Commands are loaded when they are called; what is mistyped is told with what was meant."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete

from supervisor.cli import asking
from supervisor.cli.client import BadAddress, Garbled, NoDaemon, Refused, Timeout
from supervisor.cli.commands import trouble
from supervisor.cli.main import EPILOG, SECTIONS, cli
from tests.canned import ullage

ROOT = Path(__file__).parent.parent


def loaded(*words: str) -> set[str]:
    """Modules of ours that a command line has loaded when it ends."""
    code = (
        f"import sys\nfrom supervisor.cli.main import main\ntry: main({list(words)})\n"
        "except SystemExit: print('LOADED', *(m for m in sys.modules if 'supervisor' in m))"
    )
    env = {k: v for k, v in os.environ.items() if not k.startswith("ULLAGE_")}
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True
    )
    return set(out.stdout.splitlines()[-1].split()[1:])


def test_a_command_loads_itself_and_no_other() -> None:
    assert loaded("--help") == {
        "supervisor",
        "supervisor.cli",
        "supervisor.printable",
        *(f"supervisor.cli.{m}" for m in ("main", "asking", "client", "commands")),
    }
    assert loaded("completion", "bash") - loaded("--help") == {"supervisor.cli.completion"}


def test_every_command_is_where_the_table_says_under_the_name_that_it_has() -> None:
    names = [name for _, rows in SECTIONS for name in rows]
    assert len(names) == len(set(names)) == len(cli.commands)
    for name in names:
        assert isinstance(cli.commands[name], click.Command)
        assert cli.commands[name].name == name
        assert cli.commands[name].help


def test_no_command_stands_twice_in_the_table() -> None:
    keys = [
        key.value
        for node in ast.walk(ast.parse((ROOT / "supervisor/cli/main.py").read_text()))
        if isinstance(node, ast.Dict)
        for key in node.keys
        if isinstance(key, ast.Constant)
    ]
    assert len(keys) == len(set(keys))


def test_the_help_has_every_command_under_its_title() -> None:
    text = ullage("--help").stdout
    for title, rows in SECTIONS:
        part = text.partition(f"\n{title}:\n")[2].partition("\n\n")[0]
        assert [line.split()[0] for line in part.splitlines()] == list(rows)
        for _, about in rows.values():
            assert f"  {about}\n" in text + "\n", "it has to fit into a line"


@pytest.mark.parametrize(
    ("words", "what", "hint"),
    [
        (["stauts"], "there is no command 'stauts'", "did you mean status"),
        (["settings", "gte"], "there is no command 'gte'", "did you mean get"),
        (["xyzzy"], "there is no command 'xyzzy'", "ullage --help"),
        (["evict", "--fore"], "no such option '--fore'", "--force"),
        (["why"], "missing argument 'MODEL'", "it is used as ullage why [OPTIONS] MODEL"),
        (["--ulr", "x", "status"], "no such option '--ulr'", "--url"),
        (["completion", "fishh"], "error: 'fishh' is not one of 'bash',", "ullage completion"),
        (["decisions", "-n", "many"], "'many' is not a valid integer", "ullage decisions --help"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_what_is_mistyped_is_told_in_three_lines(words: list[str], what: str, hint: str) -> None:
    result = ullage(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    lines = result.stderr.splitlines()
    assert lines[0].startswith("error: ")
    assert what in lines[0]
    assert hint in result.stderr
    assert lines[-1].startswith("  try: ullage")
    assert len(lines) <= 3


def test_without_a_word_the_help_is_shown() -> None:
    result = ullage()
    assert "Usage: ullage" in result.output
    assert "error: " not in result.output


def test_commands_are_completed_without_loading_them() -> None:
    complete = ShellComplete(cli, {}, "ullage", "_ULLAGE_COMPLETE").get_completions
    assert [i.value for i in complete([], "un")] == ["unload", "unpin", "undrain"]
    found = {i.value: i.help for i in complete([], "")}
    assert found.keys() == cli.commands.keys()
    assert found["why"] == "Say why a model is where it is, or was refused."


CODES = {
    NoDaemon("a"): 4,
    Timeout("a"): 7,
    BadAddress("a"): 2,
    Garbled("a"): 1,
    Refused(404, {"what": "model"}): 6,
    Refused(404, {}): 1,
    Refused(409, {}): 5,
    Refused(422, {}): 2,
    Refused(401, {}): 9,
    Refused(403, {"needs": "operate", "has": ["read"]}): 9,
    Refused(429, {}): 9,
    Refused(503, {}): 1,
}


@pytest.mark.parametrize(("error", "code"), CODES.items(), ids=lambda v: str(v))
def test_every_trouble_has_its_exit_code(error: NoDaemon, code: int) -> None:
    assert trouble(error).exit_code == code
    assert f"  {code}  " in EPILOG


def test_what_is_unknown_says_where_the_known_ones_are_listed() -> None:
    listed = {"model": "ullage models", "engine": "ullage engines", "pool": "ullage status"}
    for what, where in listed.items():
        assert trouble(Refused(404, {"what": what})).try_ == where
    older = trouble(Refused(404, {"detail": "there is nothing at /api/v1/sleep"}))
    assert "older than this command" in older.why[0]
    assert older.try_ == "ullage version"


def test_a_command_that_the_daemon_names_is_what_to_try() -> None:
    detail = "a is not loaded: o is drained; `ullage undrain o` ends it, or `ullage status`"
    assert trouble(Refused(409, {"detail": detail})).try_ == "ullage undrain o · ullage status"
    assert trouble(Refused(409, {"detail": "no"})).try_ == ""


def test_the_exit_codes_are_what_is_documented() -> None:
    names = ("FAILED", "WRONG", "INVALID", "NO_DAEMON", "REFUSED", "UNKNOWN", "LATE", "DEGRADED")
    assert [getattr(asking, name) for name in names] == list(range(1, 9))


def test_a_gpu_is_called_by_the_beginning_of_its_id() -> None:
    whole = "GPU-8f6f1c5e-7a42-4c1b-9d3e-2b1a0c9d8e7f"
    assert asking.said(f"6 GiB of {whole}, \x1b") == "6 GiB of GPU-8f6f1c5e, \\x1b"
    assert asking.said("MIG-" + whole[4:]) == "MIG-8f6f1c5e"
    assert asking.said("gpu:0 GPU-8f6f") == "gpu:0 GPU-8f6f"
