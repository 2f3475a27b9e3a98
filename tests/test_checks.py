"""Every mistake at once, each with its key, its place, and what would be right."""

import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.config.config import SETTINGS, ConfigError, effective, load
from tests.configs import FULL, KINDS, TOKEN, nothing


def test_all_mistakes_are_told_at_once_each_with_its_place(read, tmp_path):
    text = """
mode = "enfroce"
[watchdog]
idle_timout = "15m"
[pools.ram]
reserve = "12 percent"
[engines.x]
kind = "olama"
url = "ftp://127.0.0.1"
[engines.y]
"""
    environ = {"ULLAGE_LISTEN_PORT": "many", "ULLAGE_LISTEN_PROT": "1"}
    with pytest.raises(ConfigError) as wrong:
        read(text, environ, log_level="loud")
    file = tmp_path / "ullage.toml"
    assert sorted(str(wrong.value).splitlines()) == sorted(
        [
            f'mode: "enfroce" is not one of enforce, advise, observe ({file}:2)',
            f"watchdog.idle_timout: unknown key; did you mean watchdog.idle_timeout? ({file}:4)",
            'pools.ram.reserve: "12 percent" is not a size; write bytes as "6GiB" or a share as'
            f' "12%" ({file}:6)',
            f'engines.x.kind: "olama" is no kind of engine; did you mean ollama? ({file}:8)',
            'engines.x.url: "ftp://127.0.0.1" is not a URL of an engine; write it as'
            f' "http://127.0.0.1:8080" ({file}:9)',
            f'engines.y.url: is missing; write it as "http://127.0.0.1:8080" ({file}:10)',
            'listen.port: "many" is not a port; write 0 to 65535, 0 for any free one'
            " (environment ULLAGE_LISTEN_PORT)",
            "ULLAGE_LISTEN_PROT: unknown variable; did you mean ULLAGE_LISTEN_PORT? (environment)",
            'log_level: "loud" is not one of debug, info, warning, error (flag --log-level)',
        ]
    )


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("mod = 'enforce'", "mod: unknown key; did you mean mode?"),
        ("idle_timeout = '5m'", "idle_timeout: unknown key; did you mean watchdog.idle_timeout?"),
        ("watchdog_busy = true", "watchdog_busy: unknown key; did you mean watchdog.busy?"),
        ("[listen]\nprot = 1", "listen.prot: unknown key; did you mean listen.port?"),
        ("[engines.a]\nurl='http://[::1]:1'\nkye='x'", "did you mean engines.a.key?"),
        ('[models."a:b"]\npined = true', 'models."a:b".pined: unknown key; did you mean models."'),
    ],
)
def test_an_unknown_key_is_met_with_the_one_that_was_meant(mistakes, text, hint):
    (line,) = mistakes(text)
    assert hint in line


def test_a_key_like_no_other_is_met_without_a_guess(mistakes):
    assert mistakes("zzz = 1") == ["zzz: unknown key"]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("detect = 1", "detect: 1 is neither true nor false"),
        ("detect = 'true'", "neither true nor false"),
        ("max_active_backends = true", "max_active_backends: true is not a count"),
        ("max_active_backends = -1", "0 for no limit"),
        ("max_active_backends = 1.0", "1.0 is not a count"),
        ("max_active_backends = '3'", '"3" is not a count'),
        ("lru_eviction_max_retries = nan", "nan is not a count"),
        ("sample_interval = '0s'", "too short; the least is 100ms"),
        ("sample_interval = -1", "is negative"),
        ("sample_interval = inf", "inf is not a duration"),
        ("sample_interval = nan", "nan is not a duration"),
        ("sample_interval = true", "true is not a duration"),
        ("sample_interval = '20s'", "holders_interval: must not be shorter"),
        ("restore_margin = '10%'", "is not a size"),
        ("restore_margin = 1.5", "is not a size"),
        ("mode = []", "a list is not one of"),
        ("state_dir = ''", 'state_dir: "" is not a text'),
        ("state_dir = 3", "is not a text"),
        ("listen = 8552", "listen: 8552 stands where a table should; write [listen]"),
        ("pools = 3", "write [pools.ram]"),
        ("engines.a = 'http://127.0.0.1:1'", "write [engines.a]"),
        ("[listen]\nport = 65536", "is not a port"),
        ("[listen]\nport = -1", "is not a port"),
        ("[listen]\nport = true", "true is not a port"),
        ("[listen]\nhost = '127.0.0.1:80'", "without a port"),
        ("[listen]\nhost = ''", "is not a host"),
        ("[listen]\nhost = '0.0.0.0'", "there is no token; listen on 127.0.0.1, or set"),
        ("[listen]\nhost = '::'", "can be reached from other machines"),
        ("[listen]\nhost = 'gpu.lan'", "can be reached from other machines"),
        ("[listen]\nallowed_hosts = ['*']", '"*" is not a host'),
        ("[listen]\nallowed_hosts = ['a..b']", '"a..b" is not a host'),
        (f"[listen]\nhost = 'a.{'x' * 64}'", "is not a host"),
        ("[listen]\nallowed_hosts = 'a'", "is not a list"),
        ("[listen]\ntoken = 'short'", "has 5 characters; use at least 16"),
        ("[listen]\ntoken = ''", "listen.token: is not a secret"),
        ("[listen]\ntoken = '0123456789 abcdef'", "without spaces"),
        ("[listen]\ntoken_file = 'none'", "cannot be read: No such file"),
        ("[listen]\ntoken_file = '/'", "cannot be read: Is a directory"),
        ("[listen]\ntoken = '0123456789abcdef'\ntoken_file = 'x'", "give one of them"),
        ("[settle]\nstep = '6s'", "settle.step: must not be longer than settle.timeout, 5s"),
        ("[watchdog]\nidle_timeout = 0", "watchdog.idle_timeout: 0 is too short"),
        ("[pools.ram]\nreserve = '100%'", "leaves nothing for any model"),
        ("[pools.ram]\nreserve = '101%'", "more than all of the pool"),
        ("[pools.ram]\nreserve = '-1%'", "is negative"),
        ("[pools.ram]\nreserve = 0.12", "0.12 is not a size"),
        ("[pools.ram]\nbudget = 0", "pools.ram.budget: 0 would allow no model"),
        ("[pools.ram]\nbudget = '0%'", "pools.ram.budget: 0 would allow no model"),
        ("single_active_backend = true\nsingle_model_mode = false", "differs from"),
        ("[engines.'a/b']\nurl = 'http://127.0.0.1:1'", "an engine's name is"),
        ("[engines.a]\nurl = 'http://127.0.0.1:1'\nkey = 'x'\nkey_file = 'y'", "give one of them"),
        ("[engines.a]\nurl = 'http://127.0.0.1:1'\nkind = 'x'", "llamacpp or ollama or vllm"),
        ("[engines.a]\nurl = 'http://127.0.0.1:8552'", "is where Ullage itself listens"),
    ],
)
def test_a_mistake_is_told_with_what_would_be_right(mistakes, text, hint):
    (line,) = mistakes(text)
    assert hint in line


