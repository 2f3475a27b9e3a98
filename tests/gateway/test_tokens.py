"""Who asks, by the token, and how much each may ask for."""

from __future__ import annotations

from hashlib import sha256

import pytest

from supervisor.config.gated import TokenConfig
from supervisor.core.snapshot import EngineId, ModelId, ModelRef
from supervisor.gateway.heads import Head
from supervisor.gateway.marks import PLACED, Marks
from supervisor.gateway.tokens import Caller, Refused, Tokens
from supervisor.guesses import PLACES, WRONG_AT_ONCE, WRONG_EACH

GOOD, OTHER = b"ullage-good-0123456789", b"ullage-other-0123456789"
HERE, AWAY = "127.0.0.1", "192.0.2.7"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def head(*headers: tuple[bytes, bytes]) -> Head:
    return Head(b"POST", b"/v1/x", b"/v1/x", b"", list(headers), True, True, None)


def bearer(token: bytes) -> Head:
    return head((b"host", b"localhost"), (b"authorization", b"Bearer " + token))


def token(name: str = "laptop", secret: bytes = GOOD, **rest: object) -> TokenConfig:
    return TokenConfig(name, sha256(secret).digest(), **rest)  # type: ignore[arg-type]


def tokens(*found: TokenConfig, clock: Clock | None = None, **rest: object) -> Tokens:
    clock = clock or Clock()
    return Tokens(found or (token(),), clock=clock, wall=clock, **rest)  # type: ignore[arg-type]


def ref(model: str, engine: str = "ollama") -> ModelRef:
    return ModelRef(EngineId(engine), ModelId(model))


def named(found: Caller | Refused) -> str:
    assert isinstance(found, Caller), found
    return found.name


def refused(found: object) -> Refused:
    assert isinstance(found, Refused)
    return found


def caller(**limits: object) -> tuple[Caller, Clock]:
    clock = Clock()
    found = tokens(token(**limits), clock=clock).identify(bearer(GOOD), HERE)
    assert isinstance(found, Caller)
    return found, clock


# -- who it is


def test_without_any_token_everybody_may_ask():
    found = Tokens().identify(head(), AWAY)
    assert isinstance(found, Caller)
    assert (found.name, found.priority) == ("", 0)
    assert found.may_use(ref("anything"))


@pytest.mark.parametrize(
    "header",
    [
        (b"authorization", b"Bearer " + GOOD),
        (b"authorization", b"bearer  " + GOOD + b" "),
        (b"x-api-key", GOOD),
        (b"api-key", GOOD),
    ],
)
def test_a_token_is_taken_from_the_headers_that_clients_send(header):
    assert named(tokens().identify(head(header), HERE)) == "laptop"


def test_each_token_is_its_own_caller():
    two = tokens(token(), token("ci", OTHER))
    assert named(two.identify(bearer(OTHER), HERE)) == "ci"
    assert named(two.identify(bearer(GOOD), HERE)) == "laptop"


@pytest.mark.parametrize(
    "header",
    [
        (b"authorization", b"Basic " + GOOD),
        (b"authorization", b"Bearer"),
        (b"authorization", GOOD),
        (b"x-api-key", b""),
        (b"x-api-key", GOOD * 1000),
        (b"cookie", b"token=" + GOOD),
    ],
)
def test_whoever_sends_none_is_told_how(header):
    found = refused(tokens().identify(head(header), HERE))
    assert (found.status, found.why) == (401, "token")
    assert found.headers == ((b"www-authenticate", b'Bearer realm="ullage"'),)
    assert "Authorization: Bearer" in found.message


@pytest.mark.parametrize("wrong", [GOOD[:-1], GOOD + b"x", b"\xff\xfe" * 9, sha256(GOOD).digest()])
def test_a_wrong_token_is_refused_and_not_repeated(wrong):
    found = refused(tokens().identify(bearer(wrong), HERE))
    assert (found.status, found.why) == (401, "token")
    assert wrong.decode("latin-1") not in found.message


