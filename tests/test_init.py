"""`ullage init`: what it finds becomes a configuration that is valid, whatever is used of it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.machine import Machine
from collectors.reading import RAM, Device, MemoryPool, PoolId, PoolKind, gib
from supervisor.cli import init as init_cli
from supervisor.cli import init_look, symptoms
from supervisor.cli.client import Client
from supervisor.cli.starter import Memory, Named, named, text
from supervisor.config.config import load
from supervisor.engines import ENGINES
from supervisor.engines.detect import Found
from tests.canned import running, state, ullage
from tests.documents import REFERENCE
from tests.engines.fake import FakeOllama
from tests.others import SERVICE, acting_as, folder_of_others

GPU = PoolId("GPU-8f6f1c5e-7a42-4c1b-9d3e-2b1a0c9d8e7f")
CARD = "NVIDIA GeForce RTX 3090"
POOLS = [Memory("ram", "RAM", gib(62), gib(7)), Memory(str(GPU), CARD, gib(24), gib(0.5))]
ENGINES_HERE = named(
    [
        ("ollama", "http://127.0.0.1:11434", "0.9.1"),
        ("vllm", "http://127.0.0.1:8000", None),
        ("vllm", "http://127.0.0.1:8001/", "0.10"),
    ]
)


def read(content: str, folder: Path) -> Any:
    file = folder / "a.toml"
    file.write_text(content)
    return load(file, {"HOME": str(folder)}, {}, kinds=frozenset(ENGINES))


# -- what is written


def test_engines_of_one_kind_have_names_of_their_own() -> None:
    assert [e.name for e in ENGINES_HERE] == ["ollama", "vllm-8000", "vllm-8001"]


@pytest.mark.parametrize("engines", [ENGINES_HERE, []], ids=["found", "none"])
@pytest.mark.parametrize("pools", [POOLS, []], ids=["pools", "blind"])
def test_what_is_written_is_valid_and_changes_nothing_but_the_engines(
    engines: list[Named], pools: list[Memory], tmp_path: Path
) -> None:
    config = read(text(engines, pools), tmp_path)
    assert [(e.id, e.kind, e.url) for e in config.engines] == [
        (e.name, e.kind, e.url.rstrip("/")) for e in engines
    ]
    (tmp_path / "empty").mkdir()
    usual = read("", tmp_path / "empty")
    assert config.policy.ranking == usual.policy.ranking
    assert (config.mode, config.listen_port, config.gateway.port) == (
        usual.mode,
        usual.listen_port,
        usual.gateway.port,
    )
    assert config.policy.pools == usual.policy.pools


@pytest.mark.parametrize("engines", [ENGINES_HERE, []], ids=["found", "none"])
def test_every_line_that_is_commented_out_may_be_used(engines: list[Named], tmp_path: Path) -> None:
    (tmp_path / "token").write_text("0123456789abcdef")
    (tmp_path / "token").chmod(0o600)
    lines = text(engines, POOLS).splitlines()
    used = [re.sub(r"^#(?=\[|[a-z_]+ = )", "", line) for line in lines]
    assert sum(a != b for a, b in zip(lines, used, strict=True)) >= 18
    config = read("\n".join(used), tmp_path)
    assert config.token == "0123456789abcdef"
    assert config.policy.pools[GPU].reserve is not None
    assert config.policy.models["ollama/NAME"].pinned


def test_it_says_what_was_found_and_no_line_is_too_long() -> None:
    page = text(ENGINES_HERE, POOLS)
    assert "# Memory: RAM 62.0 GiB; NVIDIA GeForce RTX 3090 24.0 GiB" in page
    assert "[engines.ollama]  # 0.9.1" in page
    assert max(map(len, page.splitlines())) <= 100


@given(st.text(max_size=40), st.text(min_size=1, max_size=40))
def test_names_of_strangers_cannot_leave_their_line(version: str, card: str) -> None:
    import tomllib

    engines = [Named("a", "ollama", "http://127.0.0.1:1", version)]
    tree = tomllib.loads(text(engines, [Memory("x\n[y", card, gib(1), gib(1))]))
    assert tree["engines"] == {"a": {"kind": "ollama", "url": "http://127.0.0.1:1"}}
    assert tree.keys() == {"watchdog", "listen", "gateway", "engines"}


# -- the command


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Found]:
    """A machine with a GPU and an engine, and a home of its own. Returns the engines."""
    for name in list(os.environ):
        if name.startswith("ULLAGE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("ULLAGE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    machine = Machine(
        pools=(
            MemoryPool(PoolId(RAM), PoolKind.HOST, gib(62), gib(30)),
            MemoryPool(GPU, PoolKind.DEDICATED, gib(24), gib(20)),
        ),
        devices=(Device(str(GPU), GPU, CARD, 0, "nvidia"),),
        notes=("a note",),
    )
    found = [Found("ollama", "http://127.0.0.1:11434", "0.9.1")]
    monkeypatch.setattr(symptoms, "machine", lambda: machine)
    monkeypatch.setattr(init_look, "engines", lambda ours=(): found)
    return found


def test_it_is_written_where_run_looks_and_says_what_comes_next(tmp_path: Path) -> None:
    result = ullage("init")
    assert (result.exit_code, result.stderr) == (0, "")
    place = tmp_path / "home/ullage/ullage.toml"
    assert result.stdout.splitlines() == [
        "found: RAM, 62.0 GiB (ram)",
        f"found: {CARD}, 24.0 GiB (GPU-8f6f1c5e)",
        "found: ollama at http://127.0.0.1:11434, 0.9.1",
        "note:  a note",
        f"written: {place}",
        "as usual, until you say otherwise: mode enforce, no limits, no timers, on loopback",
        "next: ullage run · ullage status · ullage doctor",
    ]
    config = load(None, dict(os.environ), {}, kinds=frozenset(ENGINES))
    assert config.sources["engines.ollama.url"] == f"file {place}"
    assert os.listdir(place.parent) == ["ullage.toml"]
    assert "\n## Settings\n" in REFERENCE.read_text()
    assert "Every other setting is in\n# deploy/reference.md;" in place.read_text()


@pytest.fixture
def umask() -> Iterator[Callable[[int], int]]:
    """Sets it, and puts back what it was."""
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


def test_its_mode_is_what_the_umask_leaves_of_0644(
    tmp_path: Path, umask: Callable[[int], int]
) -> None:
    for mask, left in ((0o022, 0o644), (0o002, 0o644), (0o027, 0o640), (0o077, 0o600)):
        umask(mask)
        assert ullage("init", "--force", "--output", "a.toml").exit_code == 0
        assert stat.S_IMODE((tmp_path / "a.toml").stat().st_mode) == left


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_what_root_writes_can_be_read_by_the_service_s_own_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, umask: Callable[[int], int], mask: int
) -> None:
    """That exists while the service runs only, and is in no group of root's."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    umask(mask)
    place = tmp_path / "etc/ullage/ullage.toml"
    assert ullage("init", "--yes", "--output", str(place)).exit_code == 0
    assert stat.S_IMODE(place.stat().st_mode) == 0o644
    assert stat.S_IMODE(place.parent.stat().st_mode) == 0o755
    assert umask(mask) == mask  # and what else is written is as private as before


