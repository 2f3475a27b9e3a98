"""`ullage doctor`, beside a daemon, far from one, and without any."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from collectors.machine import Machine
from collectors.reading import RAM, Device, Holder, MemoryPool, PoolId, PoolKind, gib
from supervisor.cli import init_look, symptoms
from supervisor.cli.client import Client
from supervisor.cli.killers import Killer
from supervisor.doctor import Advice
from supervisor.engines.detect import Found
from tests.canned import Daemon, engine, pool, running, state, ullage

GPU = PoolId("GPU-aaaa")
ADVICE = {"about": "ollama", "what": "it unloads\x1b[2J after 5 min", "remedy": "set KEEP=-1"}
HOST = {"pids": frozenset({1, 7}), "own_pids": False, "killers": (), "files": 65536,
        "listening": (("127.0.0.1", 11434),), "cards": 1, "ram": gib(64)}  # fmt: skip
METRICS = "# TYPE ullage_clock_steps_total counter\nullage_clock_steps_total 2.0\n"


def machine() -> Machine:
    return Machine(
        pools=(MemoryPool(PoolId(RAM), PoolKind.HOST, gib(64), gib(30)),),
        devices=(Device("GPU-aaaa", GPU, "NVIDIA RTX 4090", 0, "nvidia"),),
        holders=(Holder(7, GPU, gib(1)),),
    )


@pytest.fixture(autouse=True)
def this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """All of it made of values. Changed by what is put into the mapping."""
    for name in list(os.environ):
        if name.startswith("ULLAGE_") or name == "NO_COLOR":
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    host = dict(HOST)
    monkeypatch.setattr(symptoms, "of_host", lambda port=None: host)
    monkeypatch.setattr(symptoms, "machine", machine)
    return host


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Daemon]:
    with running() as found:
        monkeypatch.setenv("ULLAGE_URL", found.address)
        found.say("/api/v1/doctor", {"advice": []})
        device = {"name": "NVIDIA RTX 4090", "kind": "gpu"}
        pools = [pool("ram", "RAM", 64, 30, reserve=7.5)]
        engines = [engine("ollama", 11434, "1")]
        version = ullage("version", "--json")
        mine = json.loads(version.stdout)["version"]
        found.say(
            "/api/v1/state",
            state(version=mine, devices=[device], pools=pools, engines=engines),
        )
        rows = [
            {"key": "listen.host", "value": "127.0.0.1", "source": "default"},
            {"key": "relief_grace", "value": "10s", "source": "default"},
            {"key": "state_dir", "value": str(tmp_path), "source": "default"},
        ]
        found.say("/api/v1/settings", {"settings": rows})
        found.says["/metrics"] = (200, "text/plain", METRICS.encode())
        yield found


def statuses(result: Any) -> dict[str, str]:
    return {c["about"]: c["status"] for c in json.loads(result.stdout)["checks"]}


def test_where_all_is_well_it_says_so_and_ends_with_zero(daemon: Daemon) -> None:
    result = ullage("doctor")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[-1] == "all is well"
    assert all(line.startswith("ok    ") for line in lines[:-1])
    assert "ok    driver: NVIDIA RTX 4090" in lines
    assert "ok    engine ollama: it listens on loopback alone, port 11434" in lines
    assert any("set 2 times while the daemon ran" in line for line in lines)
    assert ullage("doctor", "--quiet").stdout == ""


def test_what_is_wrong_is_told_with_what_to_do_and_an_exit_code_of_its_own(
    daemon: Daemon, this_machine: dict[str, Any]
) -> None:
    daemon.say("/api/v1/doctor", {"advice": [ADVICE]})
    this_machine["listening"] = (("0.0.0.0", 11434),)
    this_machine["killers"] = (Killer("earlyoom", 15.0),)
    result = ullage("doctor", "-q")
    assert (result.exit_code, result.stderr) == (8, "")
    lines = result.stdout.splitlines()
    assert lines[0].startswith("warn  engine ollama: it listens on all addresses, port 11434")
    assert lines[1].startswith("      to do: OLLAMA_HOST=127.0.0.1")
    assert lines[2].startswith("warn  earlyoom: it kills below 9.6 GiB of available RAM")
    assert lines[4:] == [
        "warn  ollama: it unloads\\x1b[2J after 5 min",
        "      to do: set KEEP=-1",
        "3 things to do",
    ]


@pytest.mark.parametrize("older", [True, False])
def test_what_alerts_may_do_is_taken_from_the_settings_and_who_sends_them_from_the_state(
    daemon: Daemon, older: bool
) -> None:
    keys = ("listen.tokens.am.sha256", 'listen.tokens."a.b".sha256', "alerts.limit")
    rows = [{"key": key, "value": "set", "source": "default"} for key in keys]
    daemon.say("/api/v1/settings", {"settings": rows})
    said = json.loads(daemon.says["/api/v1/state"][2])
    scopes = ["alerts:write"]
    token = {
        "name": "am",
        "scopes": scopes,
        "expires": said["now"] + 9,
        "requests": 0,
        "used_at": None,
    }
    callers = {"tokens": [token], "refused": {}, "alert_refused_at": said["now"] - 60}
    daemon.say("/api/v1/state", {**said, **({} if older else {"callers": callers})})
    assert "warn  alerts: token a.b may send alerts, and none" in ullage("doctor").stdout
    rows.append({"key": "alerts.actions.make-room.action", "value": "evict", "source": "default"})
    daemon.say("/api/v1/settings", {"settings": rows})
    out = ullage("doctor").stdout
    assert "ok    alerts: they may cause 1 action, and are sent with a.b, am" in out
    assert ("alerts: token am expires in 9.0 s" in out) is not older
    assert ("alerts: one was refused 60 s ago for its token" in out) is not older


def test_as_json_every_check_is_told(daemon: Daemon, this_machine: dict[str, Any]) -> None:
    result = ullage("doctor", "--json")
    assert (result.exit_code, json.loads(result.stdout)["ok"]) == (0, True)
    this_machine["own_pids"] = True
    result = ullage("doctor", "--json")
    found = json.loads(result.stdout)
    assert (result.exit_code, found["ok"]) == (8, False)
    (wrong,) = [c for c in found["checks"] if c["status"] != "ok"]
    assert wrong.keys() == {"about", "status", "what", "remedy"}
    assert "pid: host" in wrong["remedy"]


def test_pids_that_the_driver_alone_knows_are_found_beside_a_daemon(
    daemon: Daemon, this_machine: dict[str, Any]
) -> None:
    this_machine["pids"] = frozenset({1})
    assert statuses(ullage("doctor", "--json"))["processes"] == "fail"


def test_metrics_that_cannot_be_had_cost_nobody_else_s_answer(daemon: Daemon) -> None:
    del daemon.says["/metrics"]
    assert ullage("doctor").exit_code == 0


def test_of_a_daemon_elsewhere_only_what_it_tells_is_judged(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Client, "is_here", False)
    monkeypatch.setattr(symptoms, "machine", lambda: pytest.fail("that is another machine"))
    found = statuses(ullage("doctor", "--json"))
    assert found.keys() == {"machine", "versions", "driver", "journal"}


def test_a_daemon_of_another_version_is_told(daemon: Daemon) -> None:
    other = json.loads(daemon.says["/api/v1/state"][2]) | {"version": "9.9"}
    daemon.say("/api/v1/state", other)
    result = ullage("doctor", "-q")
    assert result.exit_code == 8
    assert "the daemon is 9.9, and this command" in result.stdout


# -- without a daemon


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """No daemon at the usual address, which is not this test's to try."""
    from supervisor.cli.client import NoDaemon

    def connect(self: Client) -> Any:
        raise NoDaemon("no daemon answers", "Connection refused")

    monkeypatch.setattr(Client, "_connect", connect)
    found = [Found("ollama", "http://127.0.0.1:11434", "1")]
    habits = [Advice("ollama", "it naps", "wake it")]
    monkeypatch.setattr(init_look, "engines_and_habits", lambda: (found, habits))


