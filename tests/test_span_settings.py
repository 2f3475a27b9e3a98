"""Models that span hosts, in the configuration: what it comes to, and what cannot be meant."""

from __future__ import annotations

import pytest

from collectors.reading import gib
from supervisor.config.config import effective
from supervisor.core.snapshot import EngineId, ModelId, ModelRef
from supervisor.fleet.hosts import Part

NAME = "[fleet]\nname = 'a'\n"
BIG = "[fleet.spans.'big:400b']\n"


def test_a_host_says_what_it_holds_and_what_that_takes(read):
    config = read(f"{NAME}{BIG}model = 'rpc/part'\nmemory = '20GiB'")
    assert config.fleet.spans == (Part("big:400b", "rpc/part"),)
    assert config.policy.models["rpc/part"].memory.size == gib(20)
    assert not config.policy.spans(ModelRef(EngineId("rpc"), ModelId("part")))
    shown = {k: v for k, v, _ in effective(config)}
    assert shown['fleet.spans."big:400b".model'] == "rpc/part"
    assert shown['fleet.spans."big:400b".memory'] == "20GiB"


def test_a_leader_says_who_holds_the_other_parts_and_is_not_loaded_alone(read):
    config = read(f"{NAME}{BIG}model = 'llama/big:400b'\nleads = true\nothers = ['b', 'c']")
    (part,) = config.fleet.spans
    assert (part.leads, part.hosts, part.others) == (True, 3, ("b", "c"))
    assert config.policy.spans(ModelRef(EngineId("llama"), ModelId("big:400b")))
    fewer = read(
        f"{NAME}{BIG}model = 'llama/big:400b'\nleads = true\nothers = ['b', 'c']\nhosts = 2"
    )
    assert fewer.fleet.spans[0].hosts == 2


def test_what_is_said_of_the_model_itself_counts_more(read):
    text = f"{NAME}{BIG}model = 'rpc/part'\nmemory = '20GiB'\n[models.'rpc/part']\n"
    assert read(f"{text}pinned = true").policy.models["rpc/part"].memory.size == gib(20)
    assert read(f"{text}memory = '9GiB'").policy.models["rpc/part"].memory.size == gib(9)


@pytest.mark.parametrize(
    ("text", "key", "wrong"),
    [
        ("memory = '1GiB'", "model", 'is missing; write it as "rpc/qwen3:235b"'),
        ("model = 'part'", "model", '"part" is not a model of an engine'),
        ("model = 'rpc/part'\nothers = ['b']", "others", "is said by the host that leads"),
        ("model = 'rpc/part'\nhosts = 2", "hosts", "is said by the host that leads"),
        ("model = 'l/big:400b'\nleads = true", "others", "is missing: who holds the other parts?"),
        ("model = 'l/x'\nleads = true\nothers = ['b']", "model", 'it has to be "l/big:400b"'),
        ("model = 'l/big:400b'\nleads = true\nothers = ['a']", "others", "has this host, a, in it"),
        ("model = 'l/big:400b'\nleads = true\nothers = ['b', 'b']", "others", "a host twice"),
        ("model = 'l/big:400b'\nleads = true\nothers = []", "others", "is not a list of hosts"),
        ("model = 'l/big:400b'\nleads = true\nothers = ['b']\nhosts = 3", "hosts", "are 2"),
        ("model = 'l/big:400b'\nleads = true\nothers = ['b']\nhosts = 1", "hosts", "2 or more"),
    ],
)
def test_mistakes_are_told_with_what_would_be_right(mistakes, text, key, wrong):
    (line,) = mistakes(f"{NAME}{BIG}{text}")
    assert line.startswith(f'fleet.spans."big:400b".{key}: ')
    assert wrong in line


def test_one_model_is_not_the_part_of_two(mistakes):
    (line,) = mistakes(f"{NAME}{BIG}model = 'rpc/part'\n[fleet.spans.other]\nmodel = 'rpc/part'")
    assert line.startswith("fleet.spans.other.model: is this host's part of")
