"""Every setting: its name, its default, how it is written, what it does.

The tables below are the shape of the file. SETTINGS is the same as a flat table; from it come
the names of the environment variables, the print at start and the documentation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, Field

from collectors.reading import Bytes, Seconds
from supervisor.accounts import GROUP, SocketMode
from supervisor.core.foreign_rule import ForeignRule
from supervisor.core.ladder import Rung
from supervisor.core.policy import Amount, Brake, Retention, Switch
from supervisor.core.record import Mode

from . import alerted, bounds, entrusted, forms, gated, pressures
from .engine import Engine
from .fleet import Fleet
from .forms import Form
from .logged import LogFormat, LogLevel, Telemetry
from .scopes import HostWatchdog, Scope
from .table import Table, form_of, setting

KeyPath = tuple[str, ...]


class Listen(Table):
    host: str = setting("127.0.0.1", forms.HOST, "The address to serve.", at="listen_host")
    port: int = setting(8552, forms.PORT, "The port to serve; 0: any free one.", at="listen_port")
    socket: Path | None = setting(
        None,
        forms.PATH,
        "A Unix socket to serve in addition. Who connects there needs no token: root, Ullage's own"
        " account and socket_group may do everything, others may look.",
        at="socket",
    )
    socket_group: str | None = setting(
        GROUP,
        forms.TEXT,
        "The group that may do everything on that socket, which is given to it; where there is no"
        " group ullage, nobody's.",
        at="socket_group",
    )
    socket_mode: SocketMode = setting(
        "0660",
        forms.one_of(SocketMode),
        "Whom the socket's file lets in at all: its owner, its group too, or everybody.",
        at="socket_mode",
    )
    token: str | None = setting(
        None,
        forms.SECRET,
        "What clients must send as a bearer token; needed beyond loopback.",
        at="token",
        shown="not set",
    )
    token_file: Path | None = setting(
        None,
        forms.PATH,
        "A file that holds the token; others must not be able to read it.",
    )
    allowed_hosts: tuple[str, ...] = setting(
        (), forms.HOSTS, "Further names under which clients reach us.", at="allowed_hosts"
    )
    tls_cert: Path | None = setting(None, forms.PATH, gated.CERTIFICATE, at="tls_cert")
    tls_key: Path | None = setting(None, forms.PATH, gated.ITS_KEY, at="tls_key")
    tokens: dict[str, entrusted.ScopedToken] = Field(default_factory=dict)


class Settle(Table):
    timeout: Seconds = setting(
        "5s", forms.INTERVAL, "How long an unload may take to give its memory back.", at="settle"
    )
    step: Seconds = setting(
        "250ms", forms.STEP, "The longest pause between two looks meanwhile.", at="settle_step"
    )


class Pool(pressures.Pressure):
    reserve: Amount | None = setting(
        None,
        forms.AMOUNT,
        "Kept free always. On accelerators the default is 512MiB or 3%, the larger.",
        shown="12%",
    )
    budget: Amount | None = setting(
        None, forms.AMOUNT, "What models may hold, all together. None: whatever the pool has."
    )
    max_active_backends: int = setting(
        0, forms.COUNT, "At most this many models that hold any of it at once; 0: no limit."
    )
    exclusive: bool = setting(
        False, forms.SWITCH, "It is for one model at a time: as max_active_backends = 1."
    )
    swap_brake: Brake | None = setting(
        None,
        bounds.BRAKE,
        'At most so many loads in a time for which somebody has to leave, as "6/10m"; those beyond'
        " are held until there may be one again.",
    )


class Model(Scope):
    pinned: bool = setting(False, forms.SWITCH, "Never unload it.")
    memory: Amount | None = setting(
        None,
        forms.AMOUNT,
        "What it takes, of the accelerator it goes to or of RAM. It counts until it was seen.",
    )


class File(Table):
    """The whole file."""

    mode: Mode = setting(
        "enforce",
        forms.one_of(Mode),
        "enforce: unload when needed. advise: say what would be done. observe: measure only.",
        at="mode",
    )
    detect: bool = setting(
        True, forms.SWITCH, "Look for engines on the usual ports of this machine.", at="detect"
    )
    max_active_backends: int = setting(
        0, forms.COUNT, "At most this many models at once; 0: no limit.", at="policy.max_active"
    )
    single_active_backend: bool = setting(
        False,
        forms.SWITCH,
        "At most one model at once, besides pinned ones.",
        at="policy.single",
    )
    single_model_mode: bool = setting(
        False, forms.SWITCH, "Another name for single_active_backend."
    )
    force_eviction_when_busy: bool = setting(
        False,
        forms.SWITCH,
        "Unload busy models too, when nothing else helps. Their requests fail.",
        at="policy.force_when_busy",
    )
    ranking: Any = setting(  # a Ranking, whose insides are not pydantic's business
        "value",
        forms.RANKING,
        "Who goes first when memory is short; see the table of rankings.",
        at="policy.ranking",
    )
    prefetch: bool = setting(
        False,
        forms.SWITCH,
        "Load, or wake, what is more likely than not to be asked for soon, where nobody has to go"
        " for it.",
        at="policy.prefetch",
    )
    lru_eviction_max_retries: int = setting(
        30,
        forms.TRIES,
        "How often to ask again while everybody who could go is busy.",
        at="lru_eviction_max_retries",
    )
    lru_eviction_retry_interval: Seconds = setting(
        "1s", forms.INTERVAL, "How long to wait in between.", at="lru_eviction_retry_interval"
    )
    sample_interval: Seconds = setting(
        "1s",
        forms.INTERVAL,
        "How often to measure while models are loaded, and to ask the engines; memory is read up to"
        " four times as often while it is short or moves, and a third as often while nothing is"
        " loaded.",
        at="sample_interval",
    )
    holders_interval: Seconds = setting(
        "10s",
        forms.INTERVAL,
        "How often to list who holds what, which costs drivers more; at once when memory moves"
        " and nobody knows why.",
        at="holders_interval",
    )
    unload_on_switch: Switch = setting(
        "off",
        forms.one_of(Switch),
        "A model leaves when its client moves on to another one of the same engine (engine), or to"
        " any other (host), unless another client or a lease holds it. off: it stays.",
        at="policy.unload_on_switch",
    )
    min_residency: Seconds | None = setting(
        None,
        forms.DURATION,
        "For how long a model stays once it was seen to come: nobody's load, no limit and no idle"
        " watchdog makes it go sooner. Short memory does, and whoever asks for it.",
        at="policy.min_residency",
    )
    retention: Retention | None = setting(
        None,
        forms.RETENTION,
        "How long models stay that nobody's memory is needed for. pinned: for ever, also when it is"
        " needed. on_demand: until the last user goes, a lease or a request. keep_alive: until they"
        " have been idle for keep_alive. None: until a watchdog finds them idle.",
        at="policy.retention",
    )
    keep_alive: Seconds | None = setting(
        None,
        forms.KEEP_ALIVE,
        "Idle for this long, a model goes; 0: after its last request, -1: never. Counts more than"
        " an idle watchdog of the same or a wider scope.",
        at="policy.keep_alive",
    )
    eviction_ladder: tuple[Rung, ...] = setting(
        ("sleep", "deep_sleep", "unload"),
        forms.LADDER,
        "How models may be made to go, tried from the mildest: sleep, deep_sleep, unload, restart"
        " and stop (of their whole engine), term and kill (of their processes). Each is judged by"
        " the memory that it gave back.",
        at="policy.ladder",
    )
    relief_grace: Seconds = setting(
        "10s",
        forms.DURATION,
        "How long a pool may be below its soft line before models are unloaded.",
        at="policy.grace",
    )
    relief_pause: Seconds = setting(
        "10s",
        forms.DURATION,
        "For how long only its hard line counts, after a pool was relieved: memory that goes up and"
        " down does not take one model after the other.",
        at="policy.relief_pause",
    )
    restore_margin: Bytes = setting(
        "256MiB",
        forms.SIZE,
        "How far beyond the soft line an unload for want of memory goes.",
        at="policy.restore_margin",
    )
    foreign_pressure: ForeignRule = setting(
        "yield",
        pressures.RULE,
        "What is done when others than models, a game or a training job, take so much of a pool"
        " that it falls short. yield: models leave, and come back when they have ended. refuse:"
        " nobody is loaded there meanwhile, and who is there stays. alert: a finding. ignore:"
        " nothing.",
        at="policy.foreign",
    )
    growth_horizon: Seconds = setting(
        "30s",
        forms.DURATION,
        "Where a model grows so that a pool meets its soft line within this, others are unloaded"
        " already now; 0: when the line is met.",
        at="policy.growth_horizon",
    )
    state_dir: Path | None = setting(
        None,
        forms.PATH,
        "Where the journal is kept. As root: /var/lib/ullage.",
        at="state_dir",
        shown="~/.local/state/ullage",
    )
    log_level: LogLevel = setting(
        "info", forms.one_of(LogLevel), "What is worth a line in the log.", at="log_level"
    )
    log_format: LogFormat = setting(
        "auto",
        forms.one_of(LogFormat),
        "console: lines for people. json: an object a line. auto: lines, and in systemd's journal"
        " without the time, which it has itself.",
        at="log_format",
    )
    listen: Listen = Listen()
    gateway: gated.Gateway = gated.Gateway()
    alerts: alerted.Alerts = alerted.Alerts()
    fleet: Fleet = Fleet()
    settle: Settle = Settle()
    telemetry: Telemetry = Telemetry()
    watchdog: HostWatchdog = HostWatchdog()
    types: bounds.Types = bounds.Types()
    npu: bounds.Npu = bounds.Npu()
    groups: dict[str, bounds.Group] = Field(default_factory=dict)
    foreign: dict[str, pressures.Stranger] = Field(default_factory=dict)
    pools: dict[str, Pool] = Field(default_factory=dict)
    engines: dict[str, Engine] = Field(default_factory=dict)
    models: dict[str, Model] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the documentation. `default` is text; `at` is where Config holds the value.

    `env` is None for keys below a name of the operator's choice, but for those of the one pool
    that every machine has.
    """

    path: KeyPath
    default: str
    form: Form
    env: str | None
    help: str
    at: str | None

    @property
    def key(self) -> str:
        return dotted(self.path)

    @property
    def kind(self) -> str:
        return self.form.name


