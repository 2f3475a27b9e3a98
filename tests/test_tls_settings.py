"""Certificates in the configuration: named in pairs, looked at when it is read, told when they are
over."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from supervisor.cli.main import cli
from supervisor.config.config import ConfigError
from supervisor.tls import certificates
from tests.certificates import Authority, authority


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def named(issuer: Authority, tmp_path: Path) -> str:
    """The two lines of a table, of files beside the configuration."""
    for file, name in zip(issuer.issue("a", days=60), ("cert.pem", "key.pem"), strict=True):
        shutil.copy(file, tmp_path / name)
    return 'tls_cert = "cert.pem"\ntls_key = "key.pem"\n'


def mistakes(read, text: str) -> list[tuple[str, str, str]]:
    with pytest.raises(ConfigError) as found:
        read(text)
    return [(p.key, p.message, p.where.rpartition("/")[2]) for p in found.value.problems]


def test_both_listeners_have_their_own(read, named, tmp_path):
    config = read(f"[listen]\n{named}[gateway]\n{named}")
    assert (config.tls_cert, config.tls_key) == (tmp_path / "cert.pem", tmp_path / "key.pem")
    assert config.gateway.tls_cert == tmp_path / "cert.pem"
    assert read("").tls_cert is None


@pytest.mark.parametrize("table", ["listen", "gateway"])
def test_one_without_the_other_is_a_mistake(read, named, table):
    cert, key = named.splitlines()
    (found,) = mistakes(read, f"[{table}]\n{cert}")
    assert found[:2] == (f"{table}.tls_key", f"is missing: {table}.tls_cert is given")
    (found,) = mistakes(read, f"[{table}]\n{key}")
    assert found[:2] == (f"{table}.tls_cert", f"is missing: {table}.tls_key is given")


def test_what_is_wrong_with_the_files_is_told_where_they_are_named(read, named, tmp_path):
    (tmp_path / "key.pem").chmod(0o644)
    found = mistakes(read, f"[listen]\n{named}[gateway]\n{named}")
    why = f"{tmp_path / 'key.pem'} is open to everybody; chmod 640 it"
    assert found == [
        ("listen.tls_key", why, "ullage.toml:3"),
        ("gateway.tls_key", why, "ullage.toml:6"),
    ]


def test_a_setting_can_be_changed_while_the_files_are_broken(read, named, tmp_path):
    """Who changes it has nothing to do with them; the certificate in use stays in use."""
    config = read(f"[listen]\n{named}")
    (tmp_path / "key.pem").write_text("")
    assert config.again({"prefetch": "true"}).policy.prefetch
    with pytest.raises(ConfigError, match="holds no private key"):
        config.reread()


def checked(file: Path, *words: str):
    return CliRunner().invoke(cli, ["config", "check", *words, str(file)])


def test_a_check_tells_that_a_certificate_is_over_or_soon_will_be(
    read, named, tmp_path, monkeypatch
):
    read(f"[gateway]\n{named}")
    file, now = tmp_path / "ullage.toml", time.time()
    good = checked(file)
    assert (good.exit_code, good.stderr) == (0, "")

    def at(days: float) -> None:
        when = now + days * 86400
        monkeypatch.setattr(certificates.time, "time", lambda: when)

    at(50)
    soon = checked(file)
    assert soon.exit_code == 0
    assert "note: gateway.tls_cert: its certificate ends in 9 days" in soon.stderr
    at(61)
    over = checked(file)
    assert over.exit_code == 3
    assert "ullage.toml:2: gateway.tls_cert: its certificate has expired on" in over.stderr
    rows = json.loads(checked(file, "--json").stdout)
    assert not rows["ok"]
    assert rows["mistakes"][0]["key"] == "gateway.tls_cert"
    read(f"[gateway]\n{named}")  # and a daemon starts all the same: it has other work
