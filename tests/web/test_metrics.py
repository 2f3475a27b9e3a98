"""The metrics: every family, the naming rules, what is absent, what is folded."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse

from collectors.reading import Health, Seconds, gib
from supervisor.core.plan import Trigger
from supervisor.core.record import Result
from supervisor.core.snapshot import State
from supervisor.core.watch import Finding, Kind, Severity, watch
from supervisor.sources import SourceHealth
from supervisor.web.hardware import READINGS
from supervisor.web.metrics import NAMES, OPENMETRICS, PREFIX, Page, markdown_table
from tests.builders import engine, ref, resident

from .fakes import EPOCH, GPU, NOW, World, gateway, site
from .measured import samples, seen, text

GOLDEN = Path(__file__).with_name("golden.metrics")
PROMTOOL = shutil.which("promtool")


def test_the_whole_page_is_as_reviewed():
    shown = re.sub(r'python="[^"]*"', 'python="3"', text(seen(World())))
    if not GOLDEN.exists():
        GOLDEN.write_text(shown)
        pytest.fail(f"there was no {GOLDEN.name}; look at the one that is there now")
    assert shown == GOLDEN.read_text(), "look at the difference; delete the file to accept it"


def test_every_name_is_exported_by_a_machine_that_has_everything():
    exported = re.findall(r"^# TYPE (\S+) ", text(seen(World())), re.MULTILINE)
    assert exported == [PREFIX + row.name for row in NAMES]


def test_no_series_appears_twice_and_both_formats_can_be_read():
    of = seen(World())
    plain, _ = Page(of).text()
    rich, kind = Page(of).text(f"{OPENMETRICS};version=1.0.0,text/plain;q=0.5")
    assert kind.startswith(f"{OPENMETRICS}; version=1.0.0")
    assert rich.endswith(b"# EOF\n")
    for families in (parse(plain.decode()), parse_openmetrics(rich.decode())):
        every = Counter((s.name, *sorted(s.labels.items())) for f in families for s in f.samples)
        assert len(every) > 100
        assert max(every.values()) == 1


def test_no_series_tells_when_it_was_created():
    of = seen(World())
    assert b"_created" not in Page(of).text()[0] + Page(of).text(OPENMETRICS)[0]


def test_names_follow_the_rules_of_prometheus():
    assert NAMES
    for row in NAMES:
        _follows_the_rules(row)


def _follows_the_rules(row):
    assert re.fullmatch(r"[a-z][a-z0-9_]*", row.name)
    assert row.name.endswith("_total") == (row.type == "counter")
    assert row.name.endswith("_info") == (row.type == "info")
    words = set(row.name.split("_"))
    assert not words & {"ms", "mb", "kb", "gb", "milliseconds", "percent", "gauge", "counter"}
    assert words.isdisjoint({"kilobytes", "minutes", "hours", "celcius", "bits"})
    assert row.type != "histogram" or row.name.endswith(("_seconds", "_ratio"))
    assert set(row.labels).isdisjoint({"type", "instance", "job", "le", "quantile", "service"})
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", label) for label in row.labels)
    assert not words & set(row.labels) - {"engine", "model", "collector", "watchdog"}, (
        "a label is no part of a name"
    )
    assert row.help[0].isupper() or row.help[0].isdigit()
    assert row.help.endswith(".")


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
def test_promtool_has_nothing_to_say():
    page = text(seen(World()))
    ran = subprocess.run([PROMTOOL, "check", "metrics"], input=page, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_what_this_machine_cannot_tell_is_absent_and_not_zero():
    world = World()
    of = seen(world)
    snapshot = world.snapshot()
    of.loop.snapshot = replace(snapshot, health={GPU: Health()}, host=None)
    of.loop.policy = replace(of.loop.policy, pools={})
    page = text(of)
    for name in (*READINGS, "device_throttled", "device_ecc", "device_recovery", "memory_budget"):
        assert name not in page
    assert (
        'ullage_device_info{device_kind="gpu",driver="580.95",name="RTX 4090",parent="",'
        f'pci="0000:01:00.0",pool="{GPU}"' in page
    )
    assert 'ullage_model_in_flight{engine="llamacpp"' not in page
    assert 'last_success_timestamp_seconds{collector="host"}' in page


def test_a_pool_that_cannot_be_read_has_no_numbers():
    world = World()
    world.blind = {GPU: "the driver hangs"}
    of = seen(world)
    found = samples(of)
    memory = [k for k in found if k.startswith(("ullage_memory", "ullage_pressure")) and GPU in k]
    assert memory == []
    assert found[f'ullage_findings{{engine="",kind="blind",pool="{GPU}"}}'] == 1


def test_before_the_first_sample_there_is_still_a_page():
    found = samples(site(World(), gateway=gateway()))
    assert found["ullage_gateway_up"] == 1
    assert found["ullage_samples_total"] == 0
    assert found['ullage_collector_stalled{collector="nvidia"}'] == 1
    assert not [k for k in found if k.startswith(("ullage_memory", "ullage_sample_timestamp"))]


def test_what_may_happen_is_there_as_zero():
    found = samples(seen(World()))
    for name in ("ollama", "llamacpp"):
        for trigger in Trigger:
            for result in Result:
                labels = f'engine="{name}",result="{result.value}",trigger="{trigger.value}"'
                assert f"ullage_evictions_total{{{labels}}}" in found
        assert f'ullage_eviction_duration_seconds_bucket{{engine="{name}",le="+Inf"}}' in found
    for kind in Kind:
        assert f'ullage_findings{{engine="",kind="{kind.value}",pool=""}}' in found
    for trigger in Trigger:
        assert f'ullage_decisions_total{{trigger="{trigger.value}"}}' in found


def test_owners_add_up_to_what_is_used_and_a_shared_file_counts_once():
    world = World()
    twin = replace(world.residents[0], ref=ref("twin", "llamacpp"), shares=())
    world.residents.append(twin)
    found = samples(seen(world))
    for pool, used in ((GPU, gib(17.5)), ("ram", gib(14))):
        owned = [v for k, v in found.items() if "attributed_bytes{" in k and f'pool="{pool}"' in k
                 and "owner=" in k]  # fmt: skip
        assert sum(owned) == used
    assert found[f'ullage_memory_attributed_bytes{{owner="_external",pool="{GPU}"}}'] == gib(2)
    assert found[f'ullage_memory_unattributed_bytes{{kind="vram",pool="{GPU}"}}'] == gib(0.5)


@pytest.mark.parametrize(
    ("kind", "subject", "model", "engine", "pool"),
    [
        (Kind.STUCK, "ollama/qwen3:8b", ref("qwen3:8b"), "ollama", ""),
        (Kind.ENGINE_DOWN, "llamacpp", None, "llamacpp", ""),
        (Kind.BLIND, GPU, None, "", GPU),
        (Kind.FOREIGN, "ram", None, "", "ram"),
        (Kind.DEVICE, GPU, None, "", GPU),
        (Kind.DEVICE, "GPU-that-is-gone", None, "", ""),
        (Kind.SETTINGS, "limits.host", None, "", ""),
        (Kind.OVER_LIMIT, "ram", None, "", ""),
    ],
)
def test_a_finding_says_which_engine_or_pool_it_is_about(kind, subject, model, engine, pool):
    of = seen(World())
    of.loop.findings = (
        Finding(kind, subject, Seconds(0), Severity.WARNING, "", ref=model),
        Finding(Kind.IDLE, "ollama/a", Seconds(0), Severity.INFO, "", ref=ref("a")),
        Finding(Kind.IDLE, "ollama/b", Seconds(0), Severity.INFO, "", ref=ref("b")),
    )
    found = {k: v for k, v in samples(of).items() if k.startswith("ullage_findings") and v}
    assert found == {
        f'ullage_findings{{engine="{engine}",kind="{kind.value}",pool="{pool}"}}': 1,
        'ullage_findings{engine="ollama",kind="idle",pool=""}': 2,
    }


@pytest.mark.parametrize(
    ("severity", "level"), [(None, 0), (Severity.WARNING, 1), (Severity.CRITICAL, 2)]
)
def test_pressure_has_three_levels(severity, level):
    world = World()
    used = {None: 5, Severity.WARNING: 20.9, Severity.CRITICAL: 21.3}[severity]
    world.hold(resident("big", used, pool=GPU))
    of = seen(world)
    of.loop.policy = replace(of.loop.policy, pools={})
    of.loop.findings = watch(world.snapshot(), of.loop.policy)
    assert [f.severity for f in of.loop.findings if f.kind is Kind.PRESSURE] == [severity] * (
        severity is not None
    )
    assert samples(of)[f'ullage_pressure{{pool="{GPU}"}}'] == level


def test_beyond_the_limit_the_smaller_models_are_added_up():
    world = World()
    world.hold(*(resident(f"m{i}", i / 4, pool=GPU) for i in range(1, 9)))
    found = samples(seen(world), most=3)
    held = {k: v for k, v in found.items() if k.startswith("ullage_model_memory_bytes")}
    assert sum(held.values()) == gib(9)
    assert [k for k in held if 'model="m' in k] == [
        f'ullage_model_memory_bytes{{engine="ollama",model="m{i}",pool="{GPU}"}}' for i in (6, 7, 8)
    ]
    others = 'ullage_model_resident{engine="ollama",model="_other",state="loaded"}'
    assert found[others] == 5


LONG = "x" * 187 + "~c59d3c0480cc"  # and so much of its hash


@pytest.mark.parametrize(
    ("name", "told"),
    [
        *((n, n) for n in ('a"b', "a\\b", "a\nb", "ü🜏", "", "x" * 200, "\x00", "\r\n")),
        ("x" * 5000, LONG),
        ("\ud800", "?~91a681b99855"),
    ],
)
def test_a_model_may_have_any_name(name, told):
    world = World()
    world.hold(resident(name, 1, pool=GPU))
    page = text(seen(world))
    models = [
        s.labels["model"]
        for f in parse(page)
        for s in f.samples
        if s.name == "ullage_model_memory_bytes"
    ]
    assert models == [told]


def test_times_are_unix_times():
    found = samples(seen(World()))
    name = "ullage_collector_last_success_timestamp_seconds"
    assert found[f'{name}{{collector="nvidia"}}'] == EPOCH - 10
    used = "ullage_model_last_used_timestamp_seconds"
    assert found[f'{used}{{engine="ollama",model="qwen3:8b"}}'] == EPOCH - 120
    assert found["ullage_sample_timestamp_seconds"] == EPOCH


def test_histograms_are_cumulative():
    found = samples(seen(World()))
    name = "ullage_eviction_duration_seconds"
    assert found[f'{name}_bucket{{engine="ollama",le="0.5"}}'] == 0
    assert found[f'{name}_bucket{{engine="ollama",le="1.0"}}'] == 1
    assert found[f'{name}_bucket{{engine="ollama",le="+Inf"}}'] == 1
    assert found[f'{name}_sum{{engine="ollama"}}'] == 0.7


def test_requests_are_counted_and_what_waits_is_told():
    found = samples(seen(World()))
    labels = 'api="openai",code="200",engine="ollama",model="qwen3:8b"'
    assert found[f"ullage_requests_total{{{labels}}}"] == 1
    assert found['ullage_requests_held{engine="ollama",model="gemma3:4b"}'] == 2
    assert found['ullage_request_refusals_total{why="full"}'] == 1
    first = "ullage_request_first_byte_seconds_bucket"
    assert found[f'{first}{{engine="ollama",le="0.1"}}'] == 0
    assert found[f'{first}{{engine="ollama",le="0.25"}}'] == 1
    assert found[f'{first}{{engine="llamacpp",le="+Inf"}}'] == 0
    assert not [k for k in samples(site(World())) if "gateway" in k or "request" in k]


def test_an_engine_that_left_keeps_its_counts():
    of = seen(World())
    of.loop.snapshot = replace(of.loop.snapshot, engines=(engine("llamacpp"),))
    found = samples(of)
    labels = 'engine="ollama",trigger="relief"'
    assert found[f"ullage_eviction_reclaimed_bytes_total{{{labels}}}"] == gib(6)


def test_fifty_models_are_rendered_before_anybody_notices():
    world = World()
    world.hold(*(resident(f"m{i}", 0.2, pool=GPU) for i in range(50)))
    of = seen(world)
    took = []
    for _ in range(5):
        started = time.process_time()
        text(of)
        took.append(time.process_time() - started)
    assert min(took) < 0.05  # 5 ms where it was written; the margin is for a loaded machine


def test_the_table_for_the_documentation_has_every_name():
    table = markdown_table()
    assert table.count("\n") == len(NAMES) + 2
    assert all(f"`{PREFIX}{row.name}`" in table for row in NAMES)


def test_what_a_model_does_is_told():
    world = World()
    world.hold(resident("a", 1, pool=GPU, state=State.SLEEPING))
    found = samples(seen(world))
    assert found['ullage_model_resident{engine="ollama",model="a",state="sleeping"}'] == 1


def test_numbers_of_devices_carry_what_they_are_numbers_of():
    found = samples(seen(World()))
    pool, uuid = f'pool="{GPU}"', f'uuid="{GPU}"'
    assert found[f"ullage_device_clock_hertz{{{pool},{uuid}}}"] == 2.52e9
    assert found[f'ullage_device_ecc_errors_total{{error="corrected",{pool},{uuid}}}'] == 2
    assert found[f'ullage_device_throttled{{{pool},reason="power cap",{uuid}}}'] == 1
    assert found[f'ullage_device_errors_total{{code="31",kind="xid",{pool},{uuid}}}'] == 1
    assert found['ullage_host_memory_stalled_seconds_total{kind="some"}'] == 1.5
    assert found['ullage_reading_age_seconds{collector="nvidia",tier="processes"}'] == 7


def test_a_device_that_is_not_slowed_says_so():
    world = World()
    of = seen(world)
    calm = {GPU: Health(throttled=())}
    of.loop.snapshot = replace(world.snapshot(), health=calm)
    found = {k: v for k, v in samples(of).items() if k.startswith("ullage_device_throttled")}
    assert found == {f'ullage_device_throttled{{pool="{GPU}",reason="",uuid="{GPU}"}}': 0}


def test_how_old_the_word_of_each_source_is_stands_there():
    world = World()
    world.health["processes"] = SourceHealth(Seconds(NOW - 4), Seconds(0.2), "slow", 2)
    world.health["engine gone"] = SourceHealth(Seconds(NOW), Seconds(1))
    found = samples(seen(world))
    success, engines = (
        f"ullage_{n}_last_success_timestamp_seconds" for n in ("collector", "engine")
    )
    assert found[f'{success}{{collector="processes"}}'] == EPOCH - 4
    assert found['ullage_collector_errors_total{collector="processes"}'] == 2
    assert found[f'{engines}{{engine="ollama"}}'] == EPOCH
    assert f'{engines}{{engine="llamacpp"}}' not in found  # it never answered
    assert found['ullage_engine_probe_failures_total{engine="llamacpp"}'] == 7
    assert not [key for key in found if 'engine="gone"' in key]


def test_alerts_are_counted_by_what_became_of_them():
    found = samples(seen(World()))
    assert found['ullage_alerts_total{outcome="done"}'] == 2
    assert found['ullage_alerts_total{outcome="failed"}'] == 0
    assert found['ullage_alert_actions_total{action="evict",outcome="done"}'] == 2
    assert found['ullage_alert_holds{action="pin"}'] == 2
    assert found["ullage_alert_last_timestamp_seconds"] == EPOCH - 30


def test_an_alert_that_was_never_received_has_no_time():
    of = seen(World())
    of.alerting.received_at = None
    found = samples(of)
    assert "ullage_alert_last_timestamp_seconds" not in found
    assert 'ullage_alert_holds{action="pause"}' in found
