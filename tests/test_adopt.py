"""How Ullage takes an engine's place: what is found of it, and what is said to do."""

from __future__ import annotations

import json
import plistlib
import socket
import sys
import tomllib
from pathlib import Path

import pytest

from supervisor.cli.adopt_look import free_after, listening_at, look
from supervisor.cli.adopting import RECIPES, Seen, System, Way, text_of, way
from supervisor.config.config import load
from supervisor.engines import ENGINES
from tests.canned import nobody_at, running, state, ullage

OLLAMA = RECIPES["ollama"]
RUNS = Seen(("127.0.0.1",), 812, "ollama", "ollama.service")


def moved(seen: Seen = RUNS, system: System = System.LINUX, kind: str = "ollama") -> Way:
    recipe = RECIPES[kind]
    return way(recipe, seen, system, recipe.port, recipe.port + 1)


# -- what is said


def test_a_unit_gets_a_drop_in_that_comes_last():
    found = moved()
    assert found.drop_in == "[Service]\nEnvironment=OLLAMA_HOST=127.0.0.1:11435\n"
    assert found.path == "/etc/systemd/system/ollama.service.d/zz-ullage.conf"
    said = text_of(found, "Adopting Ollama")
    assert "On 127.0.0.1:11434 listens: ollama, pid 812, in ollama.service." in said
    assert f"ullage adopt ollama --print | sudo install -D -m 644 /dev/stdin {found.path}" in said
    assert said.index("systemctl restart ollama.service") < said.index("systemctl restart ullage")
    assert "Nothing is changed by this command" in said


def test_a_user_s_unit_is_the_user_s():
    found = moved(Seen(("127.0.0.1",), 5, "ollama", "ollama.service", of_user=True))
    assert found.path == "~/.config/systemd/user/ollama.service.d/zz-ullage.conf"
    lines = [line for step in found.steps for line in step.lines]
    assert "systemctl --user daemon-reload" in lines
    assert not [line for line in lines if "sudo" in line and "ullage.conf" in line]


@pytest.mark.parametrize(
    ("started", "drop_in"),
    [
        ("/opt/llama-server -m a.gguf --port 8080 -c 4096",
         "[Service]\nExecStart=\nExecStart=/opt/llama-server -m a.gguf --port 8081 -c 4096\n"),
        ("/opt/llama-server --port=8080",
         "[Service]\nExecStart=\nExecStart=/opt/llama-server --port=8081\n"),
        ("/opt/llama-server -m a.gguf", "[Service]\nEnvironment=LLAMA_ARG_PORT=8081\n"),
    ],
)  # fmt: skip
def test_a_flag_counts_more_than_a_variable(started, drop_in):
    seen = Seen(("127.0.0.1",), 9, "llama-server", "llama.service", started=started)
    assert moved(seen, kind="llamacpp").drop_in == drop_in


def test_an_engine_without_a_variable_gets_its_flag():
    seen = Seen(("127.0.0.1",), 9, "vllm", "vllm.service", started="/opt/vllm serve qwen")
    assert "ExecStart=/opt/vllm serve qwen --port 8001\n" in moved(seen, kind="vllm").drop_in
    assert moved(Seen(), kind="vllm").drop_in == "--port 8001\n"
    assert moved(Seen(), kind="llamaswap").drop_in == "--listen 127.0.0.1:8081\n"


def test_started_by_hand_it_is_started_otherwise():
    found = moved(Seen(("127.0.0.1",), 812, "ollama"))
    assert (found.drop_in, found.path) == ("OLLAMA_HOST=127.0.0.1:11435\n", None)


def test_a_container_keeps_its_port_inside():
    found = moved(Seen(("0.0.0.0", "::"), 3, "ollama", container=True))
    assert '- "127.0.0.1:11435:11434"' in found.drop_in
    assert found.path is None


