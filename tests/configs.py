"""Configurations to read, and ways to read them."""

import grp
import re
from pathlib import Path

import pytest

from collectors.reading import Seconds
from supervisor.accounts import SocketMode
from supervisor.config.config import SETTINGS, ConfigError, LogFormat, LogLevel, load
from supervisor.core.foreign_rule import ForeignRule
from supervisor.core.ladder import Rung
from supervisor.core.policy import FOREVER, Brake, Retention, Switch
from supervisor.core.rank import RANKINGS
from supervisor.core.record import Mode
from supervisor.core.steps import Step

KINDS = frozenset({"ollama", "llamacpp", "vllm", "http"})
TOKEN = "0123456789abcdef"
GIB = 1024**3

FULL = """
mode = "advise"
detect = false
max_active_backends = 3
single_model_mode = true
force_eviction_when_busy = true
ranking = "landlord"
prefetch = true
lru_eviction_max_retries = 7
lru_eviction_retry_interval = "2s"
sample_interval = 0.5
holders_interval = "5s"
relief_grace = "0s"
restore_margin = "1GiB"
state_dir = "state"
log_level = "debug"
[listen]
host = "0.0.0.0"
port = 0
socket = "/run/ullage.sock"
token = "0123456789abcdef"
allowed_hosts = ["GPU.lan"]
[settle]
timeout = "3s"
step = "100ms"
[watchdog]
idle_timeout = "30m"
busy = true
[pools.ram]
reserve = "10%"
budget = "20GiB"
[pools."GPU-1"]
reserve = "1GiB"
[engines.main]
kind = "llamacpp"
url = "http://127.0.0.1:8080/"
key = "sk"
max_active_backends = 1
[engines.main.watchdog]
idle = false
[engines.far]
url = "https://gpu.lan/vllm"
allow_remote = true
[models."qwen3:8b"]
pinned = true
[models."main/gemma"]
watchdog = {idle_timeout = "1m"}
"""


def reader(folder):
    """Loads a text as the file, with an environment and flags (listen__port=1)."""

    def read(text="", environ=None, **flags):
        file = folder / "ullage.toml"
        file.write_text(text)
        wanted = {k.replace("__", "."): v for k, v in flags.items()}
        return load(file, environ or {}, wanted, kinds=KINDS)

    return read


def complainer(read):
    """The lines of the error that loading raises, without where they were found."""
    where = re.compile(r" \([^()]*(:\d+|ullage.toml|environment.*|flag .*)\)$")

    def mistakes(text="", environ=None, **flags):
        with pytest.raises(ConfigError) as wrong:
            read(text, environ, **flags)
        lines = str(wrong.value).splitlines()
        assert lines == [str(p) for p in wrong.value.problems]
        return [where.sub("", line) for line in lines]

    return mistakes


def nothing(**environ):
    """What there is without a file."""
    return load(None, environ, {}, kinds=KINDS, places=[])


ROOTS = grp.getgrgid(0).gr_name  # a group that there is

# As they are written in a variable, and read: another value than the usual one.
SAMPLES = {
    "true | false": ("yes", True),
    "count": ("4", 4),
    "port": ("4", 4),
    "duration": ("4s", 4.0),
    "duration or -1": ("-1", FOREVER),
    "pinned | on_demand | keep_alive": ("on_demand", Retention.ON_DEMAND),
    "size": ("4GiB", 4 * GIB),
    "path": ("/srv/x", Path("/srv/x")),
    "secret": (TOKEN, TOKEN),
    "host": ("::1", "::1"),
    "list of hosts": ("a, B.lan", ("a", "b.lan")),
    "list of pools": ("ram, GPU-1", frozenset({"ram", "GPU-1"})),
    "list of origins": ("http://a:3000, app://B/", ("http://a:3000", "app://b")),
    "table of names": ("fast=ollama/qwen3:8b, b = c", {"fast": ("ollama/qwen3:8b",), "b": ("c",)}),
    "count from 1": ("4", 4),
    "list of steps": ("cancel, unload", (Step.CANCEL, Step.UNLOAD)),
    "ignore | yield | refuse | alert": ("alert", ForeignRule.ALERT),
    "ranking": ("lru", RANKINGS["lru"]),
    "count/duration": ("2/1m", Brake(2, Seconds(60))),
    "off | engine | host": ("engine", Switch.ENGINE),
    "list of rungs": ("kill, unload", (Rung.UNLOAD, Rung.KILL)),
    "enforce | advise | observe": ("advise", Mode.ADVISE),
    "debug | info | warning | error": ("debug", LogLevel.DEBUG),
    "auto | console | json": ("json", LogFormat.JSON),
    "URL of a collector": ("http://otel:4318", "http://otel:4318/v1/traces"),
    "share": ("10%", 0.1),
    "URL of a gateway": ("http://gpu1:8553/", "http://gpu1:8553"),
    "address of Ray": ("10.0.0.1:6379", "10.0.0.1:6379"),
    "number above 0": ("1.5", 1.5),
    "text": (ROOTS, ROOTS),
    "0600 | 0660 | 0666": ("0600", SocketMode.OWNER),
}


# Those that have a variable, and mean something each by itself.
_IN_PAIRS = ("tls_cert", "tls_key")
ALONE = [
    s
    for s in SETTINGS
    if s.env and s.at and s.path[-1] not in _IN_PAIRS and s.key != "fleet.gateway"
]


def sample(setting):
    """Another value of `setting` than the usual one, as it is written and read."""
    odd = {"settle.step": ("20ms", 0.02), "sample_interval": ("2s", 2.0)}
    odd["fleet.offers"] = ("7", 7)
    text, value = odd.get(setting.key, SAMPLES[setting.kind])
    if setting.key in ("detect", "gateway.enabled"):
        text, value = "no", False
    return text, value
