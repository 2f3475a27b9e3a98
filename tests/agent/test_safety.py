"""Which Ray a host may join: facts in, findings out; and where the facts come from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from supervisor.agent import seen
from supervisor.agent.safety import Facts, Rules, findings, numbers, refusals
from supervisor.cli import fleet_checks
from supervisor.cli.checkup import Status

GOOD = Facts(
    mode="token",
    open_without=False,
    version="2.60.0",
    dashboard="",
    listens=(("0.0.0.0", 41000), ("127.0.0.1", 6379)),
    addresses=("127.0.0.1", "10.0.0.5", "fe80::1", "fd00::5"),
)


def test_a_ray_with_a_token_on_a_private_network_is_joined():
    assert findings(GOOD, Rules()) == ()


def test_of_what_is_not_known_nothing_is_found():
    assert findings(Facts(), Rules()) == ()


@pytest.mark.parametrize(
    ("change", "about", "said"),
    [
        ({"mode": ""}, "token", "RAY_AUTH_MODE is not set"),
        ({"mode": "disabled"}, "token", "RAY_AUTH_MODE is disabled"),
        ({"open_without": True}, "token", "Ray asks for no token: whoever reaches its ports"),
        ({"version": "2.53.9"}, "version", "this is Ray 2.53.9, and 2.54 or newer"),
        ({"version": "3.0.0"}, "version", "below 3"),
        ({"dashboard": "0.0.0.0:8265"}, "dashboard", "Ray's dashboard is on, at 0.0.0.0:8265"),
        ({"addresses": ("93.184.215.14",)}, "outside", "93.184.215.14 (port 41000)"),
        ({"listens": (("2606:2800::1", 5),)}, "outside", "2606:2800::1 (port 5)"),
        ({"listens": (("::ffff:93.184.215.14", 5),)}, "outside", "93.184.215.14 (port 5)"),
    ],
)
def test_what_is_wrong_refuses_a_host_and_is_named(change, about, said):
    (found,) = refusals(replace(GOOD, **change), Rules())
    assert found.about == about
    assert said in found.what
    assert found.remedy


@pytest.mark.parametrize(
    ("change", "rules"),
    [
        ({"mode": ""}, Rules(require_token=False)),
        ({"open_without": True}, Rules(require_token=False)),
        ({"addresses": ("93.184.215.14",)}, Rules(allow_outside=True)),
    ],
)
def test_what_is_allowed_is_told_all_the_same(change, rules):
    facts = replace(GOOD, **change)
    assert refusals(facts, rules) == ()
    assert len(findings(facts, rules)) == 1


@pytest.mark.parametrize(
    "address", ["127.0.0.2", "::1", "10.1.2.3", "192.168.0.4", "100.100.1.1", "fe80::1%eth0"]
)
def test_private_addresses_are_not_outside(address):
    facts = replace(GOOD, listens=((address, 1),), addresses=())
    assert findings(facts, Rules()) == ()


def test_versions_are_numbers():
    assert numbers("2.9.1") < numbers("2.54.0rc1") == (2, 54, 0)
    assert numbers("nightly") == ()


# -- what is seen

RAYLET = ("/opt/ray/core/src/ray/raylet/raylet", "--node_ip_address=10.0.0.5")
DASHBOARD = ("/usr/bin/python3", "/opt/ray/dashboard/dashboard.py", "--host=0.0.0.0", "--port=8265")
OFF = (*DASHBOARD, "--minimal", "--modules-to-load=UsageStatsHead", "--disable-frontend")


def tree(root: Path, commands: dict[int, tuple[str, ...]], modes: dict[int, str]) -> Path:
    for pid, argv in commands.items():
        folder = root / f"proc/{pid}"
        folder.mkdir(parents=True)
        (folder / "cmdline").write_bytes(b"\0".join(w.encode() for w in argv) + b"\0")
        if pid in modes:
            mode = f"RAY_AUTH_MODE={modes[pid]}\0" if modes[pid] else ""
            (folder / "environ").write_bytes(f"HOME=/\0{mode}".encode())
    return root


def test_a_machine_without_ray_has_no_facts(tmp_path):
    assert seen.facts(tree(tmp_path, {7: ("/usr/bin/raylet-monitor",)}, {})) is None


@pytest.mark.parametrize(
    ("modes", "mode"),
    [({7: "TOKEN"}, "token"), ({7: ""}, ""), ({7: "token", 8: ""}, ""), ({}, None)],
)
def test_one_process_that_asks_for_no_token_is_a_way_in(tmp_path, modes, mode):
    root = tree(tmp_path, {7: RAYLET, 8: ("gcs_server", "--log_dir=/x")}, modes)
    found = seen.facts(root)
    assert found is not None
    assert found.mode == mode


@pytest.mark.parametrize(("argv", "where"), [(DASHBOARD, "0.0.0.0:8265"), (OFF, "")])
def test_a_dashboard_that_serves_nobody_is_off(tmp_path, argv, where):
    found = seen.facts(tree(tmp_path, {7: RAYLET, 8: argv}, {}))
    assert found is not None
    assert found.dashboard == where


def test_a_node_is_known_by_its_address():
    assert seen.has_node({7: RAYLET})
    assert seen.has_node({7: RAYLET}, "10.0.0.5")
    assert not seen.has_node({7: RAYLET}, "10.0.0.6")
    assert not seen.has_node({8: DASHBOARD})


# -- what the doctor says

AGENT = {"self": "gpu1", "backend": "ray", "connected": True, "trouble": [],
         "directory": {"hosts": [{}, {}]}}  # fmt: skip


def test_the_doctor_says_how_the_fleet_is():
    assert [(c.status, c.what) for c in fleet_checks.checks(GOOD, Rules(), AGENT)] == [
        (Status.OK, "gpu1 sees 2 hosts"),
        (
            Status.OK,
            "Ray asks for a token, its dashboard is off, and it listens where strangers are not",
        ),
    ]


def test_the_doctor_tells_what_the_agent_would_refuse_and_what_it_only_tells():
    facts = replace(GOOD, mode="", dashboard="x:1")
    found = fleet_checks.checks(facts, Rules(require_token=False), None)
    assert [(c.about, c.status) for c in found] == [
        ("fleet", Status.WARN),
        ("fleet: token", Status.WARN),
        ("fleet: dashboard", Status.FAIL),
    ]
    assert all(c.remedy for c in found)


def test_the_doctor_misses_a_node_only_where_one_is_wanted():
    (away,) = fleet_checks.checks(None, Rules(), {**AGENT, "trouble": ["Ray does not answer"]})[1:]
    assert (away.status, away.what) == (Status.FAIL, "no node of Ray runs on this machine")
    alone = fleet_checks.checks(None, Rules(), {**AGENT, "backend": "single"})
    assert [c.status for c in alone] == [Status.OK]


@pytest.mark.parametrize("answer", [{}, {**AGENT, "trouble": None}, {**AGENT, "directory": []}])
def test_the_doctor_is_not_stopped_by_an_agent_of_another_version(answer):
    (found,) = fleet_checks.checks(GOOD, Rules(), answer)[:-1]
    assert (found.status, found.what) == (
        Status.WARN,
        "the agent answers as one of another version",
    )


def test_who_is_in_no_fleet_hears_nothing_of_it():
    assert fleet_checks.examine({"listen.port": ("8552", "default")}) == []