def test_without_a_daemon_all_that_can_be_seen_is_looked_at(
    nobody: None, this_machine: dict[str, Any], tmp_path: Path
) -> None:
    result = ullage("doctor", "--json")
    assert result.exit_code == 8
    found = statuses(result)
    assert found["daemon"] == "ok"
    assert found["engine ollama"] == "ok"
    assert found["ollama"] == "warn", "what it does of its own accord"
    assert found["state directory"] == "ok"
    assert found["admin API"] == "ok"
    assert "journal" not in found
    this_machine["killers"] = (Killer("earlyoom", 13.0),)
    assert statuses(ullage("doctor", "--json"))["earlyoom"] == "warn"
    (tmp_path / "ullage.toml").write_text('[pools.ram]\nreserve = "20%"\n')
    assert statuses(ullage("doctor", "--json"))["earlyoom"] == "ok"


def test_without_a_daemon_the_configuration_is_checked(nobody: None, tmp_path: Path) -> None:
    file = tmp_path / "ullage.toml"
    file.write_text("mode = 'bogus'\nport = 1\n")
    result = ullage("doctor", "-q")
    assert result.exit_code == 8
    assert result.stdout.count("fail  configuration: ") == 2
    file.write_text('[listen]\ntoken = "0123456789abcdef"\n')
    file.chmod(0o644)
    assert "warn  configuration: ullage.toml holds a token" in ullage("doctor", "-q").stdout


