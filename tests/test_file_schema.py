"""The JSON Schema of the configuration file: editors complain of what is wrong, of nothing else."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy import tables
from supervisor.config.file_schema import of_form, schema
from supervisor.config.settings import SETTINGS
from supervisor.engines import ENGINES
from tests.configs import FULL

EXAMPLE = Path(__file__).parent.parent / "deploy/ullage.example.toml"
FORMS = {(s.form.name, s.form.read): s.form for s in SETTINGS}
WHOLE = schema(ENGINES)

# Of each way to write a value: some that are right, and some that an editor should underline.
WRITTEN: dict[str, tuple[list[Any], list[Any]]] = {
    "true | false": ([True], ["true", 1]),
    "count": ([1, 7], [-1, "3", 1.5]),
    "count from 1": ([1, 100], [0, -1, "x"]),
    "count from 2": ([2, 1000], [1, 0, "2", 1001]),
    "engine/model": (["rpc/qwen3:235b", "a/b/c"], ["qwen3:235b", "/x", "x/", "", 7]),
    "list of other hosts": ([["gpu2"], ["a", "b"]], [[], "gpu2", [""], [7]]),
    "whole number": ([-20, 3], [21, "3"]),
    "port": ([0, 65535], [65536, "80"]),
    "size": (["6GiB", " 512 mib", "6GB", "1024", "1.5GiB", 4096], ["6G", "6k", "big", -1, "5%"]),
    "size or share": (["12%", "1GiB", "0.5 %", 7], ["12 percent", "6G", -1]),
    "duration": (["2h30m", "90s", "250ms", "1.5s", " 2 h 30 m", "90", 1.5], ["soon", "5x", -1]),
    "duration or -1": (["-1", -1, "-1m", "15m", 0, 7.5], ["never", "- 1"]),
    "count/duration": (["6/10m", " 6 / 10m"], ["6", "10m", 6]),
    "day or time": (["2099-06-30", "2099-06-30T12:00:00Z", "20990630"], ["tomorrow", 7]),
    "text": (["TERM"], ["", 7]),
    "path": (["/x", "/v1/models"], ["", 7]),
    "host": (["127.0.0.1", "::1"], ["", 7]),
    "systemd service": (["vllm", "vllm.service"], ["", 7]),
    "secret": (["0123456789abcdef"], ["with space", "", 7]),
    "SHA-256": (["9f" * 32], ["9f", 7]),
    "URL": (["http://127.0.0.1:8080", " HTTPS://localhost/vllm "], ["127.0.0.1", "ftp://x", 7]),
    "URL of a collector": (["http://127.0.0.1:4318", "https://otel/v1/traces"], ["otel:4318", 7]),
    "URL of a gateway": (["http://10.0.0.5:8553", "https://gpu1"], ["gpu1:8553", "ftp://gpu1", 7]),
    "name of a host": (["gpu1", "gpu-1.lan"], ["", "gpu 1", "-gpu", 7]),
    "address of Ray": (["auto", "10.0.0.1:6379"], ["ray://gpu1:10001", "gpu1", "", 7]),
    "number above 0": ([2, 0.5, 1000], [0, -1, "2", True, 1001]),
    "share": (["10%", 0.5, 1, " 0.5 % "], [2, -0.1, "some", "0.1", True]),
    "ranking": (["value", "lru"], ["LRU", "best"]),
    "signal": (["TERM", "sigint"], ["TERM INT", "", 9]),
    "unit": (["MiB", "B"], ["5MiB", 7]),
    "method": (["POST", "put"], ["HEAD", "x", 7]),
    "GET | POST": (["GET", "post"], ["PUT", 7]),
    "JSONPath": (["$.data[*]"], ["data", 7]),
    'JSONPath, or "key"': (["key", "$.id"], ["keys", "id", 7]),
    "JSONPath, or list of metrics": (["$.n", ["running", "a:b"]], [[], ["a b"], "n"]),
    "table, or JSON in a text": ([{"a": 1}, '{"a": 1}'], [["a"], 7]),
    "table of names": ([{"a": "b", "c": ["d", "e/f"]}], [["a"], {"a": 1}, {"a": []}]),
    "table of labels": ([{"alertname": "Low*", "severity": "x"}], [{}, {"a": 1}, {"a": ""}, "a"]),
    "table of texts": ([{"A": "b"}, {}], ["A=b", {"A": 1}]),
    "list of hosts": ([["gpu.lan"], []], ["gpu.lan", [""]]),
    "list of pools": ([["GPU-1", "ram"], []], ["GPU-1", [""], [3]]),
    "list of models": ([["a", "e/b*"]], [[], "a", [""], [7]]),
    "list of names": ([["a", "b"]], [[], "a", [""]]),
    "list of origins": ([["http://localhost:3000"], ["*"]], ["*", [7]]),
    "list of rungs": ([["unload", "kill"], ["stop", "stop"]], [[], ["shoot"], "unload"]),
    "list of scopes": ([["alerts:write", "alerts:force"]], [[], ["alerts"], "alerts:write"]),
    "list of steps": ([["report", "unload"]], [[], ["shoot"], "unload"]),
    "list of statuses": ([[404, 410], []], [[200], ["404"], 404]),
    "list of values": ([["ready", True, 7, False]], ["ready", [["x"]]]),
    "list of words": ([["llama-server", "--port", "9"]], ["llama-server", [7]]),
}


def accepts(form: Any, value: Any) -> bool:
    try:
        form.read(value)
    except ValueError:
        return False
    return True


def enumerated(form: Any) -> bool:
    return " | " in form.name and form.name not in WRITTEN


@pytest.mark.parametrize("form", FORMS.values(), ids=lambda f: f.name)
def test_every_way_to_write_a_value_is_told_and_mistakes_are_seen(form: Any) -> None:
    choices = form.name.split(" | ")
    right, wrong = (choices, ["x", 7]) if enumerated(form) else WRITTEN[form.name]
    told = jsonschema_rs.validator_for(of_form(form))
    read = [v for v in right if accepts(form, v)]
    assert read, f"no sample of {form.name} is right"
    assert [v for v in right if not told.is_valid(v)] == []
    assert [v for v in wrong if told.is_valid(v) or accepts(form, v)] == []


TEXTS = st.one_of(
    st.text("0123456789.-+% /:$[]*dhmsKMGTPibB\t", max_size=12),
    st.sampled_from([v for right, _ in WRITTEN.values() for v in right if isinstance(v, str)]),
)
PLAIN = st.one_of(TEXTS, st.booleans(), st.integers(-(10**6), 10**20), st.floats(-9, 1e9))
VALUES = st.one_of(PLAIN, st.lists(PLAIN, max_size=3), st.dictionaries(TEXTS, PLAIN, max_size=2))


@given(st.sampled_from([*FORMS.values()]), VALUES)
def test_what_is_right_is_never_underlined(form: Any, value: Any) -> None:
    if accepts(form, value):
        assert jsonschema_rs.validator_for(of_form(form)).is_valid(value)


def test_whole_files_are_good_and_unknown_keys_are_not() -> None:
    jsonschema_rs.meta.validate(WHOLE)
    told = jsonschema_rs.validator_for(WHOLE)
    used = re.sub(r"(?m)^#(?=[a-z\[])", "", EXAMPLE.read_text())
    for text in (FULL, used, ""):
        found = json.loads(json.dumps(tomllib.loads(text), default=str))
        assert [e.message for e in told.iter_errors(found)] == []
    for wrong in (
        {"prefetsh": True},
        {"watchdog": {"idel": True}},
        {"engines": {"a": {"kind": "olama"}}},
        {"engines": {"a": {"served": {"m": {"gpu": True}}}}},
        {"models": {"a": {"watchdog": {"idle_timeout": "soon"}}}},
        {"groups": {"a": {"rule": "together"}}},
    ):
        assert not told.is_valid(wrong), wrong


def test_every_key_is_described_with_its_default() -> None:
    assert WHOLE["properties"]["relief_grace"]["default"] == "10s"
    assert WHOLE["properties"]["eviction_ladder"]["default"] == ["sleep", "deep_sleep", "unload"]
    tables_of = [WHOLE, *WHOLE["$defs"].values()]
    every = [key for table in tables_of for key in table["properties"].values()]
    assert len(every) > 150
    assert all(key["description"] for key in every if "$ref" not in str(key))


def test_the_file_in_the_repository_is_what_the_code_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert json.loads(tables.SCHEMA.read_text()) == WHOLE
    assert EXAMPLE.read_text().startswith(f"#:schema ./{tables.SCHEMA.name}\n")
    monkeypatch.setattr(tables, "SCHEMA", tmp_path / "ullage.schema.json")
    assert tables.main(["--check"]) == 1
    assert "ullage.schema.json is not what the code says" in capsys.readouterr().out
    assert tables.main([]) == 0
    assert json.loads((tmp_path / "ullage.schema.json").read_text()) == WHOLE
