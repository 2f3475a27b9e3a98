"""Tokens that may do one thing alone: what is read of them, and every mistake that can be made."""

from __future__ import annotations

import datetime
from hashlib import sha256

import pytest

from supervisor.config.config import effective
from supervisor.config.entrusted import (
    ALL,
    CLOSING,
    FORCE,
    GATEWAY,
    OPERATE,
    READ,
    SCOPES,
    WRITE,
    included,
)
from supervisor.differences import differences
from supervisor.overrides import waits, why_not
from tests.configs import nothing

SECRET = "ullage-0123456789abcdef"
DIGEST = sha256(SECRET.encode())
LINE = f'sha256 = "{DIGEST.hexdigest()}"'
SCOPE = f'scopes = ["{WRITE}"]'
ALERTMANAGER = f"[listen.tokens.alertmanager]\n{LINE}\n{SCOPE}\n"


def test_without_a_word_there_are_none():
    assert nothing().tokens == ()


def test_every_key_arrives(read):
    (token,) = read(f"{ALERTMANAGER}expires = 2027-06-30").tokens
    assert (token.name, token.digest) == ("alertmanager", DIGEST.digest())
    assert token.scopes == {WRITE}
    assert token.expires == datetime.datetime(2027, 7, 1, tzinfo=datetime.UTC).timestamp()


def test_who_may_force_may_write_too(read):
    (token,) = read(ALERTMANAGER.replace(WRITE, FORCE)).tokens
    assert token.scopes == {WRITE, FORCE}
    assert included(SCOPES) == ALL | {GATEWAY}


def test_neither_the_token_nor_its_digest_is_ever_shown(read):
    config = read(f"{ALERTMANAGER}expires = 2027-06-30")
    rows = {key: text for key, text, _ in effective(config)}
    assert rows["listen.tokens.alertmanager.sha256"] == "set"
    assert rows["listen.tokens.alertmanager.scopes"] == WRITE
    assert rows["listen.tokens.alertmanager.expires"] == "2027-07-01T00:00:00Z"
    for secret in (DIGEST.hexdigest(), repr(DIGEST.digest())):
        assert secret not in repr(config)
        assert secret not in str(rows)


def test_it_may_stand_in_a_file_that_others_cannot_read(read, mistakes, tmp_path):
    file = tmp_path / "alertmanager.token"
    file.write_text(f"{SECRET}\n")
    file.chmod(0o600)
    text = f'[listen.tokens.alertmanager]\ntoken_file = "alertmanager.token"\n{SCOPE}'
    assert read(text).tokens[0].digest == DIGEST.digest()
    file.chmod(0o644)
    assert "open to everybody" in mistakes(text)[0]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"[listen.tokens.a]\n{LINE}", f'scopes: is missing; write it as ["{READ}"]'),
        (f"[listen.tokens.a]\n{LINE}\nscopes = []", 'leaves nothing that it may do; write it as'),
        (f'[listen.tokens.a]\n{LINE}\nscopes = "{WRITE}"', "is not a list of scopes; write it as"),
        (f'[listen.tokens.a]\n{LINE}\nscopes = ["alert:write"]', f"did you mean {WRITE}?"),
        (f"[listen.tokens.a]\n{LINE}\nscopes = [7]", f"7 is no scope; write {READ} or {OPERATE}"),
        (f"[listen.tokens.a]\n{SCOPE}", "ullage token NAME --scope read` makes a token"),
        (f'[listen.tokens.a]\nsha256 = "hunter2"\n{SCOPE}', "--scope read` makes one"),
        (f'[listen.tokens.a]\n{LINE}\ntoken_file = "x"\n{SCOPE}', "and token_file too; give one"),
        (f"[listen.tokens.a]\n{LINE}\n{SCOPE}\nexpires = 7", "7 is not a day or a time"),
        (f'[listen.tokens."a b"]\n{LINE}\n{SCOPE}', "a token's name is letters, digits"),
        (f"[listen.tokens.socket]\n{LINE}\n{SCOPE}", "socket is what callers without it are"),
        (f"{ALERTMANAGER}[listen.tokens.b]\n{LINE}\n{SCOPE}", "same token as listen.tokens.alert"),
        (f"{ALERTMANAGER}[gateway.tokens.b]\n{LINE}", "is the same token as gateway.tokens.b"),
        (f'{ALERTMANAGER}[listen]\ntoken = "{SECRET}"', "same token as listen.token, which may do"),
        ('[listen]\ntokens = "x"', '"x" stands where a table should'),
        (f"[gateway.tokens.a]\n{LINE}\n{SCOPE}", "gateway.tokens.a.scopes: unknown key"),
    ],
)  # fmt: skip
def test_every_mistake_is_told_with_what_would_be_right(mistakes, text, line):
    found = mistakes(text)
    assert len(found) == 1, found
    assert line in found[0]
    assert SECRET not in found[0]
    assert "hunter2" not in found[0]


