"""What `ullage doctor` says of the fleet: of Ray on this machine, and of the agent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from supervisor.agent.safety import Facts, Rules, findings

from .checkup import Check, Status

PATIENCE = 2.0  # seconds for the agent, which answers from memory


def examine(settings: Mapping[str, tuple[str, str]]) -> list[Check]:
    """Nothing where this host is in no fleet. `settings`: values and sources by key, in words."""
    if "fleet.socket" not in settings:
        return []
    from supervisor.agent import seen

    said = {key: value for key, (value, _) in settings.items()}
    rules = Rules(
        said.get("fleet.require_token", "true") == "true",
        said.get("fleet.allow_outside", "false") == "true",
    )
    own = _agent(said["fleet.socket"])
    return checks(seen.facts(), rules, own)


def checks(facts: Facts | None, rules: Rules, agent: Mapping[str, Any] | None) -> list[Check]:
    """`facts` None: no Ray runs here; `agent`: what it answers, None: nothing."""
    found = [*_of_agent(agent)]
    if facts is None:
        if agent is None or agent.get("backend") == "ray":
            what = "no node of Ray runs on this machine"
            found.append(Check("fleet: Ray", Status.FAIL, what, "see deploy/fleet.md: `ray start`"))
        return found
    wrong = findings(facts, rules)
    found += [
        Check(f"fleet: {f.about}", Status.FAIL if f.refuses else Status.WARN, f.what, f.remedy)
        for f in wrong
    ]
    if not wrong:
        what = "Ray asks for a token, its dashboard is off, and it listens where strangers are not"
        found.append(Check("fleet: Ray", Status.OK, what))
    return found


def _of_agent(agent: Mapping[str, Any] | None) -> list[Check]:
    about = "fleet"
    if agent is None:
        what = "no agent answers on this host: it is in no fleet"
        return [Check(about, Status.WARN, what, "run `ullage fleet join`, as a unit of its own")]
    try:
        found = [
            Check(about, Status.WARN, str(sentence), "see `ullage fleet status`")
            for sentence in agent["trouble"]
        ]
        if agent["connected"] and not found:
            count = len(agent["directory"]["hosts"])
            hosts = "1 host" if count == 1 else f"{count} hosts"
            found.append(Check(about, Status.OK, f"{agent['self']} sees {hosts}"))
    except (KeyError, TypeError):
        what = "the agent answers as one of another version"
        return [Check(about, Status.WARN, what, "end it, and start `ullage fleet join` anew")]
    return found


def _agent(socket: str) -> Mapping[str, Any] | None:
    from .client import Client, ClientError

    try:
        return Client(socket=socket, timeout=PATIENCE).get("/fleet").document
    except ClientError:
        return None
