"""`ullage fleet join` and `resources`, as far as they come without a fleet."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from collectors.reading import RAM, PoolId, gib
from supervisor.agent.bridge import Bridge
from supervisor.agent.running import Given, backend_of, daemon_of, terms_of
from supervisor.cli import client as clients
from supervisor.cli.main import cli
from supervisor.config.config import Config, load
from supervisor.engines import ENGINES
from supervisor.fleet.hosts import HostId, Space, Word
from supervisor.fleet.words import word_row

pytestmark = pytest.mark.usefixtures("bare_environment")


def invoke(*words: str) -> Result:
    return CliRunner().invoke(cli, words)


def config(tmp_path: Path, text: str) -> Config:
    file = tmp_path / "ullage.toml"
    file.write_text(f'state_dir = "{tmp_path}"\n{text}')
    return load(file, {}, {}, kinds=frozenset(ENGINES), places=[])


def test_who_has_no_name_in_a_fleet_is_told_to_take_one(tmp_path):
    file = tmp_path / "ullage.toml"
    file.write_text(f'state_dir = "{tmp_path}"\n')
    found = invoke("fleet", "join", "--config", str(file))
    assert found.exit_code == 3
    assert "not configured for a fleet" in found.output
    assert 'name = "gpu1"' in found.output


def test_a_mistake_in_the_table_is_told_and_nothing_is_begun(tmp_path):
    file = tmp_path / "ullage.toml"
    file.write_text(f'state_dir = "{tmp_path}"\n[fleet]\nname = "a b"\n')
    found = invoke("fleet", "join", "--config", str(file))
    assert found.exit_code == 3
    assert "not the name of a host" in found.output
    assert not (tmp_path / "fleet.sock").exists()


def test_a_second_agent_does_not_start(tmp_path, monkeypatch):
    # The log of this process is that of the tests.
    monkeypatch.setattr("supervisor.telemetry.logs.begin", lambda config: None)
    path = tmp_path / "fleet.sock"
    with socket.socket(socket.AF_UNIX) as first:
        first.bind(str(path))
        first.listen()
        file = tmp_path / "ullage.toml"
        file.write_text(f'state_dir = "{tmp_path}"\n[fleet]\nname = "a"\nsocket = "{path}"\n')
        found = invoke("fleet", "join", "--alone", "--config", str(file))
    assert found.exit_code == 1
    assert "an agent runs here already" in found.output


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('[listen]\nsocket = "/run/x.sock"', "unix:/run/x.sock"),
        ("[listen]\nport = 9999", "http://127.0.0.1:9999"),
        ('[listen]\nhost = "0.0.0.0"\ntoken = "0123456789abcdef0123456789abcdef"',
         "http://127.0.0.1:8552"),
        ('[listen]\nhost = "::1"', "http://[::1]:8552"),
    ],
)  # fmt: skip
def test_the_daemon_is_asked_where_the_configuration_puts_it(tmp_path, text, where):
    assert daemon_of(config(tmp_path, f'{text}\n[fleet]\nname = "a"\n')) == where


def test_the_agent_goes_by_the_configuration(tmp_path):
    found = config(
        tmp_path, '[fleet]\nname = "a"\nsilent = "3s"\nlost = "9s"\nvalid = "5s"\noffers = 7\n'
    )
    terms = terms_of(found)
    assert (terms.host, terms.delays.silent, terms.delays.lost) == ("a", 3, 9)
    assert (terms.valid, terms.rules.offers) == (5, 7)
    bridge = Bridge("unix:/nowhere")
    assert backend_of(found, bridge, Given()).name == "ray"
    assert backend_of(found, bridge, Given(alone=True)).name == "single"


def daemon(monkeypatch: pytest.MonkeyPatch, *spaces: Space, blind: str | None = None) -> None:
    word = word_row(Word(HostId("gpu1"), "e", 0, "1", 0.0, None, spaces))
    pools = [{"id": s.pool, "blind": None} for s in spaces]
    pools += [{"id": blind, "blind": "no answer within 2 s"}] if blind else []
    told: dict[str, Any] = {"/api/v1/fleet/word": word, "/api/v1/state": {"pools": pools}}

    def get(self: Any, path: str, **query: object) -> clients.Answer:
        return clients.Answer(json.dumps(told[path]), told[path])

    monkeypatch.setattr(clients.Client, "get", get)


def test_what_may_be_promised_is_what_accelerators_have(monkeypatch):
    gpu = Space(PoolId("GPU-1"), gib(24), gib(1), gib(1))
    daemon(monkeypatch, gpu, Space(RAM, gib(64), gib(9), gib(9)))
    assert invoke("fleet", "resources").output == "--resources='{\"ullage_mib:gpu1\": 24576}'\n"
    assert json.loads(invoke("fleet", "resources", "--json").output) == {"ullage_mib:gpu1": 24576}


def test_a_host_without_pools_has_nothing_to_promise(monkeypatch):
    daemon(monkeypatch)
    found = invoke("fleet", "resources")
    assert found.exit_code == 5
    assert "gpu1 has no pools" in found.output


def test_what_accelerators_have_is_not_told_before_they_were_read(monkeypatch):
    ram = Space(RAM, gib(64), gib(9), gib(9))
    daemon(monkeypatch, ram, blind="nvidia")
    found = invoke("fleet", "resources", "--json")
    assert found.exit_code == 5
    assert "gpu1 does not know its accelerators yet" in found.output
    assert "nvidia: no answer within 2 s" in found.output
    daemon(monkeypatch, ram, blind="nvidia:0")  # the only one could not be read
    assert invoke("fleet", "resources").exit_code == 5
    daemon(monkeypatch, ram, Space(PoolId("GPU-2"), gib(24), gib(1), gib(1)), blind="nvidia:0")
    assert invoke("fleet", "resources").exit_code == 0  # one of several
    daemon(monkeypatch, ram, blind="GPU-1")  # it was read once, and is lost since
    assert invoke("fleet", "resources").exit_code == 0


def test_no_daemon_no_resources(tmp_path):
    found = invoke("--socket", str(tmp_path / "none.sock"), "fleet", "resources")
    assert found.exit_code == 4
    assert os.listdir(tmp_path) == []
