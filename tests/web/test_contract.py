"""Every operation, driven from its own description: whatever is sent, the daemon answers in time,
never with an internal error, always as it is described; what is refused has changed nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import CheckFunction
from schemathesis.specs.openapi.checks import positive_data_acceptance

from supervisor.web.openapi import document
from supervisor.web.table import operations

from .driven import Driven, driven
from .fakes import API, GPU, World, site

pytestmark = pytest.mark.slow

TIMEOUT = 10.0  # seconds for one answer
POSITIVE, NEGATIVE = GenerationMode.POSITIVE, GenerationMode.NEGATIVE

# Names that mean somebody here, so that what is asked for is done, and one that means nobody.
KNOWN: dict[str, list[Any]] = {
    "model": ["qwen3", "vllm/llama3", "gemma", "nobody"],
    "load": ["qwen3", "gemma", "nobody"],
    "pool": [GPU, "0", "ram"],
    "engine": ["vllm", "ollama", "nobody"],
    "free": ["1GiB", "8GiB", 2**34],
    "size": ["1GiB", "8GiB", 2**34],
    "client": ["agent"],
}
KEYS = ["single_model_mode", "watchdog.idle_timeout", 'models."qwen3".priority', "listen.port"]
IN_PATH = {
    "/pools/": [GPU, "0", "nobody"],
    "/engines/": ["vllm", "nobody"],
    "/decisions/": ["d-000001", "d-999999"],
    "/operations/": ["o-run-000001", "o-999999"],
    "/leases/": ["LEASE", "nobody"],
    "/reservations/": ["RESERVATION", "nobody"],
    "/settings/": KEYS,
}
# What may be set depends on the key, what is over already on the clock: no schema says so.
DEPENDS: dict[str, list[CheckFunction]] = {
    "PUT /api/v1/settings/{key}": [positive_data_acceptance],
    "POST /api/v1/pin": [positive_data_acceptance],
    "POST /api/v1/fleet/offers/{id}/accept": [positive_data_acceptance],
}

TABLE = operations(site(World()))
PLAIN = document(TABLE, "1")
BODIES = {o.body.__name__ for o in TABLE if o.body is not None}
EACH = [(m.upper(), path) for path, methods in PLAIN["paths"].items() for m in methods]
SOME = [
    ("POST", f"{API}/evict"),
    ("POST", f"{API}/leases"),
    ("GET", f"{API}/decisions"),
    ("DELETE", f"{API}/settings/{{key}}"),
]


def with_names(value: Any) -> Any:
    """The description, with names in it that mean somebody."""
    if isinstance(value, list):
        return [with_names(each) for each in value]
    if not isinstance(value, dict):
        return value
    found = {key: with_names(each) for key, each in value.items()}
    for key, said in found.get("properties", {}).items():
        is_name = isinstance(said, dict) and said.keys() & {"type", "anyOf"}
        if key in KNOWN and is_name and said.get("type") != "boolean":
            found["properties"][key] = {"enum": KNOWN[key]}
        elif key in ("models", "evict") and said.get("type") == "array":
            found["properties"][key] = {**said, "items": {"enum": KNOWN["model"]}, "maxItems": 3}
    if found.get("in") == "query" and found["name"] in KNOWN:
        found["schema"] = {"enum": KNOWN[found["name"]]}
    return found


def named() -> Any:
    found = json.loads(json.dumps(PLAIN))
    schemas = found["components"]["schemas"]
    schemas |= {name: with_names(schemas[name]) for name in BODIES}
    found["paths"] = with_names(found["paths"])
    for path, methods in found["paths"].items():
        names = [names for part, names in IN_PATH.items() if part in path]
        for operation in methods.values():
            for parameter in operation["parameters"]:
                if parameter["in"] == "path" and names:
                    parameter["schema"] = {"enum": names[0]}
    return found


SCHEMAS = {
    POSITIVE: schemathesis.openapi.from_dict(named()),
    NEGATIVE: schemathesis.openapi.from_dict(PLAIN),
}


@pytest.fixture(scope="module")
def daemon() -> Iterator[Driven]:
    with driven() as found, requests.Session() as session:
        found.session = session
        yield found


def drive(daemon: Driven, method: str, path: str, mode: GenerationMode, examples: int) -> int:
    """How many calls were made. Raises where one was not answered as it should be."""
    calls = 0
    operation = SCHEMAS[mode][path][method]
    if mode is NEGATIVE and not (operation.body or len(operation.query)):
        return 0  # any text may stand in a path
    excluded = DEPENDS.get(f"{method} {path}", [])

    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def each(case: Case) -> None:
        nonlocal calls
        calls += 1
        daemon.again()
        for name, value in (case.path_parameters or {}).items():
            case.path_parameters[name] = daemon.ids.get(value, value)
        before = daemon.claims()
        response = case.call(base_url=daemon.url, session=daemon.session, timeout=TIMEOUT)
        after = daemon.claims()
        if response.status_code >= 400:
            changed = [key for key in before if before[key] != after[key]]
            assert not changed, f"{response.status_code}, and yet {changed} changed: {case}"
        case.validate_response(response, excluded_checks=excluded)

    each()
    return calls


@pytest.mark.parametrize(("method", "path"), SOME, ids=lambda word: word)
def test_some_operations_keep_their_word(daemon: Driven, method: str, path: str) -> None:
    assert drive(daemon, method, path, POSITIVE, 4) >= 1
    assert drive(daemon, method, path, NEGATIVE, 4) >= 1


@pytest.mark.parametrize(("method", "path"), EACH, ids=lambda word: word)
def test_every_operation_keeps_its_word(daemon: Driven, method: str, path: str) -> None:
    assert drive(daemon, method, path, POSITIVE, 10) >= 1
    drive(daemon, method, path, NEGATIVE, 6)
