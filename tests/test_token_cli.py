"""`ullage token`: what it makes is known by the configuration that it prints."""

import json
import re

import pytest

from supervisor.config import load
from supervisor.gateway.heads import Head
from supervisor.gateway.tokens import Caller, Tokens
from tests.canned import ullage
from tests.configs import KINDS


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


def test_no_two_are_alike():
    assert len({json.loads(ullage("token", "a", "--json").stdout)["token"] for _ in range(3)}) == 3


@pytest.mark.parametrize(
    "words", [["a b"], [""], ["a", "--expires", "soon"], ["a", "--per-minute", "0"], []]
)
def test_what_the_configuration_would_refuse_is_not_made(words):
    made = ullage("token", *words)
    assert made.exit_code == 2
    assert "sha256" not in made.stdout
