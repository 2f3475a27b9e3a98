"""The systemd unit and the launchd agent: that they fit the daemon they start."""

from __future__ import annotations

import os
import plistlib
import re
import shlex
import subprocess
from pathlib import Path

import click
import pytest

from collectors import nvidia, rights
from supervisor import daemon, notify
from supervisor.cli.asking import INVALID, WRONG
from supervisor.cli.main import cli

ROOT = Path(__file__).parent.parent
UNIT = ROOT / "deploy/ullage.service"
AGENT = ROOT / "deploy/launchd/local.ullage.plist"


def options() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for key, value in re.findall(r"(?m)^(\w+)=(.*)$", UNIT.read_text()):
        found.setdefault(key, []).append(value)
    return found


OPTIONS = options()


def only(key: str) -> str:
    (value,) = OPTIONS[key]
    return value


def test_what_it_starts_is_a_command_with_options_that_exist():
    words = shlex.split(only("ExecStart"))
    assert words[:2] == ["/opt/ullage/bin/ullage", "run"]
    command = cli.commands[words[1]]
    command.make_parser(click.Context(command)).parse_args(words[2:])
    assert only("ExecReload") == "/bin/kill -HUP $MAINPID"


def test_it_waits_for_what_the_daemon_tells_and_for_nothing_longer():
    assert (only("Type"), only("NotifyAccess")) == ("notify", "main")
    watchdog = float(only("WatchdogSec"))
    assert watchdog / notify.PARTS >= notify.EVERY  # a sign of life each ten seconds, as it says
    assert watchdog > notify.SLACK + notify.EVERY  # nobody is given up who is only late
    assert float(only("TimeoutStopSec")) > daemon.END


def test_an_end_that_no_restart_mends_is_not_followed_by_one():
    assert only("Restart") == "on-failure"
    assert set(map(int, only("RestartPreventExitStatus").split())) == {WRONG, INVALID}


def test_there_is_no_limit_on_memory_and_none_of_what_hides_processes():
    assert not [key for key in OPTIONS if key.startswith("Memory")]
    hiding = {"ProtectProc", "ProcSubset", "PrivateUsers", "PrivateDevices", "PrivateNetwork"}
    assert not hiding & set(OPTIONS)


def test_who_is_killed_for_want_of_memory_is_the_model_and_the_daemon_goes_on():
    assert int(only("OOMScoreAdjust")) < 0  # and what it starts stands before it, at 0
    assert only("OOMPolicy") == "continue"  # else one process killed is the whole service stopped


# Of the kernel's list of devices, which never changes, and of /proc/devices.
FIXED = {"195": "NVIDIA", "226": "/dev/dri", "261": "/dev/accel"}
NAMED = {"nvidia*", "kfd"}


def test_every_class_of_accelerators_may_be_opened_also_where_its_driver_comes_later():
    assert only("DevicePolicy") == "closed"
    allowed = {entry.removeprefix("char-").removesuffix(" rw") for entry in OPTIONS["DeviceAllow"]}
    assert allowed == set(FIXED) | NAMED
    for number, name in FIXED.items():
        assert re.search(rf"{number} [^,\n]*{name}", UNIT.read_text())


def test_what_is_not_allowed_is_said_to_be_in_a_drop_in():
    """The one device of the NVIDIA collector with neither a number nor a name of its own."""
    assert "dev/dxg" in nvidia.TRACES
    assert "DeviceAllow=/dev/dxg rw" in (ROOT / "deploy/README.md").read_text()


def test_what_lets_it_look_into_others_processes_is_in_a_drop_in(tmp_path):
    """And it is what the collectors say that it takes."""
    assert only("CapabilityBoundingSet") == ""
    assert "AF_NETLINK" in only("RestrictAddressFamilies").split()  # sockets' control groups
    text = (ROOT / "deploy/README.md").read_text()
    bounding = set(re.findall(r"(?m)^CapabilityBoundingSet=(.+)$", text))
    (given,) = bounding & set(re.findall(r"(?m)^AmbientCapabilities=(.+)$", text))
    names = [name.removeprefix("CAP_") for name in given.split()]

    def sees_all(*held):
        bits = sum(1 << getattr(rights, name) for name in held)
        (tmp_path / "proc/self/status").write_text(f"CapEff:\t{bits:016x}\n")
        return rights.rights(tmp_path).sees_all

    (tmp_path / "proc/self/ns").mkdir(parents=True)
    (tmp_path / "proc/self/ns/user").symlink_to(rights.FIRST_USERS)
    (tmp_path / "proc/self/ns/pid").symlink_to(rights.FIRST_PIDS)
    assert sees_all(*names)
    assert not any(sees_all(*(n for n in names if n != without)) for without in names)


def test_its_folders_are_those_that_the_daemon_takes():
    assert only("StateDirectory") == only("RuntimeDirectory") == "ullage"
    assert only("ConfigurationDirectory") == "ullage"


# -- launchd


def agent() -> dict[str, object]:
    found: dict[str, object] = plistlib.loads(AGENT.read_bytes())
    return found


def test_the_agent_becomes_the_daemon_and_its_log_is_where_people_look(tmp_path: Path):
    words = agent()["ProgramArguments"]
    assert isinstance(words, list)
    program = tmp_path / ".local/bin/ullage"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\necho "$$ $(umask) $*" >&2\n')
    program.chmod(0o755)
    (tmp_path / "Library/Logs").mkdir(parents=True)
    started = subprocess.Popen(words, env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]})
    assert started.wait(10) == 0
    log = (tmp_path / "Library/Logs/ullage.log").read_text()
    # No shell is left above it that would not hand a SIGTERM on.
    assert log.split() == [str(started.pid), "0077", "run"]
    assert "run" in cli.commands


def test_the_agent_is_started_again_after_a_failure_and_has_the_time_to_end():
    told = agent()
    assert told["KeepAlive"] == {"SuccessfulExit": False}
    limit = told["ExitTimeOut"]
    assert isinstance(limit, int)
    assert limit > daemon.END
    assert told["ProcessType"] == "Interactive"


@pytest.mark.parametrize("file", [UNIT, AGENT], ids=lambda f: f.name)
def test_the_guide_says_how_it_is_installed(file: Path):
    assert file.name in (ROOT / "deploy/README.md").read_text()
