"""Every mistake in how models are started, at once, each with its key and what would be right."""

import re
from pathlib import Path

import pytest

from supervisor.config.config import ConfigError, effective, load
from supervisor.config.served import fill, places
from supervisor.engines import ENGINES

KINDS = frozenset(ENGINES)
GOOD = """
[engines.own]
kind = "process"
serves = "llamacpp"
command = ["llama-server", "--model", "${FILE}", "--alias", "${MODEL}", "--port", "${PORT}"]
stop_timeout = "20s"
[engines.own.served."qwen3:8b"]
variables = { FILE = "/models/qwen3-8b.gguf" }
size = "6GiB"
[engines.own.served.small]
command = ["/opt/tiny", "${PORT}"]
serves = "vllm"
[engines.big]
kind = "systemd"
[engines.big.served."qwen3-32b"]
unit = "vllm-qwen3.service"
url = "http://127.0.0.1:8001"
serves = "vllm"
[engines.box]
kind = "container"
[engines.box.served.x]
container = "vllm-x"
[engines.far]
kind = "kubernetes"
namespace = "models"
[engines.far.served.x]
deployment = "vllm-x"
"""


def read(text, tmp_path):
    file = tmp_path / "ullage.toml"
    file.write_text(text)
    return load(file, {}, {}, kinds=KINDS)


def mistakes(text, tmp_path):
    with pytest.raises(ConfigError) as wrong:
        read(text, tmp_path)
    return [(p.key, p.message) for p in wrong.value.problems]


def test_what_is_right_is_taken_without_an_address_of_the_engine(tmp_path):
    config = read(GOOD, tmp_path)
    own = next(e for e in config.engines if e.id == "own")
    assert (own.kind, own.url) == ("process", "")
    first, second = own.options.of("qwen3:8b"), own.options.of("small")
    assert (first.serves, second.serves) == ("llamacpp", "vllm")
    assert (first.stop_timeout, second.stop_timeout) == (20, 20)
    assert second.command == ("/opt/tiny", "${PORT}")
    assert first.size == 6 * 2**30


def test_it_is_said_at_start_as_it_counts_and_without_secrets(tmp_path):
    text = GOOD.replace(
        '"${PORT}"]\nserves', '"--api-key", "sesame", "TOKEN=sesame", "${PORT}"]\nserves'
    )
    text = text.replace("[engines.big]", 'environment = { KEY = "sesame" }\n[engines.big]')
    rows = {key: (value, source) for key, value, source in effective(read(text, tmp_path))}
    value, source = rows['engines.own.served."qwen3:8b".variables']
    assert value == "FILE"
    assert source.startswith("file ")
    assert rows["engines.own.served.small.command"][0] == (
        "/opt/tiny --api-key *** TOKEN=*** ${PORT}"
    )
    assert rows["engines.own.served.small.environment"][0] == "KEY"
    assert rows["engines.own.stop_timeout"][0] == "20s"
    assert rows["engines.far.namespace"][0] == "models"
    assert "sesame" not in str(rows)
    assert "engines.own.url" not in rows


