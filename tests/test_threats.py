"""What is said of threats is what the code does: numbers, files, and who may do what."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from supervisor.config.entrusted import ALL, FORCE
from supervisor.config.forms import SHORTEST_TOKEN
from supervisor.config.settings import SETTINGS
from supervisor.engines import wire
from supervisor.gateway.limits import KIB, MIB, Limits
from supervisor.guesses import WRONG_AT_ONCE, WRONG_EACH
from supervisor.overrides import why_not
from supervisor.web import callers, guard, patient

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "deploy/threats.md").read_text()
LIMITS = Limits()


@pytest.mark.parametrize(
    "said",
    [
        f"heads of {LIMITS.head // KIB} KiB and {LIMITS.headers} headers"
        f" within {LIMITS.head_within:g} s",
        f"bodies of {LIMITS.body // MIB} MiB and all together {LIMITS.bodies // MIB} MiB",
        f"{LIMITS.connections} connections",
        f"who reads nothing for {LIMITS.stalled:g} s is left",
        f"at the API bodies of {guard.LARGEST_BODY // MIB} MiB and all together"
        f" {guard.LARGEST_BODIES // MIB} MiB within {guard.BODY_TIMEOUT:g} s",
        f"{wire.MOST // MIB} MiB unpacked at most",
        f"{WRONG_AT_ONCE} wrong ones from one address, then one in {WRONG_EACH:g} s",
        f"{SHORTEST_TOKEN} characters at least",
    ],
)
def test_every_number_is_the_one_of_the_code(said):
    assert said in TEXT


def test_each_threat_names_the_files_that_hold_against_it():
    section = TEXT.partition("## What holds against each")[2].partition("## What is left")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 15
    for row in rows:
        files = re.findall(r"`([\w/.-]+)`", row.split("|")[3])
        assert files, row
        assert all((ROOT / file).is_file() for file in files), row


def test_nobody_without_a_token_has_an_alert_act_unchecked():
    assert FORCE not in callers.LOCAL.scopes
    assert callers.LOCAL.scopes == ALL - {FORCE}
    assert callers.NOBODY.scopes == frozenset()


def test_heads_of_the_api_are_bounded_as_those_of_the_gateway():
    assert (LIMITS.head, LIMITS.head_within) == (patient.LARGEST_HEAD, patient.HEAD_TIMEOUT)


def test_programs_addresses_and_files_are_set_in_the_file_alone():
    ends = ("command", "url", "key", "key_file", "token", "token_file", "socket", "state_dir")
    asked = [s for s in SETTINGS if s.path[-1] in ends]
    assert {s.path[-1] for s in asked} >= {"token", "token_file", "state_dir"}
    assert [s.key for s in asked if why_not(s.path) is None] == []
