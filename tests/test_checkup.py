"""What the doctor says of a machine, by facts alone."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from collectors.reading import Bytes, Seconds, gib, mib
from supervisor.cli.checkup import LATELY, SOON, Alerts, Check, Engine, Facts, File, Status, checkup
from supervisor.cli.killers import Killer

OK, WARN, FAIL = Status.OK, Status.WARN, Status.FAIL

WELL = Facts(
    gpus=("NVIDIA GeForce RTX 3090",),
    cards=1,
    holders=frozenset({10}),
    pids=frozenset({1, 10}),
    own_pids=False,
    hidden=False,
    listening=(("127.0.0.1", 11434), ("0.0.0.0", 22)),
    engines=(Engine("ollama", "ollama", 11434),),
    killers=(),
    ram=gib(64),
    swap=gib(8),
    reserve=gib(7.5),
    grace=Seconds(10),
    asleep=Seconds(0.0),
    synced=True,
    steps=0,
    config=File("/etc/ullage/ullage.toml", 0o100640),
    host="127.0.0.1",
    token=False,
    state=File("/var/lib/ullage", 0o040700),
    writable=True,
    disk=gib(50),
    files=65536,
    overcommit=0,
    persistent=True,
    version="0.1.0",
    daemon="0.1.0",
)


def told(**others: Any) -> list[Check]:
    values = {f.name: getattr(WELL, f.name) for f in fields(Facts)} | others
    return checkup(Facts(**values))


def wrong(**others: Any) -> list[tuple[str, Status]]:
    found = [c for c in told(**others) if c.status is not OK]
    assert all(c.remedy for c in found), "what is wrong has to say what to do"
    return [(c.about, c.status) for c in found]


def test_a_machine_on_which_all_is_well_has_nothing_to_do() -> None:
    found = told()
    assert {c.status for c in found} == {OK}
    about = {c.about for c in found}
    assert about == {"versions", "driver", "processes", "engine ollama", "admin API",
                     "memory killers", "clock", "configuration", "state directory", "journal",
                     "file descriptors"}  # fmt: skip


def test_what_could_not_be_read_is_not_judged() -> None:
    assert checkup(Facts()) == []


@pytest.mark.parametrize(
    ("facts", "about", "status"),
    [
        ({"daemon": "0.2.0"}, "versions", WARN),
        ({"gpus": (), "cards": 2}, "driver", FAIL),
        ({"faults": {"nvidia": "no answer within 1 s"}}, "driver nvidia", FAIL),
        ({"notes": ("GPU 0 may not be read by this user",)}, "driver", WARN),
        ({"holders": frozenset({10, 4_000_000})}, "processes", FAIL),
        ({"own_pids": True}, "processes", WARN),
        ({"hidden": True}, "processes", WARN),
        ({"listening": (("0.0.0.0", 11434),)}, "engine ollama", WARN),
        ({"listening": (("::", 11434), ("127.0.0.1", 11434))}, "engine ollama", WARN),
        ({"listening": (("192.168.1.5", 11434),)}, "engine ollama", WARN),
        ({"engines": (Engine("e", "vllm", 11434, traced=False),)}, "engine e", WARN),
        ({"host": "0.0.0.0"}, "admin API", FAIL),
        ({"host": "0.0.0.0", "token": True}, "admin API", WARN),
        ({"killers": (Killer("earlyoom", 12.0),)}, "earlyoom", WARN),
        ({"killers": (Killer("systemd-oomd", after=Seconds(10)),)}, "systemd-oomd", WARN),
        ({"synced": False}, "clock", WARN),
        ({"mistakes": ("mode: no such mode",)}, "configuration", FAIL),
        ({"config": File("/c", 0o100646)}, "configuration", FAIL),
        ({"config": File("/c", 0o100660)}, "configuration", WARN),
        ({"config": File("/c", 0o100644, secret=True)}, "configuration", WARN),
        ({"config": File("/c", 0o100640, secret=True)}, "configuration", WARN),
        ({"writable": False}, "state directory", FAIL),
        ({"state": File("/s", 0o040770)}, "state directory", FAIL),
        ({"disk": mib(500)}, "state directory", WARN),
        ({"disk": mib(50)}, "state directory", FAIL),
        ({"persistent": False}, "journal", FAIL),
        ({"failures": 3}, "journal", WARN),
        ({"files": 1024}, "file descriptors", WARN),
        ({"overcommit": 2}, "overcommit", WARN),
    ],
    ids=lambda v: repr(v) if isinstance(v, dict) else "",
)
def test_each_trouble_is_one_thing_to_do(facts: dict[str, Any], about: str, status: Status) -> None:
    assert wrong(**facts) == [(about, status)]


@pytest.mark.parametrize(
    "facts",
    [
        {"notes": ("no AMD driver on this machine",)},
        {"gpus": (), "cards": 0},
        {"gpus": (), "cards": None},
        {"holders": frozenset()},
        {"holders": None, "pids": None},
        {"listening": (("::1", 11434), ("127.0.0.5", 11434))},
        {"listening": None},
        {"engines": (Engine("o", "ollama", 11434, kept=True),),
         "listening": (("0.0.0.0", 11434),)},
        {"killers": (Killer("earlyoom", 10.0),)},
        {"killers": (Killer("earlyoom", 20.0, Bytes(1 << 20)),)},
        {"killers": (Killer("systemd-oomd", after=Seconds(30)),)},
        {"killers": (Killer("earlyoom", 50.0),), "reserve": None},
        {"killers": None},
        {"asleep": Seconds(9000)},
        {"steps": 1},
        {"steps": 5},
        {"config": File("/c", 0o100644)},
        {"config": File("/c", 0o100600, secret=True)},
        {"config": None},
        {"state": None},
        {"swap": Bytes(0)},
        {"files": None},
        {"overcommit": 1},
        {"host": "::1"},
        {"host": None},
        {"persistent": None},
        {"persistent": False, "meant_to_persist": False},
        {"daemon": None},
    ],
    ids=repr,
)  # fmt: skip
def test_what_is_no_trouble_is_not_called_one(facts: dict[str, Any]) -> None:
    assert wrong(**facts) == []


def check(about: str, **facts: Any) -> Check:
    (found,) = [c for c in told(**facts) if c.about == about]
    return found


@pytest.mark.parametrize("mode", [0o100646, 0o100666, 0o100642])
def test_what_shuts_a_configuration_leaves_it_readable_to_the_service(mode: int) -> None:
    """Which runs as a user of its own, in no group of root's."""
    found = check("configuration", config=File("/c", mode))
    assert found.remedy == "chmod go-w /c"
    found = check("configuration", config=File("/c", 0o100644, secret=True))
    assert found.remedy.startswith("put it into a file of its own")