# What stands in the documentation for names of the operator's choice.
NAMED = {"groups": "NAME", "pools": "ram", "engines": "NAME", "models": "MODEL", "served": "MODEL"}
NAMED |= {"foreign": "PROCESS", "tokens": "NAME", "actions": "NAME", "spans": "NAME"}

# Variables that are no single key of the file.
OTHER_VARIABLES = {
    "ULLAGE_CONFIG": "The path of the file.",
    "ULLAGE_ENGINES": "Engines, as name=url,name=url; the name may be left out.",
    "ULLAGE_TOKEN": "The same as ULLAGE_LISTEN_TOKEN; clients send it.",
    "ULLAGE_CAFILE": "A file with the certificate that the daemon's is issued by, for clients.",
    "ULLAGE_URL": "Where clients find the daemon.",
}


def dotted(path: KeyPath) -> str:
    """The key as it may stand in the file: models."qwen3:8b".pinned."""
    bare = "abcdefghijklmnopqrstuvwxyz0123456789_-"
    return ".".join(
        p if p and all(c in bare for c in p.lower()) else f'"{_escaped(p)}"' for p in path
    )


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def table_at(path: KeyPath, table: type[BaseModel] = File) -> type[BaseModel] | None:
    """The table at `path`, names of the operator's choice included. None: there is none."""
    while path:
        found = _inner(table, path[0])
        if found is None:
            return None
        table, named = found
        path = path[2:] if named else path[1:]
    return table