def test_a_file_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    mine = tmp_path / "my.toml"
    mine.write_text("# mine\n")
    result = ullage("init", "--output", "my.toml")
    assert (result.exit_code, result.stdout, mine.read_text()) == (1, "", "# mine\n")
    assert "is there already" in result.stderr
    assert "--force" in result.stderr
    assert ullage("init", "--output", "my.toml", "--json").exit_code == 1
    assert mine.read_text() == "# mine\n"
    result = ullage("init", "--output", "my.toml", "--force")
    assert result.exit_code == 0
    assert "the old one is my.toml.bak" in result.stdout
    assert (tmp_path / "my.toml.bak").read_text() == "# mine\n"
    assert "[engines.ollama]" in mine.read_text()


def test_a_dash_shows_it_and_writes_nothing(tmp_path: Path) -> None:
    result = ullage("init", "--output", "-")
    assert result.exit_code == 0
    assert read(result.stdout, tmp_path).engines[0].id == "ollama"
    assert "found: ollama" in result.stderr
    assert sorted(os.listdir(tmp_path)) == ["a.toml"]


def test_as_json_it_tells_all_that_was_found(tmp_path: Path) -> None:
    found = json.loads(ullage("init", "--json").stdout)
    assert found["file"] == str(tmp_path / "home/ullage/ullage.toml")
    assert Path(found["file"]).read_text() == found["config"]
    assert [e["url"] for e in found["engines"]] == ["http://127.0.0.1:11434"]
    assert [p["id"] for p in found["pools"]] == ["ram", str(GPU)]
    shown = json.loads(ullage("init", "--json", "--output", "-").stdout)
    assert (shown["file"], shown["config"]) == (None, found["config"])


def test_without_an_engine_it_says_that_one_is_found_later(here: list[Found]) -> None:
    here.clear()
    assert "found no engine" in ullage("init", "--output", "-").stderr


def test_a_file_that_run_would_not_take_is_named_to_it(tmp_path: Path) -> None:
    assert "next: ullage run --config 'a b.toml'" in ullage("init", "--output", "a b.toml").stdout
    (tmp_path / "ullage.toml").write_text("")  # which run takes before any other
    assert "next: ullage run --config" in ullage("init").stdout


def test_the_file_that_the_environment_names_is_the_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ULLAGE_CONFIG", str(tmp_path / "x.toml"))
    assert "next: ullage run ·" in ullage("init").stdout
    assert (tmp_path / "x.toml").exists()


def test_root_writes_the_systems_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert init_cli._place() == Path("/etc/ullage/ullage.toml")


def test_a_place_that_cannot_be_written_is_trouble(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = ullage("init", "--output", str(tmp_path / "file/x.toml"))
    assert result.exit_code == 1
    assert "cannot be written" in result.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="another account takes root")
def test_a_place_that_is_closed_to_us_is_trouble_as_well(tmp_path: Path) -> None:
    with folder_of_others() as closed, acting_as(SERVICE):
        result = ullage("init", "--output", str(closed / "ullage.toml"))
    assert (result.exit_code, result.exception.__class__) == (1, SystemExit)
    assert "ullage.toml cannot be written" in result.stderr
    assert "Permission denied" in result.stderr


# -- who is found


def test_the_gateway_of_a_daemon_is_no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    with running() as daemon:
        gateway = {"addresses": ["http://127.0.0.1:11434", "unix:/run/x.sock"]}
        daemon.say("/api/v1/state", state(gateway=gateway))
        ours = init_cli._ours(Client(daemon.address))
    assert ours == ("http://127.0.0.1:11434", "unix:/run/x.sock")
    assert init_cli._ours(Client("http://127.0.0.1:1")) == ()


def test_engines_are_asked_what_they_are_and_what_they_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()

    async def story() -> None:
        async with FakeOllama(["a"]) as server:
            server.take("a")
            monkeypatch.setattr(init_look, "usual", lambda: [server.url, "http://127.0.0.1:1"])
            found, advice = await init_look._both()
            assert [(f.kind, f.url) for f in found] == [("ollama", server.url)]
            assert [a.about for a in advice] == ["ollama/a"]
            assert await init_look._engines((server.url,)) == []

    asyncio.run(story())