def test_the_unix_socket_asks_for_none():
    assert named(tokens().identify(head(), None)) == ""


def test_a_token_ends_in_time():
    clock = Clock()
    known = tokens(token(expires=1010.0), clock=clock)
    same = bearer(GOOD)
    assert named(known.identify(same, HERE)) == "laptop"
    clock.now = 1010.0
    found = refused(known.identify(same, HERE))
    assert (found.status, found.why) == (401, "expired")


def test_what_was_found_of_a_head_is_not_taken_for_another_s():
    one, other = tokens(), tokens(token("ci"))
    same = bearer(GOOD)
    assert named(one.identify(same, HERE)) == "laptop"
    assert named(other.identify(same, HERE)) == "ci"


# -- guessing


def test_who_guesses_from_elsewhere_is_not_even_listened_to_for_a_while():
    clock = Clock()
    known = tokens(clock=clock)
    for i in range(WRONG_AT_ONCE):
        assert refused(known.identify(bearer(b"guess-%d" % i), AWAY)).status == 401
    shut = refused(known.identify(bearer(GOOD), AWAY))
    assert (shut.status, shut.retry_after) == (429, WRONG_EACH)
    assert named(known.identify(bearer(GOOD), "192.0.2.8")) == "laptop"
    clock.now += WRONG_EACH
    assert named(known.identify(bearer(GOOD), AWAY)) == "laptop"


@pytest.mark.parametrize("peer", [HERE, "::1", "::ffff:127.0.0.1"])
def test_a_wrong_key_on_this_machine_shuts_out_nobody_else_here(peer):
    known = tokens()
    found = [refused(known.identify(bearer(b"old"), peer)).status for _ in range(30)]
    assert found == [401] * WRONG_AT_ONCE + [429] * 10
    assert named(known.identify(bearer(GOOD), peer)) == "laptop"


def test_a_network_of_ipv6_is_one_guesser():
    known = tokens()
    for i in range(WRONG_AT_ONCE):
        known.identify(bearer(b"wrong"), f"2001:db8:1:2::{i:x}")
    assert refused(known.identify(bearer(GOOD), "2001:db8:1:2:ffff::1")).status == 429
    assert named(known.identify(bearer(GOOD), "2001:db8:1:3::1")) == "laptop"


def test_whoever_sends_no_token_does_not_guess():
    known = tokens()
    for _ in range(100):
        assert refused(known.identify(head(), AWAY)).status == 401
    assert named(known.identify(bearer(GOOD), AWAY)) == "laptop"


def test_guessers_are_remembered_up_to_a_number():
    known = tokens()
    for i in range(PLACES + 50):
        known.identify(bearer(b"wrong"), f"10.0.{i // 256}.{i % 256}")
    assert len(known.guesses._wrong) == PLACES


# -- how much


def test_requests_at_once_are_counted_to_their_end_and_no_further():
    mine, _ = caller(max_in_flight=2)
    one, two = mine.begin(), mine.begin()
    found = refused(mine.begin())
    assert (found.status, found.why, found.retry_after) == (429, "limit", 1.0)
    assert "laptop has 2 requests under way" in found.message
    assert not isinstance(one, Refused)
    assert not isinstance(two, Refused)
    one.end()
    one.end()
    assert mine.in_flight == 1
    assert not isinstance(mine.begin(), Refused)
    assert refused(mine.begin()).status == 429


def test_requests_a_minute_come_back_one_by_one():
    mine, clock = caller(per_minute=3)
    for _ in range(3):
        assert not isinstance(mine.begin(), Refused)
    found = refused(mine.begin())
    assert (found.status, found.why, found.retry_after) == (429, "limit", 20.0)
    clock.now += 5
    assert refused(mine.begin()).retry_after == 15.0
    clock.now += 15
    assert not isinstance(mine.begin(), Refused)
    assert isinstance(mine.begin(), Refused)
    clock.now += 3600
    assert sum(not isinstance(mine.begin(), Refused) for _ in range(9)) == 3


