"""`ullage token`: what it makes is known by the configuration that it prints."""

import json
import re
from hashlib import sha256

import click
import pytest

from supervisor.cli.token import token
from supervisor.config.config import load
from supervisor.gateway.heads import Head
from supervisor.gateway.tokens import Caller, Tokens
from tests.canned import ullage
from tests.configs import KINDS


def scope_completions(text):
    (option,) = (p for p in token.params if p.name == "scopes")
    return [item.value for item in option.shell_complete(click.Context(token), text)]


def config(folder, text):
    file = folder / "ullage.toml"
    file.write_text('mode = "observe"' + text)  # without its last line's end, as files may be
    return load(file, {}, {}, kinds=KINDS).gateway


def test_the_lines_go_to_the_file_and_the_token_to_whoever_looks(tmp_path):
    made = ullage("token", "laptop", "--model", "qwen*", "--model", 'a"b', "--per-minute", "60",
                  "--max-in-flight", "4", "--expires", "2099-12-31")  # fmt: skip
    assert made.exit_code == 0
    secret = re.search(r"ullage-[\w-]{43}", made.stderr)[0]
    assert secret not in made.stdout
    gateway = config(tmp_path, made.stdout)
    (token,) = gateway.tokens
    assert (token.name, token.models) == ("laptop", ("qwen*", 'a"b'))
    assert (token.per_minute, token.max_in_flight) == (60, 4)
    assert token.expires > 4e9
    sent = [(b"authorization", b"Bearer " + secret.encode())]
    head = Head(b"GET", b"/", b"/", b"", sent, True, True, None)
    found = Tokens(gateway.tokens).identify(head, "127.0.0.1")
    assert isinstance(found, Caller)
    assert found.name == "laptop"


def test_json_has_both(tmp_path):
    made = json.loads(ullage("token", "a.b", "--json").stdout)
    assert made["name"] == "a.b"
    assert made["token"].startswith("ullage-")
    assert config(tmp_path, "\n" + made["config"]).tokens[0].name == "a.b"


def test_with_a_scope_it_is_no_token_of_the_gateways(tmp_path):
    made = ullage("token", "alertmanager", "--scope", "alerts:write", "--expires", "2099-12-31")
    secret = re.search(r"ullage-[\w-]{43}", made.stderr)[0]
    assert secret not in made.stdout
    file = tmp_path / "ullage.toml"
    file.write_text('mode = "observe"' + made.stdout)
    config = load(file, {}, {}, kinds=KINDS)
    assert config.gateway.tokens == ()
    (token,) = config.tokens
    assert (token.name, token.scopes) == ("alertmanager", {"alerts:write"})
    assert (token.digest, token.expires > 4e9) == (sha256(secret.encode()).digest(), True)


def test_both_scopes_are_written_once_each():
    words = ("--scope", "alerts:force", "--scope", "alerts:write", "--scope", "alerts:force")
    made = json.loads(ullage("token", "a.b", *words, "--json").stdout)
    assert '[listen.tokens."a.b"]' in made["config"]
    assert 'scopes = ["alerts:force", "alerts:write"]' in made["config"]


def test_of_a_scope_that_there_is_not_the_closest_is_named():
    made = ullage("token", "a", "--scope", "alert:write")
    assert made.exit_code == 2
    assert "did you mean alerts:write?" in made.stderr
    assert "alerts:force" in ullage("token", "a", "--scope", "\x1b[31m").stderr
    assert "\x1b[31m" not in ullage("token", "a", "--scope", "\x1b[31m").stderr


def test_the_gateways_limits_are_not_for_a_token_with_a_scope():
    made = ullage("token", "a", "--scope", "alerts:write", "--model", "x", "--per-minute", "3")
    assert made.exit_code == 2
    assert "--scope and --model, --per-minute are for different tokens" in made.stderr


def test_tab_completes_the_scopes():
    found = scope_completions("alerts:w")
    assert found == ["alerts:write"]


def test_no_two_are_alike():
    assert len({json.loads(ullage("token", "a", "--json").stdout)["token"] for _ in range(3)}) == 3


@pytest.mark.parametrize(
    "words",
    [
        ["a b"],
        [""],
        ["a", "--expires", "soon"],
        ["a", "--expires", "2027-02-30"],
        ["a", "--per-minute", "0"],
        ["socket", "--scope", "alerts:write"],
        ["a", "--scope", ""],
        [],
    ],
)
def test_what_the_configuration_would_refuse_is_not_made(words):
    made = ullage("token", *words)
    assert made.exit_code == 2
    assert "sha256" not in made.stdout
