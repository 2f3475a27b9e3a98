"""What the gateway tells of itself, and what the doctor says of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType

import pytest

from supervisor.config.gated import GatewayConfig, TokenConfig
from supervisor.core.snapshot import EngineId, Installed, ModelId, ModelRef, Snapshot
from supervisor.gateway.counts import Counts
from supervisor.gateway.fleet_counts import FleetCounts
from supervisor.gateway.shown import Shown
from supervisor.gateway.tokens import Refused, Tokens
from tests.builders import engine, machine

NOW, EPOCH = 50.0, 1_790_000_000.0
DAY = 86400.0
BIG, SMALL = (ModelRef(EngineId("ollama"), ModelId(m)) for m in ("big", "small"))


@dataclass
class Live:
    addresses: Sequence[str] = ("http://127.0.0.1:8553",)
    fault: str | None = None
    flying: Mapping[ModelRef, int] = field(default_factory=dict)
    waiting: Sequence[tuple[ModelRef, int, float]] = ()
    traced: tuple[int, int] | None = None

    def in_flight(self) -> Mapping[ModelRef, int]:
        return self.flying

    def held(self) -> Iterable[tuple[ModelRef, int, float]]:
        return self.waiting

    def connections(self) -> Mapping[str, int]:
        return {"clients": 4, "engines": 2}

    def traces(self) -> tuple[int, int] | None:
        return self.traced


def token(name: str = "laptop", **rest: object) -> TokenConfig:
    return TokenConfig(name, sha256(name.encode()).digest(), **rest)  # type: ignore[arg-type]


def shown(live: Live | None = None, *tokens: TokenConfig, **config: object) -> Shown:
    told = GatewayConfig(tokens=tokens, **config)  # type: ignore[arg-type]
    known = Tokens(tokens, told.aliases, clock=lambda: NOW, wall=lambda: EPOCH)
    return Shown(told, Counts(), known, live or Live(), lambda: NOW, lambda: EPOCH)


def world(*installed: ModelRef, down: str = "", url: str = "http://127.0.0.1:11434") -> Snapshot:
    engines = (
        replace(engine("ollama", "no answer" if down == "ollama" else None), url=url),
        engine("vllm", "no answer" if down == "vllm" else None),
    )
    found = tuple(Installed(ref, None) for ref in installed or (BIG, SMALL))
    return replace(machine(free=1, engines=engines), installed=found)


def advice(of: Shown, snapshot: Snapshot | None = None) -> list[tuple[str, str]]:
    found = of.advice(snapshot or world())
    assert all(a.remedy for a in found)
    return [(a.about, a.what) for a in found]


# -- the state


def test_the_state_says_where_it_listens_what_passes_and_what_waits():
    live = Live(flying={SMALL: 2, BIG: 0}, waiting=[(BIG, 3, 12.34567)])
    of = shown(live, token(expires=EPOCH + 1))
    of.counts.refused("full")
    (caller,) = of.tokens.callers
    assert not isinstance(caller.begin(), Refused)
    assert of.state() == {
        "fleet": None,
        "addresses": ["http://127.0.0.1:8553"],
        "fault": None,
        "in_flight": [{"model": "ollama/small", "count": 2}],
        "held": [{"model": "ollama/big", "count": 3, "longest": 12.346}],
        "refused": {"full": 1},
        "tokens": [
            {
                "name": "laptop",
                "in_flight": 1,
                "requests": 1,
                "idle": 0.0,
                "expires": EPOCH + 1,
            }
        ],
    }
    assert sha256(b"laptop").hexdigest() not in json.dumps(of.state())


def test_traces_are_counted_where_there_are_any() -> None:
    found = {name: value for name, _, value in shown(Live(traced=(7, 2))).facts(())}
    assert (found["traces_sent_total"], found["traces_lost_total"]) == (7, 2)
    assert not [n for n, _, _ in shown().facts(()) if n.startswith("traces")]


def test_the_metrics_say_the_same():
    live = Live(flying={SMALL: 2}, waiting=[(BIG, 3, 12.0)])
    of = shown(live, token())
    found = {(name, labels): value for name, labels, value in of.facts(["ollama"])}
    assert found["gateway_up", ()] == 1
    assert found["requests_in_flight", ("ollama", "small")] == 2
    assert found["requests_held", ("ollama", "big")] == 3
    assert found["requests_held_longest_seconds", ("ollama", "big")] == 12
    assert found["gateway_connections", ("clients",)] == 4
    assert found["gateway_connections", ("idle",)] == 0
    assert found["caller_requests_total", ("laptop",)] == 0
    assert found["response_bytes_total", ("ollama",)] == 0


def test_models_beyond_the_limit_are_added_up():
    live = Live(flying={SMALL: 2, BIG: 3}, waiting=[(BIG, 3, 12.0), (SMALL, 1, 4.0)])
    of = shown(live)
    of.counts = Counts(most=0)
    found = {(name, labels): value for name, labels, value in of.facts([])}
    assert found["requests_in_flight", ("ollama", "_other")] == 5
    assert found["requests_held", ("ollama", "_other")] == 4
    assert found["requests_held_longest_seconds", ("ollama", "_other")] == 12


@pytest.mark.parametrize("live", [Live(fault="in use"), Live(addresses=())])
def test_a_gateway_that_does_not_listen_is_not_up(live):
    assert {n: v for n, _, v in shown(live).facts([])}["gateway_up"] == 0


# -- the doctor


def test_where_nothing_is_wrong_nothing_is_said():
    assert advice(shown(None, token(models=("big",), engines=("ollama",)))) == []


def test_one_that_is_off_has_no_trouble():
    assert advice(shown(Live(fault="in use"), enabled=False)) == []


def test_whoever_has_its_port_is_named():
    of = shown(Live(fault="127.0.0.1:11434 is in use"), port=11434)
    assert advice(of) == [
        ("the gateway", "it does not listen: 127.0.0.1:11434 is in use: ollama is there")
    ]
    assert "ullage adopt ollama" in of.advice(world())[0].remedy
    elsewhere = world(url="http://127.0.0.1:11435")
    assert advice(of, elsewhere) == [
        ("the gateway", "it does not listen: 127.0.0.1:11434 is in use")
    ]


def test_an_open_door_is_told():
    ((about, what),) = advice(shown(host="0.0.0.0", allow_anyone=True))
    assert about == "the gateway"
    assert "asks for no token" in what
    ((_, what),) = advice(shown(None, token(), host="0.0.0.0"))
    assert "without TLS" in what
    assert advice(shown(None, token(), host="0.0.0.0", tls_cert=Path("cert.pem"))) == []


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ({"expires": EPOCH}, "it has expired"),
        ({"expires": EPOCH + 2 * DAY}, "it expires in 2d"),
        ({"expires": EPOCH + 30 * DAY}, None),
        ({"models": ("bigger*",)}, 'it may use "bigger*", and no model is called like that'),
        ({"models": ("big", "ollama/sm*", "fast")}, None),
        ({"engines": ("olama",)}, "it may use engine olama, and there is none of that name"),
        ({"models": ("big",), "engines": ("vllm",)}, 'it may use "big", and no model is called'),
    ],
)
def test_tokens_that_lead_nowhere_are_told(rest, said):
    aliases = MappingProxyType({"fast": ("big",)})
    found = advice(shown(None, token(**rest), aliases=aliases))
    if said is None:
        assert found == []
    else:
        ((about, what),) = found
        assert about == "token laptop"
        assert what.startswith(said)


def test_what_a_silent_engine_has_nobody_knows():
    of = shown(None, token(models=("bigger",)), aliases=MappingProxyType({"a": ("bigger",)}))
    assert advice(of, world(down="vllm")) == []


def test_aliases_that_hide_or_lead_nowhere_are_told():
    aliases = MappingProxyType({"big": ("small",), "fast": ("nothing",), "ok": ("ollama/big",)})
    assert advice(shown(aliases=aliases)) == [
        ("alias big", "it hides a model of that name and leads to small"),
        ("alias fast", "it leads to nothing, which no engine has"),
    ]


@dataclass
class Fleet:
    trouble: str | None = None
    counts: FleetCounts = field(default_factory=FleetCounts)


def test_in_a_fleet_it_says_what_other_hosts_do_for_it():
    of = replace(shown(), fleet=Fleet())
    of.fleet.counts.under_way += 2
    of.fleet.counts.placed("elsewhere")
    of.fleet.counts.failed("lost")
    assert of.state()["fleet"] == {"in_flight": 2, "trouble": None}
    found = {(name, labels): value for name, labels, value in of.facts(())}
    assert found["gateway_elsewhere_in_flight", ()] == 2
    assert found["gateway_placements_total", ("elsewhere",)] == 1
    assert found["gateway_placements_total", ("alone",)] == 0
    assert found["gateway_elsewhere_failures_total", ("lost",)] == 1
    assert not [n for n, _, _ in shown().facts(()) if "elsewhere" in n]


def test_an_agent_that_does_not_answer_is_advised_about():
    of = replace(shown(), fleet=Fleet("no answer within 1 s"))
    (told,) = advice(of)
    assert told[0] == "the gateway"
    assert "no answer within 1 s" in told[1]
    assert advice(replace(shown(), fleet=Fleet())) == []


def test_an_address_where_no_other_host_gets_through_is_advised_about():
    (told,) = advice(replace(shown(), address="http://10.0.0.5:8553"))
    assert "fleet.address is http://10.0.0.5:8553, and the gateway listens on 127.0.0.1" in told[1]
    assert advice(replace(shown(), address="http://localhost:8553")) == []