def _inner(table: type[BaseModel], name: str) -> tuple[type[BaseModel], bool] | None:
    """The table under a key, and whether names stand in between."""
    field = table.model_fields.get(name)
    if field is None or form_of(table, name) is not None:
        return None
    kinds = [a for a in (field.annotation, *get_args(field.annotation)) if isinstance(a, type)]
    inner = next(k for k in kinds if issubclass(k, BaseModel))
    return inner, inner is not field.annotation


def _walk(table: type[BaseModel], path: KeyPath = ()) -> Iterator[Setting]:
    for name, field in table.model_fields.items():
        form = form_of(table, name)
        if form is None:
            inner = _inner(table, name)
            assert inner is not None
            yield from _walk(inner[0], (*path, name, NAMED[name]) if inner[1] else (*path, name))
            continue
        key = (*path, name)
        extra: Any = field.json_schema_extra
        default = field.get_default()
        if default is not None:
            default = form.show(form.read(default))
        free = path[:1] in (("engines",), ("models",), ("groups",), ("foreign",))
        free |= path[:2] in (("gateway", "tokens"), ("listen", "tokens"), ("alerts", "actions"))
        free |= path[:2] == ("fleet", "spans")
        env = None if free else "ULLAGE_" + "_".join(key).upper()
        shown = default or extra["shown"] or "none"
        yield Setting(key, shown, form, env, field.description or "", extra["at"])


SETTINGS: tuple[Setting, ...] = tuple(_walk(File))