def change(old, new):
    assert old in GOOD
    return GOOD.replace(old, new)


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        (
            change('serves = "llamacpp"', 'serves = "lamacpp"'),
            "engines.own.serves",
            '"lamacpp" is no kind of engine with an API of its own; did you mean llamacpp?',
        ),
        (
            change('serves = "vllm"\n[engines.big]', 'serves = "process"\n[engines.big]'),
            "engines.own.served.small.serves",
            '"process" is no kind of engine with an API of its own; write one of ',
        ),
        (
            change("${FILE}", "${FLE}"),
            "engines.own.command",
            "${FLE} is no variable; did you mean ${FILE}?",
        ),
        (
            change("${FILE}", "${}"),
            "engines.own.command",
            "${} is no variable; there is FILE, MODEL, PORT",
        ),
        (
            change('"/models/qwen3-8b.gguf"', '"${OTHER}"'),
            'engines.own.served."qwen3:8b".variables',
            "${OTHER} is no variable; variables may name MODEL, PORT",
        ),
        (
            change("{ FILE", '{ PORT = "1", FILE'),
            'engines.own.served."qwen3:8b".variables',
            "PORT is given by Ullage; call yours otherwise",
        ),
        (
            change('size = "6GiB"', 'environment = { A = "${B}" }'),
            'engines.own.served."qwen3:8b".environment',
            "${B} is no variable; there is FILE, MODEL, PORT",
        ),
        (
            change('["/opt/tiny", "${PORT}"]', '["/opt/tiny"]'),
            "engines.own.served.small.command",
            "has no ${PORT}, and there is no url: nobody would know where it answers",
        ),
        (
            change('["/opt/tiny", "${PORT}"]', "[]"),
            "engines.own.served.small.command",
            'a list is not a command; write it as ["llama-server", "--port", "${PORT}"]',
        ),
        (
            change(
                '[engines.own.served."qwen3:8b"]', 'command = 3\n[engines.own.served."qwen3:8b"]'
            ).replace('command = ["llama-server"', '#command = ["llama-server"'),
            "engines.own.command",
            '3 is not a command; write it as ["llama-server", "--port", "${PORT}"]',
        ),
        (
            change('command = ["llama-server"', '#command = ["llama-server"'),
            'engines.own.served."qwen3:8b".command',
            "is missing; an engine of kind process needs it",
        ),
        (
            change('unit = "vllm-qwen3.service"', ""),
            "engines.big.served.qwen3-32b.unit",
            "is missing; an engine of kind systemd needs it",
        ),
        (
            change('unit = "vllm', 'command = ["x"]\nunit = "vllm'),
            "engines.big.served.qwen3-32b.command",
            "is not for an engine of kind systemd; it is for process",
        ),
        (
            change('stop_timeout = "20s"', 'unit = "a.service"'),
            "engines.own.unit",
            "unknown key; did you mean engines.",
        ),
        (
            change('size = "6GiB"', 'unit = "a.service"'),
            'engines.own.served."qwen3:8b".unit',
            "is not for an engine of kind process; it is for systemd",
        ),
        (
            change('namespace = "models"', "gpus = true"),
            "engines.far.gpus",
            "is not for an engine of kind kubernetes; it is for process",
        ),
        (
            change('[engines.far.served.x]\ndeployment = "vllm-x"', ""),
            "engines.far.served",
            'is missing; write a table for each model, as [engines.far.served."NAME"]',
        ),
        (
            change('stop_timeout = "20s"', 'url = "http://127.0.0.1:8080"'),
            "engines.own.url",
            "is not for an engine that we start: its models have one each",
        ),
        (
            change('kind = "process"', 'kind = "process"\npools = ["remote"]'),
            "engines.own.pools",
            "names remote, and an engine of kind process starts its models here",
        ),
        (
            change('size = "6GiB"', 'url = "http://10.0.0.1:8001"'),
            'engines.own.served."qwen3:8b".url',
            '"10.0.0.1" is not this machine, where it is started',
        ),
        (
            change('"http://127.0.0.1:8001"', '"http://10.0.0.1:8001"'),
            "engines.big.served.qwen3-32b.url",
            '"10.0.0.1" is not this machine; if that is meant, set allow_remote = true',
        ),
        (
            change('"http://127.0.0.1:8001"', '"http://localhost:8552"').replace(
                "localhost", "127.0.0.1"
            ),
            "engines.big.served.qwen3-32b.url",
            '"http://127.0.0.1:8552" is where Ullage itself listens',
        ),
        (
            change('size = "6GiB"', 'url = "http://localhost:8001"'),
            "engines.big.served.qwen3-32b.url",
            '"http://127.0.0.1:8001" is that of own/qwen3:8b too; each needs its own',
        ),
        (
            change(
                "[engines.box]",
                '[engines.big.served.y]\nunit = "vllm-qwen3.service"\n[engines.box]',
            ),
            "engines.big.served.y.unit",
            '"vllm-qwen3.service" is that of big/qwen3-32b too; each needs its own',
        ),
        (
            change("[engines.far]", '[engines.box.served.y]\ncontainer = "vllm-x"\n[engines.far]'),
            "engines.box.served.y.container",
            '"vllm-x" is that of box/x too; each needs its own',
        ),
        (
            change('size = "6GiB"', 'ready = "health"'),
            'engines.own.served."qwen3:8b".ready',
            '"health" is not a path; write it as "/health"',
        ),
        (
            change('stop_timeout = "20s"', 'stop_signal = "SIGSTRANGE"'),
            "engines.own.stop_signal",
            '"SIGSTRANGE" is not the name of a signal; write it as "TERM"',
        ),
        (
            change('stop_timeout = "20s"', 'when_daemon_ends = "perhaps"'),
            "engines.own.when_daemon_ends",
            '"perhaps" is not one of stop, keep',
        ),
        (
            change("size =", "sise ="),
            'engines.own.served."qwen3:8b".sise',
            'unknown key; did you mean engines.own.served."qwen3:8b".size?',
        ),
        (
            GOOD
            + '[engines.o]\nkind = "ollama"\nurl = "http://127.0.0.1:11434"\ncommand = ["x"]\n',
            "engines.o.command",
            "is not for an engine of kind ollama; it is for process",
        ),
        (
            GOOD + '[engines.o]\nurl = "http://127.0.0.1:11434"\n[engines.o.served.x]\n',
            "engines.o.served",
            "is not for an engine of a kind that is found out; it is for process or systemd or",
        ),
    ],
)
def test_a_mistake_is_named_with_its_key_and_what_would_be_right(tmp_path, text, key, message):
    ((found, said),) = mistakes(text, tmp_path)
    assert found == key
    assert said.startswith(message)


def test_they_are_all_told_at_once_and_each_of_them_once(tmp_path):
    text = GOOD.replace("${FILE}", "${FLE}").replace('unit = "vllm-qwen3.service"', "")
    text = text.replace('serves = "llamacpp"', 'serves = "no-such"\nready = "x"')
    text += '[engines.own.served.third]\nvariables = { FILE = "x" }\n'
    found = mistakes(text, tmp_path)
    assert len(found) == len(set(found)) == 4
    for _, message in found:
        assert re.search("write|did you mean|needs it", message)


def test_a_command_is_shown_on_one_line(tmp_path):
    text = change('["/opt/tiny", "${PORT}"]', '["sh", "-c", """one\ntwo""", "", "a b", "${PORT}"]')
    rows = {key: value for key, value, _ in effective(read(text, tmp_path))}
    assert rows["engines.own.served.small.command"] == 'sh -c one\\ntwo "" "a b" ${PORT}'


def test_a_path_is_relative_to_the_file(tmp_path):
    text = change('stop_timeout = "20s"', 'folder = "models"')
    (own, *_) = read(text, tmp_path).engines
    assert own.options.of("small").folder == tmp_path / "models"
    assert isinstance(own.options.folder, Path)


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("${A}", "1"),
        ("x${A}y${B}", "x1y${A}"),  # what is put in is not read again
        ("$${A}", "${A}"),
        ("$A $ $$ {A}", "$A $ $$ {A}"),
        ("$$${A}", "$${A}"),
    ],
)
def test_only_what_stands_in_braces_is_a_variable(text, filled):
    assert fill(text, {"A": "1", "B": "${A}"}) == filled


def test_the_names_in_a_text_are_told_in_their_order():
    assert places("${B} ${A} $${C} ${}") == ["B", "A", ""]
