"""What is written is true: commands, paths, numbers and examples of the documents."""

from __future__ import annotations

import functools
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from collectors.__main__ import _parser as collectors
from supervisor import __version__
from supervisor.cli import asking, client
from supervisor.cli.main import EPILOG, cli
from supervisor.config.config import load
from supervisor.config.settings import SETTINGS
from supervisor.core.activity import LOOK_AGAIN
from supervisor.core.patience import Patience
from supervisor.core.policy import ACCELERATOR_RESERVE, HOST_RESERVE, Policy
from supervisor.core.verdict import ENOUGH
from supervisor.core.watch import Kind
from supervisor.distrust import DISTRUST
from supervisor.engines import ENGINES
from supervisor.web.server import application
from tests.documents import (
    CHANGELOG,
    DESIGN,
    GUIDES,
    README,
    REFERENCE,
    ROOT,
    blocks,
    lines_of_shell,
    name,
    prose,
    section,
    spans,
)
from tests.web.fakes import World, site

DEFAULTS = {s.key: s.default for s in SETTINGS}


def commands(path: Path) -> list[list[str]]:
    """Every `ullage ...` in a document, as its words after `ullage`."""
    found = []
    for line in lines_of_shell(path):
        first, *rest = line.replace("…", "").split() or [""]
        if rest and (first == "ullage" or first.endswith("/ullage")):
            found.append(shlex.split(" ".join(rest), comments=True))
    return found


def understood(words: list[str]) -> str | None:
    """What is wrong with the arguments of `ullage`, by the parser of the command itself."""
    command: click.Command = cli
    if words and not words[0].startswith("-"):
        if words[0] not in cli.commands:
            return f"there is no command {words[0]}"
        command = cli.commands[words[0]]
    if isinstance(command, click.Group) and command != cli:
        words = words[1:]
        if not words:
            return None
        if words[0] not in command.commands:
            return f"{command.name} has no command {words[:1]}"
        command = command.commands[words[0]]
    try:
        _, rest, _ = command.make_parser(
            click.Context(command, **command.context_settings)
        ).parse_args(words[command != cli :])
    except click.UsageError as error:
        return error.format_message()
    return f"too much: {rest}" if rest else None


def flags_of(command: click.Command) -> set[str]:
    found = {o for p in command.params if isinstance(p, click.Option) for o in p.opts}
    if isinstance(command, click.Group) and command != cli:
        found |= set().union(*map(flags_of, command.commands.values()))
    return found


# -- commands


@pytest.mark.parametrize("path", GUIDES, ids=name)
def test_every_command_that_is_shown_is_understood(path):
    wrong = {shlex.join(words): said for words in commands(path) if (said := understood(words))}
    assert wrong == {}


@pytest.mark.parametrize("words", ["dance", "status --loud", "evict --free", "models a"])
def test_a_command_that_would_fail_is_found(words):
    assert understood(words.split()) is not None


def test_the_readme_has_every_command_with_flags_that_it_takes():
    rows = re.findall(
        r"^\| (`ullage .*?) \| (.*) \|$", section(README, "What you get"), re.MULTILINE
    )
    shown = {words[0] for words in commands(README)}
    assert shown == set(cli.commands)
    second = {"unpin", "resume", "continue", "undrain", "wake"}  # they stand beside another
    assert {spans(row)[0].split()[1] for row, _ in rows} == shown - second - {"run"}
    for row, text in rows:
        takes = flags_of(cli.commands[spans(row)[0].split()[1]])
        assert {w for s in spans(text) for w in s.split() if w.startswith("-")} <= takes


@pytest.mark.parametrize("path", GUIDES, ids=name)
def test_every_flag_that_stands_alone_exists(path):
    known = set().union(*map(flags_of, cli.commands.values()), flags_of(cli))
    known |= set(collectors().format_help().split())
    alone = {s.split()[0] for s in spans(path.read_text()) if s.startswith("--")}
    assert alone <= known


def test_what_prints_data_takes_json():
    assert "Every command that prints data takes `--json`." in prose(README)
    without = {n for n, command in cli.commands.items() if "--json" not in flags_of(command)}
    assert without == {"run", "demo", "completion", "top"}


def test_every_module_that_is_to_be_run_exists():
    text = "".join(p.read_text() for p in (README, DESIGN, ROOT / "Makefile", *GUIDES))
    modules = set(re.findall(r"python3? -m ([a-z]\w*(?:\.\w+)*)", text))
    assert modules > {"collectors", "benchmarks", "deploy.tables", "grafana.build"}
    for module in modules - {"pip", "venv", "pytest", "hatchling"}:
        path = ROOT.joinpath(*module.split("."))
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module


