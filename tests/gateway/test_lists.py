"""Lists of the whole host, as each API's clients read them."""

import json
from datetime import UTC, datetime

import pytest

from collectors.reading import RAM, gib
from supervisor import __version__
from supervisor.core.snapshot import ModelRef, Resident, Share, State
from supervisor.core.types import ModelType
from supervisor.engines.serves import Api
from supervisor.gateway import lists
from supervisor.gateway.names import Names
from supervisor.gateway.wrong import UnknownModel
from tests.builders import GPU, ref, resident
from tests.gateway.asking import at, engines, host

MODEL = at("/v1/models/x", b"GET")


def told(reply):
    assert reply.status == 200
    return json.loads(reply.body)


def names(*kinds, **more):
    return Names(engines(*(kinds or ("ollama", "vllm", "comfyui"))), **more)


def openai(snapshot, known=None, **more):
    answer = told(lists.models(snapshot, known or names(), Api.OPENAI, **more))
    assert answer["object"] == "list"
    return {entry["id"]: entry for entry in answer["data"]}


def test_a_model_has_an_id_an_owner_and_what_we_know_of_it():
    there = host("ollama/qwen3:8b", size=gib(5), type=ModelType.CHAT)
    assert openai(there) == {
        "qwen3:8b": {
            "id": "qwen3:8b",
            "object": "model",
            "created": 0,
            "owned_by": "ollama",
            "ullage": {
                "engine": "ollama",
                "model": "qwen3:8b",
                "state": "local",
                "size": gib(5),
                "type": "chat",
            },
        }
    }


def test_a_loaded_model_tells_its_state_and_what_it_holds():
    there = host("ollama/a", residents=(resident("a", 6, state=State.SLEEPING),), size=gib(5))
    about = openai(there)["a"]["ullage"]
    assert (about["state"], about["size"]) == ("sleeping", gib(6))


def test_what_was_not_measured_is_null():
    assert openai(host("ollama/a"))["a"]["ullage"]["size"] is None
    there = host("ollama/a", residents=(resident("a", 0),))
    assert openai(there)["a"]["ullage"]["size"] is None
    assert told(lists.ps(there, names()))["models"][0]["size"] is None


def test_a_name_that_two_engines_have_is_listed_with_its_engine():
    assert sorted(openai(host("ollama/a", "vllm/a", "vllm/b"))) == ["b", "ollama/a", "vllm/a"]


def test_what_nothing_can_be_asked_of_is_not_listed():
    assert list(openai(host("comfyui/sdxl", "ollama/a"))) == ["a"]


def test_an_alias_is_listed_with_those_that_it_stands_for_and_the_loaded_one_is_told_of():
    there = host("vllm/b", "ollama/a", residents=(resident("a", 3),))
    known = names(aliases={"fast": ["b", "a"], "gone": "c"})
    found = openai(there, known)
    assert sorted(found) == ["a", "b", "fast"]
    about = found["fast"]["ullage"]
    assert about["alias_of"] == ["vllm/b", "ollama/a"]
    assert (about["engine"], about["state"]) == ("ollama", "loaded")


def only_a(ref, asked=""):
    return ref.model == "a" or asked == "fast"


def test_a_client_sees_what_it_may_use():
    there = host("ollama/a", "ollama/b", residents=(resident("a", 1), resident("b", 1)))
    known = names(aliases={"fast": "b", "slow": "b"})
    assert sorted(openai(there, known, visible=only_a)) == ["a", "fast"]
    listed = told(lists.tags(there, known, only_a))["models"]
    assert sorted(m["name"] for m in listed) == ["a", "fast"]
    assert [m["name"] for m in told(lists.ps(there, known, only_a))["models"]] == ["a"]
    with pytest.raises(UnknownModel) as no:
        lists.model("b", there, known, MODEL, Api.OPENAI, only_a)
    assert no.value.closest == ()
    assert told(lists.model("fast", there, known, MODEL, Api.OPENAI, only_a))["id"] == "fast"


def test_one_model_is_told_of_under_the_name_that_was_asked_for():
    there = host("ollama/llama3:latest")
    for name in ("llama3", "llama3:latest", "ollama/llama3:latest"):
        assert told(lists.model(name, there, names(), MODEL, Api.OPENAI))["id"] == name
    with pytest.raises(UnknownModel):
        lists.model("other", there, names(), MODEL, Api.OPENAI)


