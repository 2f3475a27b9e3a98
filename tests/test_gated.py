"""The gateway's table: what is read of it, and every mistake that can be made in it."""

import datetime
from hashlib import sha256
from pathlib import Path

import pytest

from collectors.reading import mib
from supervisor.config.config import effective
from supervisor.config.gated import EXPIRY, ORIGINS, GatewayConfig
from supervisor.config.gated_checks import overlap
from supervisor.overrides import why_not
from tests.configs import nothing

SECRET = "ullage-0123456789abcdef"
DIGEST = sha256(SECRET.encode())
LINE = f'sha256 = "{DIGEST.hexdigest()}"'
OTHER = f'sha256 = "{"ab" * 32}"'

FULL = f"""
[gateway]
enabled = true
host = "0.0.0.0"
port = 11434
socket = "gw.sock"
allowed_hosts = ["AI.lan"]
allow_anyone = false
cors_origins = ["http://localhost:3000/", "app://Obsidian.md", "https://chat.lan:443"]
max_wait = "2m"
max_held = 40
max_held_per_client = 4
drain_after = "30s"
drain_timeout = "90s"
loads_per_pool = 2
max_body = "8MiB"
max_bodies = "32MiB"
engine_timeout = "1m"
comments_after = "500ms"
manage = true
[gateway.aliases]
fast = "small"
small = "ollama/qwen3:8b"
[gateway.tokens.laptop]
{LINE}
models = ["qwen3*", "fast"]
engines = ["ollama"]
max_in_flight = 3
per_minute = 60
priority = 2
expires = 2027-06-30
[listen]
allowed_hosts = ["gpu.lan"]
"""


def test_without_a_word_it_serves_this_machine_alone():
    gateway = nothing().gateway
    assert gateway == GatewayConfig()
    assert (gateway.enabled, gateway.host, gateway.port) == (True, "127.0.0.1", 8553)
    assert not gateway.exposed


def test_every_key_arrives(read, tmp_path):
    found = read(FULL).gateway
    assert (found.host, found.port, found.socket) == ("0.0.0.0", 11434, tmp_path / "gw.sock")
    assert found.exposed
    assert found.allowed_hosts == ("gpu.lan", "ai.lan")
    assert found.cors_origins == ("http://localhost:3000", "app://obsidian.md", "https://chat.lan")
    assert (found.max_wait, found.max_held, found.max_held_per_client) == (120, 40, 4)
    assert (found.drain_after, found.drain_timeout, found.loads_per_pool) == (30, 90, 2)
    assert (found.max_body, found.max_bodies) == (mib(8), mib(32))
    assert (found.engine_timeout, found.comments_after, found.manage) == (60, 0.5, True)
    assert found.aliases == {"fast": ("ollama/qwen3:8b",), "small": ("ollama/qwen3:8b",)}
    (token,) = found.tokens
    assert (token.name, token.digest) == ("laptop", DIGEST.digest())
    assert (token.models, token.engines) == (("qwen3*", "fast"), ("ollama",))
    assert (token.max_in_flight, token.per_minute, token.priority) == (3, 60, 2)
    assert token.expires == datetime.datetime(2027, 7, 1, tzinfo=datetime.UTC).timestamp()


def test_what_cannot_be_read_back_is_never_shown(read):
    config = read(FULL)
    digest = DIGEST.hexdigest()
    assert digest not in repr(config)
    assert repr(DIGEST.digest()) not in repr(config)
    rows = {key: text for key, text, _ in effective(config)}
    assert rows["gateway.tokens.laptop.sha256"] == "set"
    assert rows["gateway.tokens.laptop.models"] == "qwen3*, fast"
    assert rows["gateway.tokens.laptop.expires"] == "2027-07-01T00:00:00Z"
    assert rows["gateway.aliases"] == "fast=ollama/qwen3:8b, small=ollama/qwen3:8b"
    assert digest not in str(rows)


def test_a_token_may_stand_in_a_file_that_others_cannot_read(read, mistakes, tmp_path):
    file = tmp_path / "laptop.token"
    file.write_text(f"{SECRET}\n")
    file.chmod(0o600)
    text = '[gateway.tokens.laptop]\ntoken_file = "laptop.token"'
    assert read(text).gateway.tokens[0].digest == DIGEST.digest()
    file.chmod(0o644)
    assert "open to everybody" in mistakes(text)[0]
    file.chmod(0o600)
    file.write_text("short")
    (line,) = mistakes(text)
    assert line.startswith("gateway.tokens.laptop.token_file: has 5 characters")