URLS = [
    ("127.0.0.1:8080", "is not a URL"),
    ("file:///etc/passwd", "is not a URL"),
    ("http://", "is not a URL"),
    ("http://127.0.0.1:99999", "cannot be read"),
    ("http://127.0.0.1:0", "is not a URL"),
    ("http://[::1", "cannot be read"),
    ("http://u:hunter2@127.0.0.1:1", "must not carry a user or a password"),
    ("http://hunter2@127.0.0.1:1", "must not carry a user or a password"),
    ("http://127.0.0.1:1/#x", "more than the address"),
    ("http://127.0.0.1:1/?a=b", "more than the address"),
    ("http://127.0.0.1:1/../x", "more than the address"),
    ("http://127.0.0.1:1/%2e%2e/x", "more than the address"),
    ("http://169.254.169.254", "metadata"),
    ("http://[::ffff:169.254.169.254]", "metadata"),
    ("http://[fe80::1]", "metadata"),
    ("http://metadata.google.internal", "metadata"),
    ("http://2852039166", "neither a name nor a plain address"),
    ("http://my..host:11434", "neither a name nor a plain address"),
    (f"http://{'x' * 64}.lan", "neither a name nor a plain address"),
    ("http://0xa9fea9fe", "neither a name nor a plain address"),
    ("http://0x7f.0.0.0x1", "neither a name nor a plain address"),
]


@pytest.mark.parametrize(("url", "hint"), URLS)
def test_an_engine_is_never_where_none_can_be(mistakes, url, hint):
    (line,) = mistakes(f"[engines.a]\nurl = '{url}'\nallow_remote = true")
    assert line.startswith("engines.a.url: ")
    assert hint in line
    assert "hunter2" not in line


def test_an_engine_on_another_machine_must_be_meant(read, mistakes):
    for url in ("http://10.0.0.5:8080", "http://gpu.lan", "http://0.0.0.0:1", "http://[2001::1]"):
        (line,) = mistakes(f"[engines.a]\nurl = '{url}'")
        assert "if that is meant, set allow_remote = true" in line
        assert line.endswith('pools = ["remote"] where its models take no memory of this one')
        assert read(f"[engines.a]\nurl = '{url}'\nallow_remote = true").engines[0].url == url
    for url in ("http://127.8.8.8:1", "http://[::1]:1", "http://localhost:1"):
        assert read(f"[engines.a]\nurl = '{url}'").engines[0].url == url


def test_no_two_engines_have_the_same_url(mistakes):
    text = "[engines.a]\nurl='http://localhost:1'\n[engines.b]\nurl='HTTP://127.0.0.1:1/'"
    assert mistakes(text) == [
        "engines.b.url: is the same as that of engine a; leave one out",
    ]