def test_a_mac_gets_an_agent_that_sets_the_variable_at_each_start():
    found = moved(Seen(("127.0.0.1",), 4, "ollama"), System.MACOS)
    agent = plistlib.loads(found.drop_in.encode())
    words = ["launchctl", "setenv", "OLLAMA_HOST", "127.0.0.1:11435"]
    assert agent["ProgramArguments"] == words
    assert agent["RunAtLoad"] is True
    assert found.path == "~/Library/LaunchAgents/ullage.ollama.plist"


def test_windows_sets_the_variable():
    found = moved(Seen(("127.0.0.1",)), System.WINDOWS)
    assert found.drop_in == "setx OLLAMA_HOST 127.0.0.1:11435\n"


def test_lm_studio_is_told_by_its_own_command():
    assert "lms server start --port 1235" in moved(Seen(), kind="lmstudio").drop_in


def test_whoever_is_reached_from_elsewhere_is_told_of_the_token():
    seen = Seen(("0.0.0.0",), 812, "ollama", "ollama.service", said="0.0.0.0")
    found = moved(seen)
    assert "OLLAMA_HOST=0.0.0.0" in found.found
    assert "ullage token NAME" in found.notes[0]
    assert "ullage token" not in " ".join(moved().notes)


@pytest.mark.parametrize(
    ("seen", "text"),
    [
        (Seen(), "Nobody listens on port 11434 of this machine now."),
        (Seen(unit="ollama.service"), "now; ollama.service is installed."),
        (Seen(("127.0.0.1",), ours=True), "Ullage's gateway listens on port 11434 already"),
        (Seen(("::1",)), "On [::1]:11434 listens: Ollama."),
    ],
)
def test_it_says_what_there_is(seen, text):
    assert text in moved(seen).found


def test_somebody_else_at_its_port_is_wondered_at():
    assert "nginx" in " ".join(moved(Seen(("127.0.0.1",), 1, "nginx")).notes)
    assert "By its name" not in " ".join(moved().notes)


@pytest.mark.parametrize("kind", sorted(RECIPES))
@pytest.mark.parametrize("system", System)
def test_the_lines_for_the_configuration_are_one_that_loads(kind, system, tmp_path):
    recipe = RECIPES[kind]
    assert kind in ENGINES
    assert recipe.port in ENGINES[kind].ports
    found = moved(Seen(name="my engine" if kind == "vllm" else None), system, kind)
    assert found.drop_in.endswith("\n")
    file = tmp_path / "ullage.toml"
    file.write_text(found.config.replace("my engine", "mine"))
    config = load(file, {}, {}, kinds=frozenset(ENGINES))
    assert config.gateway.port == recipe.port
    (engine,) = config.engines
    assert (engine.kind, engine.url) == (kind, f"http://127.0.0.1:{recipe.port + 1}")


# -- what is found


def fake_machine(root: Path, *, group: str, environ: bytes = b"", unit: str = "") -> None:
    mine = root / "proc/812"
    mine.mkdir(parents=True)
    (mine / "cmdline").write_bytes(b"/usr/local/bin/ollama\0serve\0")
    (mine / "comm").write_text("ollama\n")
    (mine / "cgroup").write_text(f"0::{group}\n")
    (mine / "environ").write_bytes(environ)
    (mine / "stat").write_text("812 (ollama) S 1 1 1\n")
    if unit:
        folder = root / "etc/systemd/system"
        (folder / "ollama.service.d").mkdir(parents=True)
        (folder / "ollama.service").write_text(unit)


def found_in(root: Path) -> Seen:
    return look(OLLAMA, 11434, root=root, listening=lambda port: ("127.0.0.1",))


linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@linux
def test_a_unit_is_known_by_its_control_group_and_its_files(tmp_path):
    unit = "[Service]\nExecStart=/usr/local/bin/ollama \\\n  serve\nEnvironment=PATH=/bin\n"
    fake_machine(tmp_path, group="/system.slice/ollama.service", unit=unit)
    drops = tmp_path / "etc/systemd/system/ollama.service.d"
    (drops / "override.conf").write_text('[Service]\nEnvironment="OLLAMA_HOST=0.0.0.0"\n')
    (drops / "a.conf").write_text("[Service]\nEnvironment=OLLAMA_HOST=10.0.0.1\n")
    seen = found_in(tmp_path)
    assert (seen.pid, seen.program, seen.unit) == (812, "ollama", "ollama.service")
    assert not seen.of_user
    assert seen.started == "/usr/local/bin/ollama serve"
    assert seen.said == "0.0.0.0"


@linux
def test_what_its_process_was_told_counts_more_than_the_unit(tmp_path):
    unit = "[Service]\nExecStart=/x\nEnvironment=OLLAMA_HOST=10.0.0.1\n"
    group = "/user.slice/user-1000.slice/user@1000.service/app.slice/ollama.service"
    fake_machine(tmp_path, group=group, environ=b"A=1\0OLLAMA_HOST=0.0.0.0:11434\0", unit=unit)
    seen = found_in(tmp_path)
    assert seen.said == "0.0.0.0:11434"
    assert (seen.unit, seen.of_user) == ("ollama.service", True)


@linux
@pytest.mark.parametrize(
    ("group", "container"),
    [("/system.slice/docker-0a1b2c.scope", True), ("/user.slice/session-1.scope", False)],
)
def test_a_container_is_known_by_its_control_group(tmp_path, group, container):
    fake_machine(tmp_path, group=group)
    seen = found_in(tmp_path)
    assert (seen.unit, seen.container) == (None, container)


@linux
def test_where_nothing_runs_an_installed_unit_is_found(tmp_path):
    (tmp_path / "proc").mkdir()
    units = tmp_path / "usr/lib/systemd/system"
    units.mkdir(parents=True)
    (units / "ollama.service").write_text("[Service]\nExecStart=/usr/bin/ollama serve\n")
    seen = look(OLLAMA, 11434, root=tmp_path, listening=lambda port: ())
    assert (seen.pid, seen.addresses, seen.unit) == (None, (), "ollama.service")


def test_who_listens_is_seen_and_the_next_free_port_found():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert "127.0.0.1" in listening_at(port)
        assert free_after(port - 1) != port
    assert free_after(100, lambda port: ["127.0.0.1"] if port < 104 else []) == 104


# -- the command


def test_the_command_says_it_in_steps():
    with nobody_at() as url:
        said = ullage("adopt", "ollama", "--url", url)
    assert said.exit_code == 0
    assert [line[:2] for line in said.stdout.splitlines() if line[:1].isdigit()] == [
        "1.", "2.", "3.", "4.",
    ]  # fmt: skip


def test_print_is_the_file_alone_and_json_is_all_of_it():
    with nobody_at() as url:
        bare = ullage("adopt", "vllm", "--print", "--to", "9000", "--url", url)
        whole = ullage("adopt", "vllm", "--json", "--to", "9000", "--port", "8100", "--url", url)
    assert bare.stdout.splitlines()[-1].endswith("--port 9000")
    document = json.loads(whole.stdout)
    assert (document["engine"], document["port"], document["to"]) == ("vllm", 8100, 9000)
    assert tomllib.loads(document["config"])["gateway"] == {"port": 8100}


def test_a_gateway_that_is_there_already_is_said():
    with running() as daemon:
        gateway = {"addresses": ["http://127.0.0.1:11434"], "fault": None}
        daemon.say("/api/v1/state", state(gateway=gateway))
        said = ullage("adopt", "ollama", "--url", daemon.address)
    assert "Ullage's gateway listens on port 11434 already" in said.stdout


def test_an_engine_that_it_does_not_know_is_a_mistake():
    with nobody_at() as url:
        said = ullage("adopt", "olama", "--url", url)
    assert said.exit_code == 2
    assert "ollama" in said.stderr
    assert ullage("adopt", "ollama", "--to", "11434", "--url", url).exit_code == 2