def test_without_a_daemon_who_may_send_alerts_is_read_of_the_file(
    nobody: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ullage.toml"
    token = f'[listen.tokens.am]\nsha256 = "{"ab" * 32}"\nscopes = ["alerts:write"]\n'
    file.write_text(token)
    monkeypatch.setenv("ULLAGE_CONFIG", str(file))
    assert "warn  alerts: token am may send alerts, and none of them" in ullage("doctor").stdout


def test_a_daemon_that_was_named_and_does_not_answer_is_trouble(nobody: None) -> None:
    result = ullage("doctor", "--url", "http://127.0.0.1:1")
    assert (result.exit_code, result.stdout) == (4, "")


@pytest.mark.parametrize(
    ("said", "closed", "mighty"),
    [
        ({}, False, ()),
        ({"listen.token": "set"}, True, ("that of listen.token",)),
        ({"listen.tokens.ops.scopes": "admin"}, True, ("ops",)),
        ({"listen.tokens.prom.scopes": "metrics:read, gateway"}, True, ()),
        ({"listen.tokens.am.scopes": "alerts:write"}, False, ()),
        (
            {"listen.token": "set", "listen.tokens.ops.scopes": "admin"},
            True,
            ("that of listen.token", "ops"),
        ),
    ],
)
def test_any_token_that_closes_the_api_counts(
    said: dict[str, str], closed: bool, mighty: tuple[str, ...]
) -> None:
    from supervisor.cli.doctor import _of_settings

    said = {"listen.host": "0.0.0.0", "listen.token": "not set"} | said
    found = _of_settings({key: (value, "default") for key, value in said.items()})
    assert (found["token"], found["mighty"]) == (closed, mighty)


def test_engines_on_other_machines_are_not_looked_for_on_this_one() -> None:
    from supervisor.cli.doctor import _engines

    rows = [
        {"id": "far", "kind": "ollama", "url": "http://10.0.0.1:11434"},
        {"id": "here", "kind": "vllm", "url": "http://127.0.0.1:8000"},
        {"id": "kept", "kind": "vllm", "url": "http://[::1]:8001/v1"},
        {"id": "inner", "kind": "process", "url": ""},
    ]
    settings = {"engines.kept.key": ("set", "file x"), "engines.here.key": ("not set", "")}
    found = [(e.id, e.port, e.kept) for e in _engines(rows, settings)]
    assert found == [("here", 8000, False), ("kept", 8001, True)]


def test_colours_are_for_terminals_that_want_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from supervisor.cli import doctor as doctor_cli

    row = {"about": "a", "status": "fail", "what": "b", "remedy": ""}
    monkeypatch.setattr("click._compat.isatty", lambda stream: True)
    told = []
    for no_color in ("", "1"):
        monkeypatch.setenv("NO_COLOR", no_color)
        doctor_cli._say(row)
        told.append(capsys.readouterr().out)
    assert told == ["\x1b[31mfail\x1b[0m  a: b\n", "fail  a: b\n"]