def test_the_machine_alone_can_be_printed_as_json():
    assert "`python -m collectors` (also with `--json`)" in prose(README)
    asked = [sys.executable, "-m", "collectors", "--help"]
    assert "--json" in subprocess.run(asked, cwd=ROOT, capture_output=True, text=True).stdout


@pytest.mark.parametrize("path", [*GUIDES, DESIGN, ROOT / "Makefile", ROOT / ".ci/run"], ids=name)
def test_every_make_target_that_is_named_exists(path):
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z][\w-]*):", makefile, re.MULTILINE))
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony is not None
    assert set(phony[1].split()) == targets
    text = path.read_text()
    if path.suffix in (".md", ".toml"):
        text = "\n".join(lines_of_shell(path))
    assert set(re.findall(r"^(?:# )?make ([a-z][\w-]*)", text, re.MULTILINE)) <= targets


def test_three_sentences_are_followed_by_the_two_commands_and_the_checks_run_the_second():
    title, first, rest = README.read_text().split("\n\n", 2)
    assert title == "# Ullage"
    assert len(re.findall(r"[.!?](?=\s|$)", first)) == 3
    assert rest.startswith("```sh\n")
    _, text = blocks(README)[0]
    assert [line.split("#")[0].strip() for line in text.splitlines()] == ["make run", "make test"]
    assert (ROOT / ".ci/run").read_text().splitlines()[-1] == "make test"
    assert os.access(ROOT / ".ci/run", os.X_OK)


def test_the_exit_codes_are_those_of_the_command_line():
    told = re.findall(r"^\| (\d) \| (.*) \|$", section(README, "Exit codes"), re.MULTILINE)
    assert told == re.findall(r"^  (\d)  (.*)$", EPILOG, re.MULTILINE)
    assert [int(code) for code, _ in told] == list(range(asking.DENIED + 1))


# -- examples, requests, numbers


def examples() -> Iterator[tuple[str, str]]:
    for path in (*GUIDES, DESIGN):
        yield from ((name(path), text) for language, text in blocks(path) if language == "toml")
    example = (ROOT / "deploy/ullage.example.toml").read_text()
    yield "deploy/ullage.example.toml", example
    used = re.sub(r"(?m)^#(?=[a-z\[])", "", example)
    # A secret is given as itself or in a file.
    yield (
        "the same in use",
        re.sub(r"(?m)^(token_file|ca_file|key_file|tls_cert|tls_key) = .*$", "", used),
    )


@pytest.mark.parametrize(("where", "text"), [*examples()], ids=lambda v: v.split("\n")[0])
def test_every_example_of_a_configuration_loads(where, text, tmp_path):
    file = tmp_path / "ullage.toml"
    file.write_text(text)
    assert load(file, {}, {}, kinds=frozenset(ENGINES), places=[]).sources


def test_the_requests_of_the_reference_are_the_routes():
    served = {
        (method, re.sub(r"\{(\w+)[^}]*\}", lambda m: m[1].upper(), route.path))
        for route in application(site(World())).routes
        for method in (route.methods or set()) - {"HEAD"}
        if method != "PUT" or "POST" not in route.methods  # the same by another name
    }
    text = section(README, "HTTP") + section(REFERENCE, "Requests")  # pages, and the API
    told = [s.split("?")[0].split() for s in spans(text)]
    methods = ("GET", "POST", "PUT", "DELETE")
    assert {(w[0], w[1]) for w in told if len(w) == 2 and w[0] in methods} == served


def test_the_numbers_of_the_prose_are_those_of_the_code():
    policy, patience = Policy(), Patience()
    ports = {kind: engine.ports[0] for kind, engine in ENGINES.items() if engine.ports}
    least = f"{ACCELERATOR_RESERVE.size / 2**20:g} MiB"
    assert HOST_RESERVE.size == 0
    said = [
        f"Port {DEFAULTS['listen.port']} on {DEFAULTS['listen.host']}",
        f"(Ollama on {ports['ollama']}, llama.cpp on {ports['llamacpp']},",
        f"vLLM on {ports['vllm']} and",
        f"larger of {least} and {100 * ACCELERATOR_RESERVE.fraction:g} % of an accelerator",
        f"{100 * HOST_RESERVE.fraction:g} % of host or unified RAM",
        f"Below it for {policy.grace:g} s, or below half of it at once",
        f"restores it and {policy.restore_margin / 2**20:g} MiB more",
        f"asks again each second, {patience.tries} times",
    ]
    assert [text for text in said if text not in prose(README)] == []
    assert (DEFAULTS["sample_interval"], patience.interval) == ("1s", 1)
    for path in (README, DESIGN):
        assert "less than three quarters of its promise" in prose(path)
        assert "five minutes" in prose(path)
    assert (ENOUGH, DISTRUST) == (0.75, 300)
    assert "has not moved is asked once a minute" in prose(DESIGN)
    assert LOOK_AGAIN == 60
    assert "or 5 s are over" in prose(DESIGN)
    assert DEFAULTS["settle.timeout"] == "5s"
    assert client.DEFAULT_URL.endswith(f":{DEFAULTS['listen.port']}")


