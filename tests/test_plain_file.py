"""A file that the operator has named, and that cannot be read: whom it should let in is said."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.config import given, plain_file
from supervisor.config.config import Config, ConfigError, load
from supervisor.core.record import Mode
from supervisor.reloading import _unreadable
from supervisor.tls.certificates import CertificateError, whole
from tests.others import SERVICE, acting_as, folder_of_all

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="another account takes root")


@pytest.fixture
def folder() -> Iterator[Path]:
    with folder_of_all() as made:
        yield made


def mistake(file: Path) -> str:
    with acting_as(SERVICE), pytest.raises(ConfigError) as error:
        load(file, {"HOME": "/"}, {}, kinds=frozenset())
    return str(error.value)


def root() -> str:
    return f"user {pwd.getpwuid(0).pw_name} (uid 0) and group {grp.getgrgid(0).gr_name}"


OURS = f"uid {SERVICE}, which Ullage runs as"


@as_root
def test_a_configuration_that_is_closed_to_the_service_names_its_user_and_the_mode(
    folder: Path,
) -> None:
    file = folder / "ullage.toml"
    file.write_text("")
    file.chmod(0o640)
    right = f"it belongs to {root()}, mode 640, and must be readable to {OURS}"
    assert mistake(file) == f"{file}: cannot be read: Permission denied; {right}"
    file.chmod(0o644)
    with acting_as(SERVICE):
        load(file, {"HOME": "/"}, {}, kinds=frozenset())


@as_root
def test_where_a_folder_is_closed_that_is_the_one_that_is_named(folder: Path) -> None:
    file = folder / "closed/deeper/ullage.toml"
    file.parent.mkdir(parents=True)
    file.write_text("")
    (folder / "closed").chmod(0o700)
    right = f"the folder {folder}/closed belongs to {root()}, mode 700, and must be open to {OURS}"
    assert mistake(file) == f"{file}: cannot be read: Permission denied; {right}"
    with acting_as(SERVICE):
        assert _unreadable(file) == f"cannot be read: Permission denied; {right}"


@as_root
def test_the_machine_s_own_file_in_a_closed_folder_is_not_passed_over(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the service would run, and evict, by usual settings that nobody has chosen."""
    closed = folder / "ullage"
    closed.mkdir(mode=0o700)
    place = closed / "ullage.toml"
    place.write_text('mode = "observe"')

    def read() -> Config:
        with acting_as(SERVICE):
            return load(None, {}, {}, kinds=frozenset(), places=[place])

    assert read().mode is Mode.ENFORCE  # a home, which is nobody's business
    monkeypatch.setattr(given, "SYSTEM", place)
    with pytest.raises(ConfigError, match=f"the folder {closed} .* must be open to {OURS}"):
        read()
    closed.chmod(0o755)
    assert read().mode is Mode.OBSERVE
    place.unlink()
    assert read().mode is Mode.ENFORCE  # it is not there, and nothing is wrong


@as_root
@pytest.mark.parametrize("of", ["token", "certificate"])
def test_so_do_files_that_the_configuration_names(folder: Path, of: str) -> None:
    secret = folder / "secret"
    secret.write_text("0123456789abcdef")
    secret.chmod(0o600)
    if of == "token":
        file = folder / "ullage.toml"
        file.write_text(f'[listen]\ntoken_file = "{secret}"')
        said = mistake(file)
    else:
        with acting_as(SERVICE), pytest.raises(CertificateError) as error:
            whole(secret, "tls_key", secret=True)
        said = str(error.value)
    assert f"mode 600, and must be readable to {OURS}" in said


def test_a_user_with_a_name_is_called_by_it(tmp_path: Path) -> None:
    said = plain_file.why(tmp_path, PermissionError(13, "Permission denied"))
    me = pwd.getpwuid(os.geteuid()).pw_name
    assert said.endswith(f"readable to user {me} (uid {os.geteuid()}), which Ullage runs as")


@pytest.mark.parametrize(
    "error", [FileNotFoundError(2, "No such file"), OSError(5, "Input/output error"), OSError("x")]
)
def test_any_other_reason_stands_as_the_system_has_it(tmp_path: Path, error: OSError) -> None:
    assert plain_file.why(tmp_path / "a", error) == (error.strerror or "x")