def test_a_token_in_a_file_is_read_and_must_be_private(read, mistakes, tmp_path):
    secret = tmp_path / "token"
    secret.write_text(TOKEN + "\n")
    secret.chmod(0o640)
    config = read('[listen]\nhost = "0.0.0.0"\ntoken_file = "token"')
    assert config.token == TOKEN
    assert config.sources["listen.token"].startswith("file ")
    secret.chmod(0o644)
    (line,) = mistakes('[listen]\nhost = "0.0.0.0"\ntoken_file = "token"')
    assert "is open to everybody; chmod 640 it" in line
    secret.write_text("short")
    secret.chmod(0o600)
    (line,) = mistakes('[listen]\ntoken_file = "token"')
    assert line.startswith("listen.token_file: has 5 characters")


@pytest.mark.parametrize("key", ["token_file", "tokens.a.token_file"])
def test_a_secret_is_read_from_a_plain_file_and_a_pipe_does_not_hang_the_start(
    read, mistakes, tmp_path, key
):
    """Whoever opens a pipe waits for a writer, for ever; and a device has no end."""
    os.mkfifo(tmp_path / "pipe", 0o600)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "socket"))
        for name, why in [
            ("pipe", "is no plain file; put the secret into one"),
            ("/dev/zero", "is no plain file"),
            (".", "cannot be read: Is a directory"),
            ("socket", "cannot be read: No such device or address"),
        ]:
            more = "" if key == "token_file" else '\nscopes = ["read"]'
            table, _, last = f"listen.{key}".rpartition(".")
            found = mistakes(f'[{table}]\n{last} = "{name}"{more}')
            assert any(why in line for line in found), (name, found)
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "token").chmod(0o600)
    (tmp_path / "link").symlink_to("token")  # as containers mount them
    assert read('[listen]\ntoken_file = "link"').token == TOKEN


def test_a_key_in_a_file_is_read(read, tmp_path):
    secret = tmp_path / "key"
    secret.touch(0o600)
    secret.write_text("sk-1\n")
    engine = read("[engines.a]\nurl = 'http://127.0.0.1:1'\nkey_file = 'key'").engines[0]
    assert engine.key == "sk-1"


def test_two_tokens_in_the_environment_must_agree(mistakes, read):
    same = {"ULLAGE_TOKEN": TOKEN, "ULLAGE_LISTEN_TOKEN": TOKEN}
    assert read("", same).token == TOKEN
    (line,) = mistakes("", same | {"ULLAGE_TOKEN": TOKEN[::-1]})
    assert line.startswith("ULLAGE_TOKEN: differs from ULLAGE_LISTEN_TOKEN")


@pytest.mark.parametrize("text", ["x y=http://127.0.0.1:1", "a=http://[::1],a=http://[::1]:2"])
def test_engines_of_the_environment_need_good_names(mistakes, text):
    assert any(line.startswith("engines: ") for line in mistakes("", {"ULLAGE_ENGINES": text}))


def test_variables_of_the_client_are_no_mistake_for_the_daemon():
    assert nothing(ULLAGE_URL="http://127.0.0.1:1", ULLAGE_TOKEN=TOKEN).token == TOKEN


def test_no_secret_is_ever_shown(mistakes, read):
    text = FULL.replace('key = "sk"', 'key = "open-sesame"')
    config = read(text)
    printed = repr(config) + repr(effective(config))
    assert TOKEN not in printed
    assert "open-sesame" not in printed
    assert ("listen.token", "set") in [row[:2] for row in effective(config)]
    (line,) = mistakes('[listen]\ntoken = "open sesame with spaces"')
    assert "sesame" not in line


KEYS = st.sampled_from([s.key for s in SETTINGS])
VALUES = st.one_of(st.text(), st.integers(), st.booleans(), st.floats(), st.lists(st.text()))


@given(st.dictionaries(KEYS | st.text(), VALUES | st.dictionaries(st.text(), VALUES), max_size=4))
def test_whatever_is_given_is_either_taken_or_explained(flags):
    flags.pop("engines", None)
    try:
        config = load(None, {}, flags, kinds=KINDS, places=[])
    except ConfigError as wrong:
        explained = [p.key and p.message for p in wrong.problems]
    else:
        explained = [len(row) == 3 for row in effective(config)]
    assert explained
    assert all(explained)


@pytest.mark.parametrize(
    ("given", "right"),
    [
        ("127.0.0.1:8081", "http://127.0.0.1:8081"),
        ("gpu.lan:9000/", "http://gpu.lan:9000/"),
        ("ftp://127.0.0.1", "http://127.0.0.1:8080"),
        ("foo", "http://127.0.0.1:8080"),
        ("127.0.0.1:0", "http://127.0.0.1:8080"),
    ],
)
def test_of_an_address_without_a_scheme_the_same_with_one_is_proposed(read, given, right):
    with pytest.raises(ConfigError) as wrong:
        read(f'[engines.x]\nkind = "vllm"\nurl = "{given}"')
    assert f'"{given}" is not a URL of an engine; write it as "{right}"' in str(wrong.value)