def test_an_engine_that_all_can_reach_says_how_it_is_shut() -> None:
    found = check("engine ollama", listening=(("0.0.0.0", 11434), ("10.0.0.1", 11434)))
    assert "all addresses, port 11434" in found.what
    assert "OLLAMA_HOST=127.0.0.1" in found.remedy
    other = (Engine("x", "tabbyapi", 11434),)
    found = check("engine x", engines=other, listening=(("10.0.0.1", 11434),))
    assert "it listens on 10.0.0.1, port 11434" in found.what
    assert "127.0.0.1:11434:11434" in found.remedy


def test_processes_that_only_the_driver_sees_are_told_before_anything_else() -> None:
    holders = frozenset({10, 4_000_000})
    found = check("processes", holders=holders, own_pids=True, hidden=True)
    assert found.what.startswith("1 of 2 processes that hold GPU memory are not in /proc")
    assert "pid: host" in found.remedy
    assert (
        "this container has PIDs" in check("processes", own_pids=True, container="container").what
    )


def test_a_killer_says_when_it_acts_and_when_we_do() -> None:
    found = check("earlyoom", killers=(Killer("earlyoom", 12.0),))
    assert found.what == (
        "it kills below 7.7 GiB of available RAM, and Ullage makes room below 7.5 GiB: too late"
    )
    found = check("systemd-oomd", killers=(Killer("systemd-oomd", after=Seconds(5)),))
    assert found.what == "it kills after 5.0 s of pressure, and Ullage waits for 10 s first"


def test_a_reserve_that_is_just_reached_is_too_late() -> None:
    killer = (Killer("earlyoom", below=gib(7.5)),)
    assert wrong(killers=killer) == [("earlyoom", WARN)]
    assert wrong(killers=killer, reserve=Bytes(gib(7.5) + 1)) == []


# -- alerts

DAY = 86400.0


def of_alerts(**given: Any) -> list[tuple[Status, str]]:
    others = {name: given.pop(name) for name in ("host", "token", "mighty") if name in given}
    found = told(alerts=Alerts(100 * DAY, **given), **others)
    return [(c.status, f"{c.what} | {c.remedy}") for c in found if c.about == "alerts"]


def test_who_uses_no_alerts_hears_nothing_of_them() -> None:
    assert of_alerts() == []
    assert of_alerts(refused_at=100 * DAY) == []


@pytest.mark.parametrize(
    ("given", "status", "words"),
    [
        ({"tokens": {"am": None}}, WARN, "token am may send alerts, and none of them does any"),
        ({"actions": ("a",)}, OK, "they may cause 1 action, and any program of this machine may"),
        ({"actions": ("a", "b"), "token": True, "mighty": ("that of listen.token",)}, OK,
         "2 actions, and are sent with that of listen.token"),
        ({"actions": ("a",), "token": True, "mighty": ("ops",)}, OK, "are sent with ops"),
        ({"actions": ("a",), "token": True}, FAIL, "no token may send them | make one: `ullage"),
        ({"actions": ("a",), "host": "0.0.0.0", "token": True, "mighty": ("ops",)}, WARN,
         "with a token that may do everything | make one for them alone: `ullage token"),
        ({"actions": ("a",), "tokens": {"am": None}, "host": "0.0.0.0", "token": True}, OK,
         "are sent with am"),
        ({"actions": ("a",), "tokens": {"am": 99 * DAY}}, FAIL, "every token for them has expired"),
        ({"actions": ("a",), "tokens": {"am": 99 * DAY, "b": 900 * DAY}}, OK, "are sent with b"),
    ],
)  # fmt: skip
def test_actions_and_those_who_may_cause_them_go_together(
    given: dict[str, Any], status: Status, words: str
) -> None:
    ((found, what),) = of_alerts(**given)
    assert found is status
    assert words in what


def test_a_token_that_ends_soon_is_told_before_it_does() -> None:
    for left, soon in ((SOON - 1, True), (SOON + 1, False), (1, True), (-1, False)):
        tokens = {"am": 100 * DAY + left, "b": None}
        lines = [what for _, what in of_alerts(actions=("a",), tokens=tokens)]
        assert any("token am expires in" in line for line in lines) == soon, left


def test_an_alert_that_was_refused_lately_is_told() -> None:
    for ago, new in ((0, True), (LATELY - 1, True), (LATELY, False)):
        found = of_alerts(actions=("a",), tokens={"am": None}, refused_at=100 * DAY - ago)
        assert any("was refused" in what for _, what in found) == new, ago