def test_a_model_that_only_makes_pictures_can_be_told_of():
    there = host("comfyui/sdxl", type=ModelType.IMAGE)
    found = told(lists.model("sdxl", there, names(), MODEL, Api.OPENAI))
    assert found["ullage"]["type"] == "image"


def test_anthropics_clients_get_pages_and_dates():
    there = host("ollama/a", "vllm/b")
    page = told(lists.models(there, names(), Api.ANTHROPIC))
    assert (page["has_more"], page["first_id"], page["last_id"]) == (False, "a", "b")
    first = page["data"][0]
    assert (first["type"], first["display_name"]) == ("model", "a")
    assert datetime.fromisoformat(first["created_at"]).year == 1970
    empty = told(lists.models(host(), names(), Api.ANTHROPIC))
    assert empty == {"data": [], "has_more": False, "first_id": None, "last_id": None}


def test_ollamas_tags_have_every_key_that_its_clients_read():
    entry = told(lists.tags(host("ollama/a", size=gib(5)), names()))["models"][0]
    assert (entry["name"], entry["model"], entry["size"]) == ("a", "a", gib(5))
    assert entry["modified_at"] is None
    assert len(entry["digest"]) == 64
    assert set(entry["details"]) == {
        "parent_model", "format", "family", "families", "parameter_size", "quantization_level",
    }  # fmt: skip
    assert "ollama_chat" in entry["ullage"]["serves"]


def test_a_digest_is_the_same_each_time_and_another_for_each_model():
    there = host("ollama/a", "vllm/a")
    first, second = (told(lists.tags(there, names()))["models"] for _ in range(2))
    assert [m["digest"] for m in first] == [m["digest"] for m in second]
    assert first[0]["digest"] != first[1]["digest"]


def test_ollamas_ps_tells_what_is_on_devices_and_when_it_goes():
    at = datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()
    shares = (Share(GPU, gib(6)), Share(RAM, gib(2)))
    there = host(
        residents=(
            Resident(ref("a"), shares, expires_at=at, context=8192),
            resident("gone", 4, state=State.UNKNOWN),
            Resident(ModelRef("vllm", "b"), (Share("gpu:blind", gib(1)),)),
        )
    )
    first, second = told(lists.ps(there, names()))["models"]
    assert (first["size"], first["size_vram"]) == (gib(8), gib(6))
    assert datetime.fromisoformat(first["expires_at"]).timestamp() == at
    assert first["context_length"] == 8192
    assert second["name"] == "b"
    assert second["size_vram"] == gib(1)
    assert second["expires_at"].startswith("2318-")


@pytest.mark.parametrize("never", [None, 1e12, float("inf")])
def test_what_stays_for_ever_is_said_as_ollama_says_it(never):
    there = host(residents=(Resident(ref("a"), (Share(GPU, gib(1)),), expires_at=never),))
    assert told(lists.ps(there, names()))["models"][0]["expires_at"] == lists.NEVER


def test_the_version_is_ollamas_where_there_is_one_and_says_that_it_is_us():
    there = host("box/a", kinds={"box": "ollama"}, versions={"box": "0.32.15"})
    assert told(lists.version(there)) == {"version": "0.32.15", "ullage": __version__}
    assert told(lists.version(host("vllm/a"))) == {"version": __version__, "ullage": __version__}


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/api/generate", {"response": "", "done": True, "done_reason": "unload"}),
        (
            "/api/chat",
            {
                "message": {"role": "assistant", "content": ""},
                "done": True,
                "done_reason": "unload",
            },
        ),
    ],
)
def test_who_wants_a_model_to_go_that_is_not_loaded_is_answered_as_by_ollama(path, more):
    now = datetime(2026, 11, 21, 12, tzinfo=UTC)
    answer = told(lists.unloaded(at(path), "m", now))
    assert answer == {"model": "m", "created_at": "2026-11-21T12:00:00Z", **more}


def test_embeddings_of_nothing_are_none():
    assert told(lists.unloaded(at("/api/embed"), "m")) == {"model": "m", "embeddings": []}
    assert told(lists.unloaded(at("/api/embeddings"), "m")) == {"model": "m", "embedding": []}


def test_ollamas_clients_find_that_somebody_is_there():
    assert lists.HELLO.body == b"Ollama is running"
    assert json.loads(lists.HEALTHY.body) == {"status": "ok"}