def test_flags_and_variables_say_the_same(read):
    assert nothing(ULLAGE_GATEWAY_PORT="7000").gateway.port == 7000
    said = nothing(ULLAGE_GATEWAY_ALIASES="a=b,c=d|e").gateway.aliases
    assert said == {"a": ("b",), "c": ("d", "e")}
    config = read("[gateway]\nport = 1", gateway__port="11434", gateway__enabled=False)
    assert (config.gateway.port, config.gateway.enabled) == (11434, False)
    assert config.sources["gateway.port"] == "flag --gateway-port"
    assert config.sources["gateway.enabled"] == "flag --no-gateway"


def test_nothing_of_it_can_be_changed_while_running():
    assert "start" in (why_not(("gateway", "port")) or "")
    assert "from the file alone" in (why_not(("gateway", "tokens", "a", "per_minute")) or "")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('host = "0.0.0.0"', 'gateway.host: "0.0.0.0" can be reached from other machines, and'),
        ("port = 8552", "gateway.port: is listen.port too"),
        ('host = "0.0.0.0"\nallow_anyone = true\nport = 8552', "gateway.port: is listen.port too"),
        ('cors_origins = ["*"]', 'gateway.cors_origins: "*" lets every page'),
        (
            'cors_origins = ["localhost:3000"]',
            'gateway.cors_origins: "localhost:3000" is no origin',
        ),
        ('cors_origins = ["http://*.lan"]', 'gateway.cors_origins: "http://*.lan" is no origin'),
        ('cors_origins = ["http://a/b"]', 'gateway.cors_origins: "http://a/b" is no origin'),
        ('cors_origins = ["http://u:p@a"]', 'gateway.cors_origins: "http://u:p@a" is no origin'),
        ('cors_origins = "http://a"', 'gateway.cors_origins: "http://a" is not a list of origins'),
        ("max_held = 0", "gateway.max_held: 0 is not a count; write 1 or more"),
        ("loads_per_pool = 0", "gateway.loads_per_pool: 0 is not a count; write 1 or more"),
        ("max_held = 5\nmax_held_per_client = 6", "gateway.max_held_per_client: must not be more"),
        ('max_body = "1GiB"\nmax_bodies = "1MiB"', "gateway.max_bodies: must not be less than"),
        ("max_body = 10", "gateway.max_body: is too small for any request; the least is 1KiB"),
        ('max_wait = "1m"\ndrain_after = "2m"', "gateway.drain_after: comes after max_wait, 1m"),
        ("tokens = 5", "gateway.tokens: 5 stands where a table should"),
        ('tokn = "x"', "gateway.tokn: unknown key; did you mean gateway.tokens?"),
        ("[gateway.aliases]\na = 5", "gateway.aliases: 5 is not the name of a model"),
        ('[gateway.aliases]\na = "a"', "gateway.aliases.a: leads back to itself: a → a"),
        ("[gateway.tokens.a]", "gateway.tokens.a.sha256: is missing, or token_file"),
        ('[gateway.tokens.a]\nsha256 = "hunter2"', "gateway.tokens.a.sha256: is not a SHA-256 in"),
        (f'[gateway.tokens.a]\n{LINE}\ntoken_file = "x"', "gateway.tokens.a.sha256: is given, and"),
        (f'[gateway.tokens."a b"]\n{LINE}', 'gateway.tokens."a b": a token\'s name is letters'),
        (f"[gateway.tokens.a]\n{LINE}\nexpires = 5", "gateway.tokens.a.expires: 5 is not a day"),
        (
            f'[gateway.tokens.a]\n{LINE}\nexpires = "soon"',
            'gateway.tokens.a.expires: "soon" is not',
        ),
        (f"[gateway.tokens.a]\n{LINE}\nmodels = []", "gateway.tokens.a.models: a list is not a"),
        (f"[gateway.tokens.a]\n{LINE}\npriority = 21", "gateway.tokens.a.priority: 21 is not a"),
    ],
)
def test_each_mistake_is_told_with_its_key_and_what_is_right(mistakes, text, line):
    (found,) = mistakes(f"[gateway]\n{text}")
    assert found.startswith(line)
    assert "hunter2" not in found


def test_every_mistake_at_once(mistakes):
    text = '[gateway]\nhost = "0.0.0.0"\nport = "x"\nmax_held = 0\n[gateway.tokens.a]'
    assert [line.partition(":")[0] for line in mistakes(text)] == [
        "gateway.port",
        "gateway.max_held",
        "gateway.tokens.a.sha256",
    ]


