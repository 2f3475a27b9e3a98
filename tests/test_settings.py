"""What is written about the settings: the print at start, the example, the documentation."""

import os
import re
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from supervisor.config.config import effective, load
from supervisor.config.given import path_of
from supervisor.config.scopes import Scope
from supervisor.config.served import LAUNCHED
from supervisor.config.settings import OTHER_VARIABLES, SETTINGS, dotted
from supervisor.core.policy import ACCELERATOR_RESERVE, HOST_RESERVE, Retention
from supervisor.core.snapshot import EngineId, ModelId, ModelRef
from supervisor.overrides import why_not
from supervisor.units import format_amount
from tests.configs import ALONE, FULL, KINDS, nothing, sample

EXAMPLE = Path(__file__).parent.parent / "deploy" / "ullage.example.toml"


def test_no_two_settings_share_a_variable():
    names = [s.env for s in SETTINGS if s.env] + list(OTHER_VARIABLES)
    assert len(names) == len(set(names))


def test_every_setting_is_printed_at_start_with_its_source(read):
    rows = effective(read(FULL))
    table = {key: (text, source.split()[0]) for key, text, source in rows}
    assert table["mode"] == ("advise", "file")
    assert table["relief_grace"] == ("0s", "file")
    assert table["watchdog.idle"] == ("true", "default")
    assert table["watchdog.busy_timeout"] == ("5m", "default")
    assert table["single_active_backend"] == ("true", "file")
    assert table["pools.ram.reserve"] == ("10%", "file")
    assert table["pools.GPU-1.budget"] == ("none", "default")
    assert table["engines.main.max_active_backends"] == ("1", "file")
    assert table["engines.main.watchdog.idle"] == ("false", "file")
    assert table['models."qwen3:8b".pinned'] == ("true", "file")
    assert table['models."main/gemma".watchdog.idle_timeout'] == ("1m", "file")
    assert len(table) == len(rows)


def test_the_printed_defaults_are_the_documented_ones():
    documented = {s.key: s.default for s in SETTINGS}
    rows = effective(nothing())
    assert {s.key for s in SETTINGS if s.at or s.path[0] in ("pools", "types")} == {
        r[0] for r in rows
    }
    for key, text, _ in rows:
        assert key == "state_dir" or text == documented[key]


def uncommented():
    """The example with every setting in force; the prose has a space after its #."""
    return re.sub(r"(?m)^#(?=[a-z\[])", "", EXAMPLE.read_text())


def test_the_example_changes_nothing_as_it_is():
    config = load(EXAMPLE, {}, {}, kinds=KINDS)
    assert config == load(None, {}, {}, kinds=KINDS, places=[])


def test_the_example_has_every_setting_and_no_other():
    found = set()

    engines = ("llama", "mine", "own", "units", "boxes", "cluster")
    names = dict.fromkeys(engines, "NAME") | {
        "qwen3:8b": "MODEL",
        "qwen3:235b": "NAME",
        "rivals": "NAME",
        "steam*": "PROCESS",
        "laptop": "NAME",
        "alertmanager": "NAME",
        "make-room": "NAME",
        "spare-room": "NAME",
    }
    known = {s.path for s in SETTINGS}

    def walk(tree, path=()):
        for key, value in tree.items():
            here = (*path, names.get(key, key))
            is_table = isinstance(value, dict) and here not in known  # else a value of one
            walk(value, here) if is_table else found.add(here)

    walk(tomllib.loads(uncommented()))
    assert found == known


def test_what_the_example_calls_a_default_is_one(tmp_path):
    text = re.sub(
        r"(?m)^(token|token_file|ca_file|tls_cert|tls_key|socket|traces|budget|key_file|min_residency|swap_brake|retention"
        r"|keep_alive|name|address|soft|hard|restore|relief_grace|foreign_pressure) = .*$",
        "",
        uncommented(),
    )
    text = text[: text.index("[engines")].replace(
        "~/.local", os.environ.get("HOME", "") + "/.local"
    )
    file = tmp_path / "ullage.toml"
    file.write_text(text)
    config = load(file, {}, {}, kinds=KINDS)
    bare = load(None, {}, {}, kinds=KINDS, places=[])
    own = ("state_dir", "fleet.name", "fleet.socket")  # the machine's; told where there is a fleet
    said = [(k, v) for k, v, _ in effective(config) if k not in own]
    assert said == [(k, v) for k, v, _ in effective(bare) if k not in own]
    assert sum(source.startswith("file ") for source in config.sources.values()) >= 24


def test_the_example_works_when_everything_in_it_is_switched_on(tmp_path):
    (tmp_path / "llama.key").touch(0o600)
    text = re.sub(r"(?m)^(token_file|ca_file|key_file|tls_cert|tls_key) = .*$", "", uncommented())
    file = tmp_path / "ullage.toml"
    file.write_text(text)
    config = load(file, {}, {}, kinds=KINDS | LAUNCHED.keys())
    assert config.engines[0].key == "sk-local"
    assert config.engines[1].options.states()["ready"] == "loaded"
    ref = ModelRef(EngineId("llama"), ModelId("qwen3:8b"))
    assert config.policy.retention_of(ref) is Retention.KEEP_ALIVE
    assert config.policy.idle_timeout_of(ref) == 3600


def test_amounts_of_the_documentation_are_those_of_the_core():
    settings = {s.key: s for s in SETTINGS}
    reserve = settings["pools.ram.reserve"]
    assert reserve.default == format_amount(HOST_RESERVE)
    assert format_amount(ACCELERATOR_RESERVE) in reserve.help


# -- live, or when the daemon is started anew


@pytest.mark.parametrize("setting", ALONE, ids=lambda s: s.env)
def test_what_is_called_live_is_all_in_the_policy_and_what_needs_a_restart_is_not(setting):
    """The policy is what is handed to the loop while it runs; of all else parts were made."""
    usual = nothing()
    changed = nothing(**{setting.env: sample(setting)[0]})
    assert changed != usual
    if why_not(setting.path) is None:
        assert replace(changed, policy=usual.policy, sources=usual.sources) == usual
    else:
        assert changed.policy == usual.policy


@pytest.mark.parametrize("path", [s.path for s in SETTINGS if not s.env], ids=dotted)
def test_below_names_of_the_operators_choice_the_policys_scopes_are_live_alone(path):
    live = why_not(path) is None
    if path[0] == "engines":
        assert live == (path[2] in {*Scope.model_fields, "max_active_backends", "pools"})
    else:
        assert live == (path[0] in ("models", "groups", "foreign"))


@pytest.mark.parametrize("key", ["engines.url", "models.pinned", "pools.reserve", "engines", "x"])
def test_a_key_without_its_name_is_unknown(key):
    assert why_not(path_of(key)).startswith("unknown key")
