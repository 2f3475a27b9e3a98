"""Where settings come from, and what becomes of them."""

from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from collectors.reading import PoolId
from supervisor.config.config import ConfigError, LogLevel, default_state_dir, effective, load
from supervisor.config.given import usual_places
from supervisor.core.policy import Amount, Policy
from supervisor.core.rank import RANKINGS
from supervisor.core.record import Mode
from supervisor.core.snapshot import EngineId, ModelId, ModelRef
from tests.configs import ALONE, FULL, KINDS, TOKEN, nothing, sample

GIB = 1024**3


# -- defaults


def test_without_any_file_everything_has_its_default():
    config = nothing()
    assert config.mode is Mode.ENFORCE
    assert config.detect is True
    assert config.engines == ()
    assert (config.listen_host, config.listen_port) == ("127.0.0.1", 8552)
    assert (config.socket, config.token, config.allowed_hosts) == (None, None, ())
    assert (config.sample_interval, config.holders_interval) == (1.0, 10.0)
    assert (config.lru_eviction_max_retries, config.lru_eviction_retry_interval) == (30, 1.0)
    assert (config.settle, config.settle_step) == (5.0, 0.25)
    assert config.log_level is LogLevel.INFO
    assert set(config.sources.values()) <= {"default"}


def test_the_default_policy_is_that_of_the_core():
    assert nothing().policy == Policy()


def test_what_a_model_takes_may_be_said_in_bytes_or_as_a_share(read):
    config = read('[models.a]\nmemory = "6GiB"\n[models."e/b"]\nmemory = "25%"')
    said = {name: model.memory for name, model in config.policy.models.items()}
    assert said == {"a": Amount(size=6 * GIB), "e/b": Amount(fraction=0.25)}
    assert ("models.a.memory", "6GiB") in {row[:2] for row in effective(config)}
    with pytest.raises(ConfigError, match=r"models\.a\.memory"):
        read('[models.a]\nmemory = "some"')


def test_a_config_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        nothing().mode = Mode.OBSERVE


def test_the_journal_has_its_place_on_every_system():
    there = default_state_dir
    assert there({"STATE_DIRECTORY": "/run/a:/run/b"}, root=True)[0] == Path("/run/a")
    assert there({}, root=True) == (Path("/var/lib/ullage"), "default")
    assert there({"XDG_STATE_HOME": "/x"}, root=False)[0] == Path("/x/ullage")
    assert there({"XDG_STATE_HOME": "x", "HOME": "/h"}, root=False)[0] == Path(
        "/h/.local/state/ullage"
    )


def test_a_state_dir_that_is_said_wins_over_that_of_systemd(read):
    config = read('state_dir = "/srv/ullage"', {"STATE_DIRECTORY": "/run/a"})
    assert config.state_dir == Path("/srv/ullage")
    assert read("", {"STATE_DIRECTORY": "/run/a"}).state_dir == Path("/run/a")


# -- reading


def test_every_key_of_the_file_arrives(read, tmp_path):
    config = read(FULL)
    policy = config.policy
    assert config.mode is Mode.ADVISE
    assert config.detect is False
    assert (policy.max_active, policy.single, policy.force_when_busy) == (3, True, True)
    assert (policy.grace, policy.restore_margin) == (0, GIB)
    assert (policy.ranking, policy.prefetch) == (RANKINGS["landlord"], True)
    assert (config.lru_eviction_max_retries, config.lru_eviction_retry_interval) == (7, 2.0)
    assert (config.sample_interval, config.holders_interval) == (0.5, 5.0)
    assert config.state_dir == tmp_path / "state"
    assert config.log_level is LogLevel.DEBUG
    assert (config.listen_host, config.listen_port) == ("0.0.0.0", 0)
    assert (config.socket, config.token) == (Path("/run/ullage.sock"), TOKEN)
    assert config.allowed_hosts == ("gpu.lan",)
    assert (config.settle, config.settle_step) == (3.0, 0.1)
    assert policy.pools[PoolId("ram")].reserve == Amount(fraction=0.1)
    assert policy.pools[PoolId("ram")].budget == Amount(size=20 * GIB)
    assert policy.pools[PoolId("GPU-1")].reserve == Amount(size=GIB)
    main, far = config.engines
    assert (main.id, main.kind, main.url) == ("main", "llamacpp", "http://127.0.0.1:8080")
    assert main.key == "sk"
    assert (far.id, far.kind, far.url, far.key) == ("far", None, "https://gpu.lan/vllm", None)
    assert policy.max_active_of(EngineId("main")) == 1


