"""Engines' own keys."""

from supervisor.config.config import EngineConfig
from supervisor.config.described import Description
from supervisor.core.snapshot import EngineId
from supervisor.gateway.keys import MARK, Keys

A, B = EngineId("a"), EngineId("b")


def test_an_engine_gets_its_key_and_no_other_gets_any():
    keys = Keys([EngineConfig(A, "vllm", "http://127.0.0.1:1", "sk-1")])
    assert keys.engine_headers(A) == (*MARK, (b"authorization", b"Bearer sk-1"))
    assert keys.engine_headers(B) == MARK


def test_a_described_engine_gets_its_own_headers_too():
    told = Description(headers={"X-Api-Key": "k"})
    keys = Keys([EngineConfig(A, "http", "http://127.0.0.1:1", None, options=told),
                 EngineConfig(B, "http", "http://127.0.0.1:2", "sk", options=told)])  # fmt: skip
    both = (b"x-api-key", b"k"), (b"authorization", b"Bearer sk")
    assert keys.engine_headers(A) == (*MARK, both[0])
    assert keys.engine_headers(B) == (*MARK, *both)


def test_a_login_is_sent_as_the_engine_wants_it():
    keys = Keys([EngineConfig(A, "a1111", "http://127.0.0.1:1", "me:secret")])
    assert keys.engine_headers(A) == (*MARK, (b"authorization", b"Basic bWU6c2VjcmV0"))


def test_an_engine_that_comes_later_gets_its_key_too():
    keys = Keys([EngineConfig(A, "vllm", "http://127.0.0.1:1", "sk-1")])
    keys.add([EngineConfig(B, "vllm", "http://127.0.0.1:2", "sk-2")])
    assert keys.engine_headers(A) == (*MARK, (b"authorization", b"Bearer sk-1"))
    assert keys.engine_headers(B) == (*MARK, (b"authorization", b"Bearer sk-2"))


def test_keys_are_not_shown():
    engines = (EngineConfig(e, "vllm", "http://127.0.0.1:1", k) for e, k in ((A, "s"), (B, None)))
    assert repr(Keys(engines)) == "Keys(['a'])"