def test_two_names_for_one_token_are_a_mistake(mistakes):
    text = f"[gateway.tokens.a]\n{LINE}\n[gateway.tokens.b]\n{LINE}\n[gateway.tokens.c]\n{OTHER}"
    (line,) = mistakes(text)
    assert line.startswith("gateway.tokens.b: is the same token as a")


@pytest.mark.parametrize("said", [f"\n[gateway.tokens.a]\n{LINE}", "\nallow_anyone = true"])
def test_beyond_loopback_there_is_a_token_or_the_word_that_there_is_none(read, said):
    assert read(f'[gateway]\nhost = "192.168.1.5"{said}').gateway.exposed


def test_a_gateway_that_is_off_may_be_anywhere(read):
    config = read('[gateway]\nenabled = false\nhost = "0.0.0.0"\nport = 8552')
    assert not config.gateway.enabled


def test_larger_bodies_need_not_be_said_twice(read):
    assert read('[gateway]\nmax_body = "1GiB"').gateway.max_bodies == mib(1024)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_an_engine_cannot_be_where_the_gateway_is(mistakes, host):
    text = f'[gateway]\nport = 11434\n[engines.o]\nurl = "http://{host}:11434"'
    (line,) = mistakes(text)
    assert line.startswith(f'engines.o.url: "http://{host}:11434" is where the gateway listens')
    assert "ullage adopt" in line


def test_an_engine_may_be_there_while_the_gateway_is_off(read):
    off = '[gateway]\nenabled = false\nport = 11434\n[engines.o]\nurl = "http://127.0.0.1:11434"'
    assert read(off).engines[0].url


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("127.0.0.1", "localhost", True),
        ("127.0.0.1", "0.0.0.0", True),
        ("::", "127.0.0.1", True),
        ("127.0.0.1", "192.168.1.5", False),
    ],
)
def test_who_listens_everywhere_listens_there_too(one, other, same):
    assert overlap(one, other) is overlap(other, one) is same


def test_an_alias_may_stand_for_several_in_their_order_and_for_other_aliases(read):
    text = '[gateway.aliases]\nbest = ["large", "fast", "x"]\nfast = ["b", "a"]\nlarge = "b"'
    found = read(text).gateway.aliases
    assert found["best"] == ("b", "a", "x")
    assert found["fast"] == ("b", "a")


def test_a_circle_through_a_list_is_a_circle(mistakes):
    text = '[gateway.aliases]\na = ["m", "b"]\nb = ["n", "a"]'
    assert mistakes(text) == ["gateway.aliases.a: leads back to itself: a → b → a"]
    text = "[gateway.aliases]\na = []"
    assert "stands for nobody" in mistakes(text)[0]


def test_a_circle_of_aliases_is_told_once(mistakes):
    text = '[gateway.aliases]\na = "b"\nb = "c"\nc = "b"\nd = "a"\nok = "m"'
    assert mistakes(text) == ["gateway.aliases.b: leads back to itself: b → c → b"]


@pytest.mark.parametrize(
    "model",
    ['[models."big"]\npinned = true', '[engines.big]\nurl = "http://127.0.0.1:1"'],
)
def test_an_alias_cannot_hide_what_is_known(mistakes, read, model):
    name = "big" if "models" in model else "big/thing"
    (line,) = mistakes(f'[gateway.aliases]\n"{name}" = "small"\n{model}')
    assert "is a model's own name, which it would hide" in line
    assert read(f'[gateway.aliases]\nlarge = "small"\n{model}').gateway.aliases


@pytest.mark.parametrize(
    ("written", "end"),
    [
        (datetime.date(2027, 6, 30), "2027-07-01T00:00:00Z"),
        ("2027-06-30", "2027-07-01T00:00:00Z"),
        ("2027-06-30T12:00:00Z", "2027-06-30T12:00:00Z"),
        ("2027-06-30T12:00:00+02:00", "2027-06-30T10:00:00Z"),
        ("2027-06-30 12:00", "2027-06-30T12:00:00Z"),
    ],
)
def test_a_day_counts_to_its_end(written, end):
    assert EXPIRY.show(EXPIRY.read(written)) == end


def test_origins_are_written_as_browsers_write_them():
    assert ORIGINS.read(["HTTPS://A.lan:443/", "http://[::1]:80", "http://a.lan:8080"]) == (
        "https://a.lan",
        "http://[::1]",
        "http://a.lan:8080",
    )


def test_a_path_is_relative_to_the_file(read):
    assert read('[gateway]\nsocket = "/run/x.sock"').gateway.socket == Path("/run/x.sock")