def test_the_most_particular_watchdog_decides(read):
    policy = read(FULL).policy
    far = ModelRef(EngineId("far"), ModelId("gemma"))
    main = ModelRef(EngineId("main"), ModelId("other"))
    gemma = ModelRef(EngineId("main"), ModelId("gemma"))
    assert policy.idle_timeout_of(far) == 1800
    assert policy.idle_timeout_of(main) is None
    assert policy.idle_timeout_of(gemma) == 60
    assert policy.busy_timeout_of(far) == 300
    assert policy.is_pinned(ModelRef(EngineId("far"), ModelId("qwen3:8b")))


@pytest.mark.parametrize("scope", ["watchdog", "engines.e.watchdog", "models.m.watchdog"])
@pytest.mark.parametrize("name", ["idle", "busy"])
def test_a_timeout_switches_its_watchdog_on_unless_that_is_switched_off_there(read, scope, name):
    engine = '[engines.e]\nurl = "http://127.0.0.1:1"\n'
    ref = ModelRef(EngineId("e"), ModelId("m"))
    ask = {"idle": Policy.idle_timeout_of, "busy": Policy.busy_timeout_of}[name]
    on = read(f'{engine}[{scope}]\n{name}_timeout = "7m"').policy
    off = read(f'{engine}[{scope}]\n{name} = false\n{name}_timeout = "7m"').policy
    assert ask(on, ref) == 420
    assert ask(off, ref) is None


def test_flags_win_over_the_environment_and_that_over_the_file(read, tmp_path):
    text = 'mode = "observe"\nlog_level = "error"\ndetect = false\n[listen]\nport = 1\n'
    environ = {"ULLAGE_MODE": "advise", "ULLAGE_LISTEN_PORT": "2", "ULLAGE_LOG_LEVEL": "debug"}
    config = read(text, environ, mode="enforce", listen__port=3, log_level=None)
    assert (config.mode, config.listen_port) == (Mode.ENFORCE, 3)
    assert (config.log_level, config.detect) == (LogLevel.DEBUG, False)
    assert config.sources["mode"] == "flag --mode"
    assert config.sources["listen.port"] == "flag --port"
    assert config.sources["log_level"] == "environment ULLAGE_LOG_LEVEL"
    assert config.sources["detect"] == f"file {tmp_path / 'ullage.toml'}"
    assert config.sources["listen.host"] == "default"


@pytest.mark.parametrize("setting", ALONE, ids=lambda s: s.env)
def test_every_scalar_has_a_variable_of_the_environment(setting):
    text, value = sample(setting)
    config = load(None, {setting.env: text}, {}, kinds=KINDS, places=[])
    found = config
    for name in setting.at.split("."):
        found = getattr(found, name)
    assert found == value
    assert config.sources[setting.key] == f"environment {setting.env}"
    assert (setting.key, setting.form.show(value), f"environment {setting.env}") in effective(
        config
    )


def test_pools_and_engines_can_be_given_in_the_environment():
    config = nothing(
        ULLAGE_POOLS_RAM_BUDGET="4GiB",
        ULLAGE_POOLS_RAM_RESERVE="5%",
        ULLAGE_ENGINES="main=http://127.0.0.1:8080, http://127.0.0.1:11434,http://localhost",
    )
    ram = config.policy.pools[PoolId("ram")]
    assert (ram.budget, ram.reserve) == (Amount(size=4 * GIB), Amount(fraction=0.05))
    assert [(e.id, e.url) for e in config.engines] == [
        ("main", "http://127.0.0.1:8080"),
        ("engine-11434", "http://127.0.0.1:11434"),
        ("engine-http", "http://localhost"),
    ]


def test_engines_can_be_given_as_flags_and_complete_those_of_the_file(read):
    config = read(
        '[engines.a]\nkind = "vllm"\nurl = "http://127.0.0.1:1"',
        engines=("a=http://127.0.0.1:2", "b=http://127.0.0.1:3"),
    )
    assert [(e.id, e.kind, e.url) for e in config.engines] == [
        ("a", "vllm", "http://127.0.0.1:2"),
        ("b", None, "http://127.0.0.1:3"),
    ]
    assert config.sources["engines.a.url"] == "flag --engine"


def test_keys_below_a_name_can_be_flags_too_quoted_as_in_the_file():
    flags = {
        'models."qwen2.5:7b".pinned': "true",
        "models.gemma:2b.pinned": "true",
        "pools.GPU-1.reserve": "1GiB",
        "engines.a.url": "http://127.0.0.1:1",
        "engines.a.max_active_backends": "2",
    }
    policy = load(None, {}, flags, kinds=KINDS, places=[]).policy
    assert [m for m in policy.models if policy.models[m].pinned] == ["qwen2.5:7b", "gemma:2b"]
    assert policy.pools[PoolId("GPU-1")].reserve == Amount(size=GIB)
    assert policy.max_active_of(EngineId("a")) == 2


