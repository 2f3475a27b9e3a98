"""Units in words: of systemd's properties, of the configuration, and of the rule for rights."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from supervisor.config import forms
from supervisor.engines import unit
from supervisor.engines.launched import Phase

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("properties", "phase", "trouble"),
    [
        ({"ActiveState": "active", "SubState": "running"}, Phase.RUNNING, None),
        ({"ActiveState": "reloading"}, Phase.RUNNING, None),
        ({"ActiveState": "activating", "SubState": "start-pre"}, Phase.STARTING, None),
        ({"ActiveState": "deactivating"}, Phase.STOPPING, None),
        ({"ActiveState": "inactive"}, Phase.STOPPED, None),
        (
            {"ActiveState": "failed", "Result": "oom-kill"},
            Phase.STOPPED,
            "u failed: the kernel killed it for want of memory",
        ),
        (
            {"ActiveState": "failed", "Result": "signal", "ExecMainStatus": 11},
            Phase.STOPPED,
            "u failed: SIGSEGV ended it",
        ),
        (
            {"ActiveState": "failed", "Result": "start-limit-hit"},
            Phase.STOPPED,
            "u failed: it was started too often in a row: systemctl reset-failed u",
        ),
        (
            {"ActiveState": "activating", "SubState": "auto-restart", "Result": "watchdog"},
            Phase.STARTING,
            "u is about to be started again: its watchdog heard nothing of it",
        ),
    ],
)
def test_what_systemd_says_of_a_unit_is_put_in_our_words(properties, phase, trouble):
    status = unit.read("u", {"InvocationID": b"\1\2", "MainPID": 7, **properties})
    assert (status.phase, status.trouble, status.pid) == (phase, trouble, 7)


def test_a_unit_about_to_be_started_again_is_no_run_that_was_ready_before():
    before = {"ActiveState": "active", "SubState": "running", "InvocationID": b"\1"}
    after = {**before, "ActiveState": "activating", "SubState": "auto-restart"}
    assert unit.read("u", before).run != unit.read("u", after).run


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no node to run the rule with")
def test_the_polkit_rule_allows_what_is_needed_and_nothing_else():
    rule = (ROOT / "deploy/polkit/50-ullage.rules").read_text()
    asked = [
        (id, user, name, verb)
        for id in ("org.freedesktop.systemd1.manage-units", "org.freedesktop.login1.reboot")
        for user in ("ullage", "mallory")
        for name in ("vllm-qwen3.service", "sshd.service")
        for verb in ("start", "stop", "kill", "thaw", "set-property")
    ]
    program = f"""
    let rule; const polkit = {{Result: {{YES: "yes"}}, addRule: (r) => {{ rule = r; }}}};
    {rule}
    const asked = {json.dumps(asked)};
    console.log(JSON.stringify(asked.filter(([id, user, unit, verb]) => rule(
        {{id, lookup: (key) => ({{unit, verb}})[key]}}, {{user}}) === "yes")));
    """
    out = subprocess.run(["node", "-e", program], capture_output=True, text=True, check=True)
    assert [tuple(a) for a in json.loads(out.stdout)] == [
        ("org.freedesktop.systemd1.manage-units", "ullage", "vllm-qwen3.service", verb)
        for verb in ("start", "stop", "kill", "thaw")
    ]


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("vllm", "vllm.service"),
        ("vllm.service", "vllm.service"),
        ("vllm@qwen3.5", "vllm@qwen3.5.service"),
    ],
)
def test_a_unit_may_be_written_without_its_type(written, name):
    assert forms.UNIT.read(written) == name


@pytest.mark.parametrize("written", ["", "a b", "../a", "vllm.socket", "vllm.timer", 3, "x" * 300])
def test_what_is_no_service_is_told_how_one_is_written(written):
    with pytest.raises(ValueError, match=r'write it as "vllm\.service"'):
        forms.UNIT.read(written)
