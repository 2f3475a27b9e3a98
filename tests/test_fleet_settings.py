"""The fleet in the configuration: what it comes to, and what cannot be meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from supervisor.config import fleet
from supervisor.config.config import ConfigError, effective
from supervisor.differences import differences
from tests.certificates import authority

TOKEN = "0123456789abcdef0123"


@pytest.fixture
def called(monkeypatch):
    """The machine's own name."""

    def call(name: str) -> None:
        monkeypatch.setattr(fleet.socket, "gethostname", lambda: name)

    return call


def test_without_its_table_there_is_no_fleet_and_the_machines_name_is_nobodys_business(
    read, called
):
    called("localhost")
    config = read("")
    assert config.fleet.said is False
    assert {k for k, _, _ in effective(config)}.isdisjoint({"fleet.name", "fleet.socket"})


def test_a_host_is_called_as_the_machine_is_unless_it_is_said(read, called):
    called("rack7")
    assert read("[fleet]\noffers = 4").fleet.name == "rack7"
    config = read('[fleet]\nname = "gpu1"')
    assert config.fleet.name == "gpu1"
    shown = {k: v for k, v, _ in effective(config)}
    assert shown["fleet.name"] == "gpu1"
    assert read("", {"ULLAGE_FLEET_NAME": "gpu2"}).fleet.name == "gpu2"


@pytest.mark.parametrize("name", ["localhost", "rack 7", ""])
def test_a_machine_that_is_called_as_all_others_has_to_be_named(mistakes, called, name):
    called(name)
    (line,) = mistakes("[fleet]\noffers = 4")
    assert line.startswith("fleet.name: is missing: this machine is called ")
    (line,) = mistakes("[fleet]\nname = 'gpu 1'")
    assert line.startswith('fleet.name: "gpu 1" is not the name of a host')


def test_the_agents_socket_is_beside_the_daemons_or_with_its_state(read, tmp_path):
    state = f'state_dir = "{tmp_path}/state"\n'
    assert read(f'{state}[fleet]\nname = "a"').fleet.socket == tmp_path / "state/fleet.sock"
    beside = '[listen]\nsocket = "/run/ullage/ullage.sock"\n'
    config = read(f'{beside}[fleet]\nname = "a"')
    assert config.fleet.socket == Path("/run/ullage/fleet.sock")
    config = read(f'{beside}[fleet]\nname = "a"\nsocket = "own.sock"')
    assert config.fleet.socket == tmp_path / "own.sock"


def test_the_token_for_other_hosts_is_read_and_never_shown(read, tmp_path):
    file = tmp_path / "fleet.token"
    file.write_text(f"{TOKEN}\n")
    file.chmod(0o600)
    text = '[fleet]\nname = "a"\ntoken_file = "fleet.token"'
    config = read(text)
    assert config.fleet.tokens == (TOKEN,)
    assert TOKEN not in repr(config)
    assert TOKEN not in str(effective(config))
    assert ("fleet.token_file", str(file)) in {(k, v) for k, v, _ in effective(config)}
    file.write_text(f"{TOKEN[::-1]}\n")
    assert [d.key for d in differences(config, read(text))] == ["fleet.token"]
    file.write_text(f"{TOKEN}\n\n {TOKEN[::-1]} \n")  # from one to the next
    assert read(text).fleet.tokens == (TOKEN, TOKEN[::-1])


def test_a_token_that_everybody_may_read_is_refused(mistakes, tmp_path):
    file = tmp_path / "fleet.token"
    file.write_text(TOKEN)
    file.chmod(0o644)
    (line,) = mistakes('[fleet]\nname = "a"\ntoken_file = "fleet.token"')
    assert "is open to everybody" in line
    (line,) = mistakes('[fleet]\nname = "a"\ntoken_file = "no.token"')
    assert line.startswith("fleet.token_file: ")
    file.chmod(0o600)
    many = "\n".join(f"{TOKEN}{n}" for n in range(9))
    for text, said in (
        ("", "is not a secret"),
        (f"{TOKEN}\nshort", "line 2 of "),
        (many, "has 9 tokens; 4 at most"),
    ):
        file.write_text(text)
        (line,) = mistakes('[fleet]\nname = "a"\ntoken_file = "fleet.token"')
        assert said in line
        assert TOKEN not in line