def test_an_engine_may_be_said_to_use_some_pools_alone(read):
    config = read('[engines.a]\nurl = "http://127.0.0.1:1"\npools = ["GPU-1", "ram"]')
    assert config.policy.pools_of(EngineId("a")) == {PoolId("GPU-1"), PoolId("ram")}
    assert ("engines.a.pools", "GPU-1, ram") in {row[:2] for row in effective(config)}
    for said, wrong in (('"GPU-1"', "is not a list of pools"), ("[3]", "3 is the name of no pool")):
        with pytest.raises(ConfigError, match=wrong):
            read(f'[engines.a]\nurl = "http://127.0.0.1:1"\npools = {said}')


def test_a_stronger_layer_replaces_the_other_name_of_the_same_thing(read, tmp_path):
    assert not read("single_active_backend = true", {"ULLAGE_SINGLE_MODEL_MODE": "0"}).policy.single
    text = '[listen]\ntoken_file = "nowhere"'
    config = read(text, {"ULLAGE_TOKEN": TOKEN})
    assert config.token == TOKEN
    assert config.sources["listen.token"] == "environment ULLAGE_TOKEN"


def test_an_empty_variable_is_as_good_as_none():
    assert nothing(ULLAGE_MODE="", ULLAGE_CONFIG="").mode is Mode.ENFORCE


def test_paths_are_relative_to_where_they_are_written(read, tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    assert read('state_dir = "a"').state_dir == tmp_path / "a"
    assert read("", {"ULLAGE_STATE_DIR": "a"}).state_dir == Path("/a")
    assert read("", state_dir=Path("b")).state_dir == Path("/b")


# -- where the file is


def test_the_file_is_looked_for_in_the_usual_places(tmp_path):
    first, second = tmp_path / "1.toml", tmp_path / "2.toml"
    second.write_text('mode = "observe"')
    assert load(None, {}, {}, kinds=KINDS, places=[first, second]).mode is Mode.OBSERVE
    first.write_text('mode = "advise"')
    assert load(None, {}, {}, kinds=KINDS, places=[first, second]).mode is Mode.ADVISE
    environ = {"ULLAGE_CONFIG": str(second)}
    assert load(None, environ, {}, kinds=KINDS, places=[first]).mode is Mode.OBSERVE
    assert load(first, environ, {}, kinds=KINDS).mode is Mode.ADVISE


def test_it_is_the_same_file_that_is_read_again(tmp_path):
    first, second = tmp_path / "1.toml", tmp_path / "2.toml"
    second.write_text('mode = "observe"')
    config = load(None, {}, {"detect": False}, kinds=KINDS, places=[first, second])
    first.write_text('mode = "advise"')
    again = config.reread()
    assert (again.mode, again.detect, again.looked) == (Mode.OBSERVE, False, (second,))
    second.unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        config.reread()


def test_a_user_whom_the_system_does_not_know_needs_no_home(monkeypatch):
    def nobody():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nobody)
    assert usual_places({}) == (Path("ullage.toml"), Path("/etc/ullage/ullage.toml"))
    folder, _ = default_state_dir({}, root=False)
    assert folder.name.startswith("ullage-")


def test_the_usual_places_are_here_then_the_users_then_the_systems():
    assert usual_places({"XDG_CONFIG_HOME": "/x"}) == (
        Path("ullage.toml"),
        Path("/x/ullage/ullage.toml"),
        Path("/etc/ullage/ullage.toml"),
    )
    assert usual_places({})[1] == Path.home() / ".config/ullage/ullage.toml"


def test_a_file_that_is_named_must_be_there(tmp_path):
    for missing in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(ConfigError, match=f"^{missing}: cannot be read: "):
            load(missing, {}, {}, kinds=KINDS)
    with pytest.raises(ConfigError, match="cannot be read"):
        load(None, {"ULLAGE_CONFIG": str(tmp_path / "none.toml")}, {}, kinds=KINDS)


@pytest.mark.parametrize(
    ("text", "line"),
    [(b"a = 1\nb = = 2\n", 2), (b"a = 1\n[x\n", 2), (b'a = "x', 1), (b"a=1\n\xff", 2)],
)
def test_what_is_not_toml_is_reported_with_its_line(tmp_path, text, line):
    file = tmp_path / "broken.toml"
    file.write_bytes(text)
    with pytest.raises(ConfigError, match=rf"^{file}:{line}: is not "):
        load(file, {}, {}, kinds=KINDS)