def test_the_readme_tells_of_every_finding_and_of_no_other():
    text = README.read_text()
    table = text[text.index("| finding | what is wrong |") :].split("\n\n")[0]
    told = [
        word for row in table.splitlines() for word in re.findall(r"`(\w+)`", row.split("|")[1])
    ]
    assert sorted(told) == sorted(kind.value for kind in Kind)


def test_the_latest_version_of_the_changelog_is_this_one():
    assert re.findall(r"^## (\S+)", CHANGELOG.read_text(), re.MULTILINE)[0] == __version__


# -- paths


@functools.cache
def files() -> list[Path]:
    """What the project consists of; not what somebody keeps beside it."""
    tops = (".ci", "benchmarks", "collectors", "deploy", "grafana", "supervisor", "tests")
    inside = [p for top in tops for p in (ROOT / top).rglob("*") if p.is_file()]
    above = [*ROOT.glob("*.md"), ROOT / "Makefile", ROOT / "pyproject.toml", ROOT / "LICENSE"]
    return [p for p in (*inside, *above) if "__pycache__" not in p.parts]


@pytest.mark.parametrize("path", [p for p in [*GUIDES, DESIGN] if p.suffix == ".md"], ids=name)
def test_every_path_and_link_that_is_named_exists(path):
    text = path.read_text().partition("## 8. Yet to be built")[0]
    links = [t for t in re.findall(r"\]\(([^)#]+)[^)]*\)", text) if "://" not in t]
    assert [t for t in links if not (path.parent / t).exists()] == []
    ours = {f"/{name(p)}" for p in files()}
    ours |= {
        f"/{name(q)}/" for q in {q for p in files() for q in p.parents} if q.is_relative_to(ROOT)
    }
    named = [
        s for s in spans(text) if re.fullmatch(r"\w[\w./-]*(\.(py|md|toml|json|service)|/)", s)
    ]
    assert [s for s in named if not any(p.endswith(f"/{s}") for p in ours)] == []


@pytest.mark.parametrize("path", [p for p in [*GUIDES, DESIGN] if p.suffix == ".md"], ids=name)
def test_every_test_that_is_named_exists(path):
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", path.read_text())
    assert [w for f, w in named if not re.search(rf"def {w}\b", (ROOT / f).read_text())] == []


def test_what_is_yet_to_be_built_is_not_there():
    named = re.findall(r"[\w/]+\.py", section(DESIGN, "8. Yet to be built"))
    assert [s for s in named if (ROOT / "supervisor" / s).exists()] == []


def rooms() -> list[str]:
    """Files and folders of the tree in DESIGN.md: names end where two blanks are, or a word."""
    found, above = [], list[tuple[int, str]]()
    for line in blocks(DESIGN)[0][1].splitlines():
        depth = len(line) - len(line.lstrip())
        above = [(d, folder) for d, folder in above if d < depth]
        for word in line.split():
            if not re.fullmatch(r"[\w/]+(\.py|/)", word):
                break
            path = "".join(folder for _, folder in above) + word
            found.append(path)
            if word.endswith("/"):
                above.append((depth, word))
    return found


def test_the_tree_of_rooms_is_the_one_on_disk():
    found = rooms()
    assert len(found) == len(set(found))
    assert [room for room in found if not (ROOT / room).exists()] == []
    modules = {name(p) for p in files() if p.suffix == ".py" and "tests" not in p.parts}
    modules = {m for m in modules if m.startswith(("collectors/", "supervisor/"))}
    modules = {m for m in modules if not m.endswith("/__init__.py")}
    assert modules - set(found) == set()


def test_no_file_tells_of_a_developer_s_machine():
    somebody_s = re.compile(r"(?<![\w.])/(home|Users|root|work|tmp)/\w")
    texts = [p for p in files() if p.suffix not in (".gguf", ".so", ".png")]
    assert [name(p) for p in texts if somebody_s.search(p.read_text(errors="replace"))] == []