def test_a_slip_of_the_pen_is_told_with_what_was_meant(mistakes):
    said = f'[listen.tokens.a]\n{LINE}\nscope = ["{WRITE}"]'
    unknown, missing = mistakes(said)
    assert unknown == "listen.tokens.a.scope: unknown key; did you mean listen.tokens.a.scopes?"
    assert missing.startswith("listen.tokens.a.scopes: is missing")


def test_they_come_and_go_with_the_file_and_by_nothing_else():
    path = ("listen", "tokens", "a", "scopes")
    assert "file" in why_not(path)
    assert not waits(path)
    assert not waits(("listen", "token_file"))
    assert not waits(("gateway", "tokens", "a", "models"))
    assert waits(("listen", "socket_group"))


def test_a_token_that_was_made_anew_is_a_difference(read, tmp_path):
    file = tmp_path / "alertmanager.token"
    file.write_text(SECRET)
    file.chmod(0o600)
    text = f'[listen.tokens.alertmanager]\ntoken_file = "alertmanager.token"\n{SCOPE}'
    before = read(text)
    file.write_text(f"{SECRET}-another")
    (found,) = differences(before, read(text))
    assert found.key == "listen.tokens.alertmanager.token"
    assert str(found) == "listen.tokens.alertmanager.token is another"


# -- what follows from a scope


@pytest.mark.parametrize("scope", SCOPES)
def test_beyond_loopback_a_token_has_to_close_the_door_that_is_open(read, mistakes, scope):
    token = f'[listen.tokens.a]\n{LINE}\nscopes = ["{scope}"]\n'
    api, asks = f'[listen]\nhost = "0.0.0.0"\n{token}', f'{token}[gateway]\nhost = "0.0.0.0"\n'
    if scope in CLOSING:
        assert read(api).listen_host == "0.0.0.0"
    else:
        assert mistakes(api)[0].startswith("listen.host:")
    if scope == GATEWAY:
        config = read(f'{asks}cors_origins = ["*"]')
        assert [t.name for t in config.gateway.guests] == ["a"]
    else:
        assert mistakes(asks)[0].startswith("gateway.host:")


def test_at_the_gateway_two_tokens_of_one_name_would_be_counted_as_one(mistakes, read):
    other = sha256(b"another-one-0123456789").hexdigest()
    theirs = f'[gateway.tokens.a]\nsha256 = "{other}"\n'
    mine = f'[listen.tokens.a]\n{LINE}\nscopes = ["%s"]\n'
    (line,) = mistakes(theirs + mine % GATEWAY)
    assert line.startswith("listen.tokens.a: is gateway.tokens.a too, and both count there")
    assert read(theirs + mine % READ).gateway.guests == ()


def test_a_group_of_the_socket_has_to_be_there_unless_it_is_the_usual_one(mistakes, read):
    (line,) = mistakes('[listen]\nsocket_group = "no-such-group"')
    assert 'there is no group "no-such-group" here' in line
    assert read('[listen]\nsocket_group = "ullage"').socket_group == "ullage"


def test_the_file_of_a_token_is_shown_and_what_is_in_it_is_not(read, tmp_path):
    file = tmp_path / "desk.token"
    file.write_text(SECRET)
    file.chmod(0o600)
    text = '[listen]\ntoken_file = "main.token"\n[listen.tokens.desk]\ntoken_file = "desk.token"\n'
    (tmp_path / "main.token").write_text(f"{SECRET}-main")
    (tmp_path / "main.token").chmod(0o600)
    rows = {k: v for k, v, _ in effective(read(f'{text}scopes = ["read"]'))}
    assert rows["listen.tokens.desk.token_file"] == str(file)
    assert rows["listen.token_file"] == str(tmp_path / "main.token")
    assert SECRET not in str(rows)