def test_what_is_refused_counts_for_nothing():
    mine, clock = caller(max_in_flight=1, per_minute=2)
    first = mine.begin()
    assert not isinstance(first, Refused)
    for _ in range(5):
        assert isinstance(mine.begin(), Refused)
    first.end()
    assert not isinstance(mine.begin(), Refused)
    assert (mine.requests, mine.in_flight, mine.used_at) == (2, 1, clock.now)


def test_a_token_without_limits_has_none():
    mine, _ = caller()
    found = [mine.begin() for _ in range(500)]
    assert not any(isinstance(f, Refused) for f in found)
    assert mine.in_flight == 500


# -- which models


@pytest.mark.parametrize(
    ("models", "engines", "may"),
    [
        (None, None, {"ollama/qwen3:8b", "ollama/gemma", "vllm/qwen3:8b"}),
        (("qwen3*",), None, {"ollama/qwen3:8b", "vllm/qwen3:8b"}),
        (("ollama/*",), None, {"ollama/qwen3:8b", "ollama/gemma"}),
        (None, ("vllm",), {"vllm/qwen3:8b"}),
        (("*",), ("vllm",), {"vllm/qwen3:8b"}),
        (("gemma",), ("vllm",), set()),
    ],
)
def test_a_token_is_for_the_models_it_names(models, engines, may):
    mine, _ = caller(models=models, engines=engines)
    every = [ref("qwen3:8b"), ref("gemma"), ref("qwen3:8b", "vllm")]
    for _ in range(2):  # and the second time from memory
        assert {str(r) for r in every if mine.may_use(r)} == may


def test_an_alias_that_is_allowed_is_allowed_whatever_it_leads_to():
    aliases = {"fast": "qwen3:8b", "slow": "gemma"}
    known = tokens(token(models=("fast",)), aliases=aliases)
    mine = known.identify(bearer(GOOD), HERE)
    assert isinstance(mine, Caller)
    assert mine.may_use(ref("qwen3:8b"), "fast")
    assert not mine.may_use(ref("gemma"), "slow")
    assert not mine.may_use(ref("qwen3:8b"), "qwen3:8b")
    assert not mine.may_use(ref("qwen3:8b"))


def test_a_name_that_is_no_alias_allows_nothing():
    mine, _ = caller(models=("qwen3:8b",))
    assert not mine.may_use(ref("gemma"), "qwen3:8b")


def test_an_allowed_alias_does_not_lead_to_another_engine():
    known = tokens(token(models=("fast",), engines=("ollama",)), aliases={"fast": "vllm/x"})
    mine = known.identify(bearer(GOOD), HERE)
    assert isinstance(mine, Caller)
    assert not mine.may_use(ref("x", "vllm"), "fast")


@pytest.mark.parametrize("secret", [GOOD, OTHER, b"ullage-third-0123456789", b"wrong"])
def test_every_known_digest_is_compared_however_soon_one_is_found(
    secret: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In constant time each, and all of them: how long it takes tells nothing of which it is."""
    secrets = (GOOD, OTHER, b"ullage-third-0123456789")
    compared: list[bytes] = []

    def compare(one: bytes, other: bytes) -> bool:
        digest = sha256(secret).digest()
        compared.append(one if other == digest else other)
        return one == other

    known = tokens(*(token(f"t{n}", s) for n, s in enumerate(secrets)))
    monkeypatch.setattr("supervisor.gateway.tokens.compare_digest", compare)
    found = known.identify(bearer(secret), AWAY)
    assert isinstance(found, Caller) == (secret in secrets)
    assert sorted(compared) == sorted(sha256(s).digest() for s in secrets)
    compared.clear()
    marks = Marks(s.decode() for s in secrets)
    monkeypatch.setattr("supervisor.gateway.marks.compare_digest", compare)
    placed = head((b"authorization", b"Bearer " + secret), (PLACED, b"host"))
    assert marks.believed(placed) == (secret in secrets)
    assert sorted(compared) == sorted(sha256(s).digest() for s in secrets)