def test_who_issues_the_certificates_of_other_hosts_is_read_and_checked(read, mistakes, tmp_path):
    made = authority(tmp_path)
    text = '[fleet]\nname = "a"\nca_file = "ca.pem"'
    config = read(text)
    assert config.fleet.ca == made.cafile.read_text()
    assert ("fleet.ca_file", str(made.cafile)) in {(k, v) for k, v, _ in effective(config)}
    made.cafile.write_text(f"# of our own: ü\n{made.cafile.read_text()}\nand no more")
    assert differences(config, read(text)) == []
    right = made.cafile.read_text()
    broken = right.replace("MII", "AAA", 1)
    for wrong, said in ((made.folder.joinpath("ca.key").read_text(), "holds no certificate in PEM"),
                        (broken, "holds a certificate that cannot be read")):  # fmt: skip
        made.cafile.write_text(wrong)
        (line,) = mistakes(text)
        assert line.startswith(f"fleet.ca_file: {made.cafile} {said}")
    made.cafile.unlink()
    with pytest.raises(ConfigError) as wrong:
        read(text)
    (problem,) = wrong.value.problems
    assert "cannot be read: No such file" in problem.message
    assert problem.where == f"{tmp_path / 'ullage.toml'}:3"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('address = "10.0.0.5:8553"', "is not a URL of a gateway; write it as"),
        ('address = "http://0.0.0.0:8553"', "is no address that others can reach"),
        ('address = "http://gpu1/v1"', "is more than the address of a gateway"),
        ('address = "http://me:pw@gpu1"', "a URL must not carry a user or a password"),
        ('ray = "ray://gpu1:10001"', "is for Ray's clients"),
        ('ray = "gpu1"', "is not an address of Ray; write"),
        ('ray = "gpu1:99999"', "is not an address of Ray; write"),
        ("factor = 0", "is not a number above 0"),
        ("offers = 0", "is not a count; write 1 or more"),
        ('lost = "2s"', "must be longer than fleet.silent, 2.5s"),
        ('silent = "1s"', "must be longer than 1s, in which a host speaks once"),
        ('socket = "/run/a.sock"', "is listen.socket too; give another"),
    ],
)
def test_every_mistake_is_told_with_what_would_be_right(mistakes, line, said):
    text = f'[listen]\nsocket = "/run/a.sock"\n[fleet]\nname = "a"\n{line}'
    (found,) = mistakes(text)
    assert found.startswith(f"fleet.{line.partition(' ')[0]}: ")
    assert said in found


def test_a_gateway_that_places_needs_the_token_that_others_believe(read, mistakes, tmp_path):
    (line,) = mistakes('[fleet]\nname = "a"\ngateway = true')
    assert line.startswith("fleet.token_file: is missing: fleet.gateway is true")
    assert "/etc/ullage/fleet.token" in line
    (line,) = mistakes('[fleet]\nname = "a"\ngateway = true\ntoken_file = "none"')
    assert "cannot be read" in line, "one mistake is told once"
    (tmp_path / "t").write_text(TOKEN)
    (tmp_path / "t").chmod(0o600)
    found = read('[fleet]\nname = "a"\ngateway = true\ntoken_file = "t"').fleet
    assert (found.gateway, found.tokens) == (True, (TOKEN,))
    assert read('[fleet]\nname = "a"', {"ULLAGE_FLEET_GATEWAY": "true",
                "ULLAGE_FLEET_TOKEN_FILE": str(tmp_path / "t")}).fleet.gateway  # fmt: skip


def test_without_a_gateway_nobody_is_sent_here_or_elsewhere(mistakes, tmp_path):
    (tmp_path / "t").write_text(TOKEN)
    (tmp_path / "t").chmod(0o600)
    text = '[gateway]\nenabled = false\n[fleet]\nname = "a"\ntoken_file = "t"\n'
    found = mistakes(f'{text}address = "http://gpu1:8553"\ngateway = true')
    assert [line.partition(" (")[0] for line in found] == [
        "fleet.address: is where nobody answers: gateway.enabled is false",
        "fleet.gateway: is true, and gateway.enabled is false",
    ]


def test_a_daemon_that_speaks_tls_needs_a_socket_for_its_agent(read, mistakes, tmp_path):
    cert, key = authority(tmp_path).issue("server")
    text = f'[fleet]\nname = "a"\n[listen]\ntls_cert = "{cert}"\ntls_key = "{key}"\n'
    (line,) = mistakes(text)
    assert line.startswith("listen.socket: is missing: by TLS the fleet's agent does not ask")
    assert read(f'{text}socket = "own.sock"').fleet.said


def test_a_gateway_that_speaks_tls_is_not_reached_without(read, mistakes, tmp_path):
    cert, key = authority(tmp_path).issue("server")
    text = f'[gateway]\ntls_cert = "{cert}"\ntls_key = "{key}"\nport = 9000\n[fleet]\nname = "a"\n'
    (line,) = mistakes(f'{text}address = "http://gpu1:9000"')
    assert "is http, and gateway.tls_cert has the gateway speak TLS" in line
    assert 'write it as "https://gpu1:9000"' in line
    assert read(f'{text}address = "https://gpu1:9000"').fleet.address == "https://gpu1:9000"
    assert read(f'{text}address = "http://gpu1:80"').fleet.address, "a proxy may be there"
