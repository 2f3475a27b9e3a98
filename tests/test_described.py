"""What may be said of an engine in the configuration alone, and what is said when it is wrong."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.app import build
from supervisor.config.config import effective, load
from supervisor.config.described import Description
from supervisor.config.table import form_of
from supervisor.config.templates import MODEL
from supervisor.core.snapshot import Ability
from tests.configs import complainer
from tests.engines.fakes.http import OPTIONS

ENGINE = '[engines.mine]\nkind = "http"\nurl = "http://127.0.0.1:9000"\n[engines.mine.http]\n'


@pytest.fixture
def mistakes(read):
    complain = complainer(read)
    return lambda text: complain(ENGINE + text)


def described(read, text):
    return read(ENGINE + text).engines[0].options


def test_without_a_word_it_lists_as_openai_does(read):
    told = described(read, "")
    assert told == Description()
    assert (told.list_api, told.models, told.name) == ("/v1/models", "$.data[*]", "$.id")
    assert told.call("unload") == (None, "POST", None, None)


def test_an_engine_of_another_kind_has_no_description(read):
    config = read('[engines.mine]\nkind = "ollama"\nurl = "http://127.0.0.1:9000"')
    assert config.engines[0].options is None


def test_everything_that_the_fake_needs_can_be_said(read):
    def toml(value):
        if isinstance(value, dict):
            return "{" + ", ".join(f"{k} = {toml(v)}" for k, v in value.items()) + "}"
        if isinstance(value, list):
            return "[" + ", ".join(map(toml, value)) + "]"
        return str(value).lower() if isinstance(value, bool) else f"'{value}'"

    text = "\n".join(
        f"{k} = {toml(v)}"
        if "'" not in str(v) or isinstance(v, dict | list)
        else f'{k} = """{v}"""'
        for k, v in OPTIONS.items()
    )
    assert described(read, text) == Description.model_validate(OPTIONS)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('list_api = "v1/models"', 'list_api: "v1/models" is not a path of the engine;'),
        ('list_api = "@evil.lan/"', 'list_api: "@evil.lan/" is not a path of the engine;'),
        ('list_api = "/a/../b"', 'list_api: "/a/../b" has a step that leads elsewhere;'),
        ('list_api = "/m/${MODEL}"', 'list_api: "/m/${MODEL}" is asked of the engine as a whole'),
        ('unload_api = "/m/${PORT}"', 'unload_api: "${PORT}" is not known here; the only one is'),
        ('unload_method = "KILL"', 'unload_method: "KILL" is not one of GET, POST, PUT, PATCH, '),
        ('list_method = "PUT"', 'list_method: "PUT" is not one of GET, POST'),
        ('models = "data[*]"', 'models: "data[*]" is not a JSONPath: '),
        ('name = "$.a["', 'name: "$.a[" is not a JSONPath: unexpected end of query; write it as'),
        ('pid = "$.a b"', 'pid: "$.a b" is not a JSONPath: '),
        ("pid = 7", "pid: 7 is not a JSONPath; write it as"),
        ('bytes_unit = "M"', 'bytes_unit: "M" is not a unit; write it as "B", "MiB" or "GB"'),
        ('bytes_unit = "7 MiB"', 'bytes_unit: "7 MiB" is not a unit;'),
        ("bytes_unit = 1024", "bytes_unit: 1024 is not a unit;"),
        ('loaded = "ready"', 'loaded: "ready" is not a list of values; write it as ["loaded", '),
        ("loaded = [[1]]", "loaded: it holds more than texts, numbers, true and false;"),
        ('process = ["--m", "${NAME}"]', 'process: "${NAME}" is not known here;'),
        ("process = []", "process: a list is no part of a command line;"),
        ("gone_status = [200]", "gone_status: 200 is not a status from 400 to 599;"),
        ('in_flight = ["a b"]', 'in_flight: "a b" is not the name of a metric; write metrics as'),
        ("in_flight = []", "in_flight: a list names no metric; write metrics as"),
        ('in_flight = "requests"', 'in_flight: "requests" is not a JSONPath: '),
        ("unload_body = [1]", "unload_body: a list is not a body; write a table, as"),
        ("unload_body = '3'", 'unload_body: "3" is not a body; write a table, as'),
        ("unload_body = 'keep=0'", 'unload_body: "keep=0" is not JSON '),
        ("unload_body = '{\"m\": ${MODEL}}'", '; write "${MODEL}" in quotes; write a table, as'),
        ("unload_body = {at = 2026-01-01}", "unload_body: 2026-01-01 cannot stand in JSON;"),
        ("unload_body = {at = inf}", "unload_body: inf cannot stand in JSON;"),
        ("unload_body = '[NaN]'", "NaN is no number"),
        ('unload_headers = {"X Y" = "1"}', 'unload_headers: "X Y" is not the name of a header of'),
        ('headers = {Host = "x"}', 'headers: "Host" is not the name of a header of yours;'),
        ('headers = {Accept-Encoding = "br"}', '"Accept-Encoding" is not the name of a header of'),
        ('headers = {Authorization = "x"}', "the engine's own key is given as key or key_file"),
        ('headers = {X-Key = "a\\nb"}', "headers: the value of X-Key is not a line of ASCII text;"),
        ('headers = {X-Key = "${MODEL}"}', "headers: they are sent with every call, also where"),
        ('unlod_api = "/x"', "unlod_api: unknown key; did you mean engines.mine.http.unload_api?"),
    ],
)
def test_a_mistake_names_its_key_and_what_would_be_right(mistakes, line, said):
    extra = {
        "unload_method": 'unload_api = "/x"\n',
        "unload_body": 'unload_api = "/x"\n',
        "unload_headers": 'unload_api = "/x"\n',
        "in_flight": 'activity_api = "/metrics"\n',
    }
    found = mistakes(extra.get(line.split(" ")[0], "") + line)
    assert len(found) == 1
    assert found[0].startswith("engines.mine.http.")
    assert said in found[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('unload_body = {a = "b"}', "unload_body: is of no use without unload_api"),
        ('wake_method = "PUT"', "wake_method: is of no use without wake_api"),
        ("list_body = {}", "list_body: is of no use without list_method"),
        ('loaded_name = "$.n"', "loaded_name: is of no use without loaded_api"),
        ('identify_pick = "$.v"', "identify_pick: is of no use without identify_api"),
        ('success_values = ["ok"]', "success_values: is of no use without success"),
        ('sleep_api = "/s"\nstate = "$.s"', "sleep_api: is of no use without wake_api"),
        ('sleep_api = "/s"\nwake_api = "/w"', "sleep_api: needs `state`"),
        ('load_api = "/l"', "load_api: needs `state` or `loaded_api`"),
        ('activity_api = "/a"', "activity_api: is of no use without in_flight"),
        ('in_flight = ["n"]', "in_flight: needs `activity_api`: metrics are not in the list"),
        ('loaded = ["on", "hot"]\nloading = ["hot"]', 'loading: "hot" stands in `loaded` too'),
    ],
)
def test_keys_that_do_not_go_together_are_told(mistakes, text, said):
    (found,) = mistakes(text)
    assert found.startswith(f"engines.mine.http.{said}")


def test_every_mistake_is_told_at_once_and_none_follows_from_another(mistakes):
    found = mistakes('unload_api = "x"\nunload_body = "{"\nstate = "$"\nsleep_api = "/s"\nname = 7')
    assert [line.split(": ")[0].rpartition(".")[2] for line in found] == [
        "name",
        "unload_api",
        "unload_body",
        "sleep_api",
    ]


def test_a_description_of_a_known_kind_is_a_mistake(read):
    text = ENGINE.replace('"http"', '"ollama"') + 'name = "$"'
    (found,) = complainer(read)(text)
    assert found.startswith('engines.mine.http: needs kind = "http" in the table')
    (found,) = complainer(read)(text.replace('kind = "ollama"\n', ""))
    assert found.startswith('engines.mine.http: needs kind = "http" in the table')


def test_a_word_that_is_given_wins_over_what_is_usual(read):
    told = described(read, 'unloaded = ["Ready", 0]\nloaded = [" hot", true]')
    assert told.states()["ready"] == "unloaded"
    assert told.states()["0"] == "unloaded"
    assert told.states()["hot"] == "loaded"
    assert "running" not in told.states()
    assert described(read, 'loaded = ["stopped"]').states()["stopped"] == "loaded"


def test_what_is_described_is_printed_at_start_without_its_secrets(read):
    text = 'unload_api = "/u"\nunload_body = {m = "${MODEL}"}\nheaders = {X-Key = "sesame"}'
    config = read(ENGINE + text)
    rows = {key: (value, source) for key, value, source in effective(config)}
    assert rows["engines.mine.http.unload_api"][0] == "/u"
    assert rows["engines.mine.http.unload_body"][0] == f'{{"m": "{MODEL}"}}'
    assert rows["engines.mine.http.headers"][0] == "X-Key"
    assert all(
        rows[f"engines.mine.http.{k}"][1].startswith("file ") for k in ("unload_body", "headers")
    )
    assert "engines.mine.http.list_api" not in rows
    assert "sesame" not in str(rows) + repr(config)


def test_the_engine_that_is_built_is_the_one_described(read):
    app = build(read(ENGINE + 'unload_api = "/u"'), owners=())
    assert app.loop.sampler.engines["mine"].abilities == {Ability.LIST, Ability.UNLOAD}
    asyncio.run(app.client.aclose())


def test_a_key_can_be_given_on_the_command_line(tmp_path):
    flags = {
        "engines.mine.url": "http://127.0.0.1:9000",
        "engines.mine.kind": "http",
        "engines.mine.http.loaded": "on, hot",
        "engines.mine.http.unload_api": "/u/${MODEL}",
    }
    config = load(None, {}, flags, kinds=frozenset({"http"}), places=[])
    assert config.engines[0].options.loaded == ("on", "hot")
    assert config.engines[0].options.unload_api == f"/u/{MODEL}"


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.dates()
texts = st.text(max_size=8) | st.sampled_from(
    ["/a", "$.a", "${MODEL}", "GET", "MiB", "{}", "[[1]]"]
)
anything = st.recursive(
    scalars | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(sorted(Description.model_fields)), anything)
def test_whatever_is_written_it_is_read_or_refused(key, value):
    form = form_of(Description, key)
    try:
        read = form.read(value)
    except ValueError:
        return
    assert isinstance(form.show(read), str)
