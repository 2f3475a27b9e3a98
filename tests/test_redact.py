"""What must not be in a log, and what must not move a terminal or forge a line."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.telemetry.redact import Redact, escaped, is_secret, plain

SECRET = "sk-live-4f9a8b7c6d5e"

QUOTED = [
    f"Authorization: Bearer {SECRET}",
    f"authorization: Basic {SECRET}",
    f"{{'Authorization': 'Bearer {SECRET}', 'Accept': '*/*'}}",
    f"[(b'authorization', b'Bearer {SECRET}')]",
    f'{{"authorization": "{SECRET}"}}',
    f"Proxy-Authorization: {SECRET}",
    f"x-api-key: {SECRET}",
    f"(b'x-api-key', b'{SECRET}')",
    f"Cookie: {SECRET}",
    f"it sent bearer {SECRET} twice",
    f"no model is called 'a\\nbearer {SECRET}'",
    f"no model is called 'a\\tAuthorization: Basic {SECRET}'",
    f"http://ullage:{SECRET}@engine.lan:8080/v1 does not answer",
    f"https://{SECRET}@engine.lan/",
    f"GET /v1/models?key={SECRET}&x=1 HTTP/1.1",
    f"GET /v1/models?x=1&api_key={SECRET} HTTP/1.1",
    f"https://hub/file?X-Amz-Signature={SECRET}",
    f"llama-server --api-key {SECRET} --port 1",
    f"llama-server --api-key={SECRET} --port 1",
    f"['vllm', '--hf-token', '{SECRET}', '--port', '1']",
    f"HF_TOKEN={SECRET} vllm serve",
    f"OPENAI_API_KEY={SECRET}",
]


@pytest.mark.parametrize("text", QUOTED)
def test_what_looks_like_a_secret_is_taken_out_and_the_rest_stays(text: str) -> None:
    assert Redact()(text) == text.replace(f"ullage:{SECRET}", "***").replace(SECRET, "***")


@pytest.mark.parametrize(
    "text",
    [
        "listening on http://127.0.0.1:8552 (pid 4121)",
        "  listen.token = set  (file /etc/ullage/ullage.toml)",
        "  gateway.tokens.ci.token_file = /etc/ullage/ci",
        "What clients must send as a bearer token; needed beyond loopback.",
        "token ci may not use 'ollama/qwen3:8b'",
        "llama-server --ctx-size 8192 --max-tokens 512 --port 8080",
        "vllm --token-file /run/token",
        "d-000012: a request waits for ollama/qwen3:8b",
        "  engines.main.key = not set",
        "a basic problem of authorization has come up",
        "the monkey=banana",
        "user@host has a lease on ollama/a: l-1, for 60 s",
    ],
)
def test_ordinary_lines_stay_as_they_are(text: str) -> None:
    assert Redact()(text) == text


def test_a_secret_that_is_known_is_found_wherever_it_stands_and_in_no_other_word() -> None:
    redact = Redact(["hunter22", None, ""])
    assert redact("it said hunter22, twice: 'hunter22'") == "it said ***, twice: '***'"
    assert redact("hunter222 and xhunter22") == "hunter222 and xhunter22"
    assert redact(r"a\nhunter22 b\nxhunter22") == r"a\n*** b\nxhunter22"
    redact.hide(["later+1"])
    assert redact("hunter22/later+1/later1") == "***/***/later1"


def test_the_longer_of_two_secrets_goes_first() -> None:
    assert Redact(["abcd", "abcd-efgh"])("abcd-efgh abcd") == "*** ***"


def test_a_word_of_three_letters_is_no_secret() -> None:
    assert Redact(["the"])("the engine") == "the engine"


@pytest.mark.parametrize(
    ("name", "so"),
    [("HF_TOKEN", True), ("OPENAI_API_KEY", True), ("x-api-key", True), ("Authorization", True),
     ("DB_PASSWORD", True), ("AWS_SECRET_ACCESS_KEY", True), ("MAX_TOKENS", False),
     ("TOKENIZERS_PARALLELISM", False), ("SSH_KEYS", False), ("ULLAGE_LISTEN_TOKEN_FILE", False),
     ("KEYBOARD", False), ("PATH", False)],
)  # fmt: skip
def test_which_variables_hold_secrets_is_told_by_their_names(name: str, so: bool) -> None:
    assert is_secret(name) is so


HOSTILE = [
    "a\nb", "a\r\nb", "\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "\x9b2J", "\x00", "\x7f",
    "a\u2028b", "a\u2029b", "\u202eevil", "\u2066x\u2069", "\ufeff", "a\u200bb", "\ud800",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_what_ends_a_line_or_moves_a_terminal_is_written_as_an_escape(text: str) -> None:
    found = plain(text)
    assert found.isprintable()
    assert len(found.splitlines()) == 1
    assert json.loads(escaped(json.dumps(text, ensure_ascii=False))) == text
    assert escaped(json.dumps(text, ensure_ascii=False)).isprintable()


def test_names_of_all_languages_are_left_to_be_read() -> None:
    assert plain("模型/qwen3:8b — 8 GiB, größer …") == "模型/qwen3:8b — 8 GiB, größer …"


@given(st.text())
def test_no_text_makes_more_than_one_line(text: str) -> None:
    assert len(f"x{plain(text)}".splitlines()) == 1
    line = escaped(json.dumps({"msg": text}, ensure_ascii=False))
    assert len(line.splitlines()) == 1
    assert json.loads(line) == {"msg": text}
