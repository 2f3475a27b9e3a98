"""The table of alerts: what is read of it, and every mistake that can be made in it."""

import pytest

from collectors.reading import gib
from supervisor.config.alerted import ActionConfig, AlertsConfig, Kind
from supervisor.config.config import effective
from supervisor.core.groups import alike
from supervisor.core.policy import Amount, Brake
from tests.configs import nothing

WHOLE = """
[alerts]
limit = "3/5m"
dry_run = true
hold_for = "1h"
[alerts.actions.make-room]
action = "evict"
match = { alertname = "UllageHeadroomLow", severity = "*" }
free = "10%"
models = ["ollama/*"]
engine = "ollama"
pool = "GPU-1"
below = "2GiB"
dry_run = true
[alerts.actions.spare]
action = "reserve"
size = "4GiB"
"""


def test_all_of_it_is_read_and_shown(read):
    config = read(WHOLE)
    assert config.alerts == AlertsConfig(
        Brake(3, 300),
        True,
        3600,
        (
            ActionConfig(
                "make-room",
                Kind.EVICT,
                {"alertname": "UllageHeadroomLow", "severity": "*"},
                Amount(fraction=0.1),
                ("ollama/*",),
                "ollama",
                "GPU-1",
                below=Amount(size=gib(2)),
                dry_run=True,
            ),
            ActionConfig("spare", Kind.RESERVE, size=gib(4)),
        ),
    )
    shown = {key: value for key, value, _ in effective(config) if key.startswith("alerts.")}
    assert shown == {
        "alerts.limit": "3/5m",
        "alerts.dry_run": "true",
        "alerts.hold_for": "1h",
        "alerts.actions.make-room.action": "evict",
        "alerts.actions.make-room.match": 'alertname="UllageHeadroomLow", severity="*"',
        "alerts.actions.make-room.free": "10%",
        "alerts.actions.make-room.models": "ollama/*",
        "alerts.actions.make-room.engine": "ollama",
        "alerts.actions.make-room.pool": "GPU-1",
        "alerts.actions.make-room.below": "2GiB",
        "alerts.actions.make-room.dry_run": "true",
        "alerts.actions.spare.action": "reserve",
        "alerts.actions.spare.size": "4GiB",
    }
    assert all(w.startswith("file ") for k, _, w in effective(config) if k.startswith("alerts."))


def test_without_it_alerts_cause_nothing():
    assert nothing().alerts == AlertsConfig(Brake(6, 600), False, 900, ())


def test_what_is_not_of_one_action_may_be_said_by_a_variable():
    assert nothing(ULLAGE_ALERTS_LIMIT="2/1m").alerts.limit == Brake(2, 60)
    assert nothing(ULLAGE_ALERTS_DRY_RUN="yes").alerts.dry_run


ACTION = "[alerts.actions.a]\n"
MISTAKES = [
    (
        'limit = "6"',
        'alerts.limit: "6" is not a count of actions in a time; write it as "6/10m", six',
    ),
    ('hold_for = "0s"', 'alerts.hold_for: "0s" is too short; the least is 100ms'),
    ("holdfor = 1", "alerts.holdfor: unknown key; did you mean alerts.hold_for?"),
    (ACTION, "alerts.actions.a: says not what is to be done; write action = one of evict, sleep,"),
    (
        f'{ACTION}action = "evct"',
        'alerts.actions.a.action: "evct" is not one of evict, sleep, pause,',
    ),
    (
        f'{ACTION}action = "evict"\nmach = {{ a = "b" }}',
        "alerts.actions.a.mach: unknown key; did you",
    ),
    (
        f'{ACTION}action = "evict"\nmatch = {{}}',
        "alerts.actions.a.match: names no label, which would be",
    ),
    (
        f'{ACTION}action = "evict"\nmatch = {{ a = 1 }}',
        "alerts.actions.a.match: 1 is not the text of",
    ),
    (
        f'{ACTION}action = "evict"\nsize = "1GiB"',
        "alerts.actions.a.size: means nothing to evict; it",
    ),
    (f'{ACTION}action = "pin"', "alerts.actions.a: pin has to be told models"),
    (f'{ACTION}action = "restart"', "alerts.actions.a: restart has to be told engine"),
    (f'{ACTION}action = "reserve"', "alerts.actions.a: reserve has to be told size"),
    (f'{ACTION}action = "reserve"\nsize = 0', "alerts.actions.a.size: is nothing to keep free"),
    (
        f'{ACTION}action = "pause"\nmodels = ["a"]',
        "alerts.actions.a.models: means nothing to pause;",
    ),
    (
        f'{ACTION}action = "evict"\nmodels = []',
        "alerts.actions.a.models: a list is not a list of models",
    ),
    (f'{ACTION}action = "evict"\nbelow = "much"', 'alerts.actions.a.below: "much" '),
    (
        '[alerts.actions."a b"]\naction = "evict"',
        'alerts.actions."a b": an action\'s name is letters,',
    ),
    ('actions = "evict"', 'alerts.actions: "evict" stands where a table should'),
]


@pytest.mark.parametrize(("text", "why"), MISTAKES, ids=lambda word: word[:50])
def test_every_mistake_is_refused_with_what_would_be_right(mistakes, text, why):
    (line,) = mistakes(f"[alerts]\n{text}\n")
    assert line.startswith(why), line


def test_an_engine_that_nobody_can_find_is_a_mistake(mistakes, read):
    text = (
        f'[engines.vllm]\nurl = "http://127.0.0.1:8000"\n{ACTION}action = "restart"\nengine = "vlm"'
    )
    (line,) = mistakes(f"detect = false\n{text}")
    assert line == "alerts.actions.a.engine: no engine is called vlm; did you mean vllm?"
    assert read(text).alerts.action("a").engine == "vlm", "it may be found by itself"


@pytest.mark.parametrize(
    ("text", "pattern", "is_so"),
    [
        ("ollama/qwen3:8b", "ollama/*", True),
        ("ollama/qwen3:8b", "*qwen*", True),
        ("x", "x", True),
        ("x", "X", False),
        ("xy", "x?", False),  # nothing but a * has a meaning
        ("x?", "x?", True),
        ("a", "[a]", False),
        ("[a]", "[a]", True),
        ("", "*", True),
        ("", "a", False),
    ],
)
def test_only_a_star_has_a_meaning(text, pattern, is_so):
    assert alike(text, pattern) is is_so


def test_every_label_of_a_match_has_to_be_so():
    action = ActionConfig("a", Kind.EVICT, {"alertname": "Low*", "severity": "warning"})
    assert action.agrees({"alertname": "LowX", "severity": "warning", "more": "y"})
    assert not action.agrees({"alertname": "LowX", "severity": "critical"})
    assert not action.agrees({"alertname": "LowX"})
    assert ActionConfig("a", Kind.EVICT).agrees({})
