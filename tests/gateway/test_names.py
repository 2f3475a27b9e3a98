"""Whom a name means, and what is said where it means nobody."""

from dataclasses import replace

import pytest

from supervisor.core.snapshot import EngineId, EngineState, Installed, State
from supervisor.core.types import ModelType
from supervisor.gateway.names import Names, everyone
from supervisor.gateway.surfaces import surface_of
from supervisor.gateway.wrong import NotYetKnown, UnknownModel, WrongApi, WrongType
from supervisor.likeness import Likeness
from tests.builders import ref, resident
from tests.gateway.asking import at, engines, host

CHAT = at("/v1/chat/completions")
OLLAMA = at("/api/chat")


def found(name, snapshot, surface=CHAT, kinds=("ollama", "vllm", "llamacpp"), **more):
    names = Names(engines(*kinds), **more)
    return [str(ref) for ref in names.candidates(name, snapshot, surface)]


def test_a_model_is_meant_by_its_bare_name_and_by_its_engines_before_it():
    there = host("ollama/qwen3:8b", "vllm/Qwen/Qwen3-8B")
    assert found("qwen3:8b", there) == ["ollama/qwen3:8b"]
    assert found("ollama/qwen3:8b", there) == ["ollama/qwen3:8b"]
    assert found("Qwen/Qwen3-8B", there) == ["vllm/Qwen/Qwen3-8B"]
    assert found("vllm/Qwen/Qwen3-8B", there) == ["vllm/Qwen/Qwen3-8B"]


def test_without_a_tag_the_latest_is_meant_and_the_latest_is_meant_by_what_has_none():
    there = host("ollama/llama3:latest", "vllm/mistral")
    assert found("llama3", there) == ["ollama/llama3:latest"]
    assert found("ollama/llama3", there) == ["ollama/llama3:latest"]
    assert found("mistral:latest", there) == ["vllm/mistral"]
    with pytest.raises(UnknownModel):
        found("llama3:8b", there)


def test_a_name_that_stands_there_as_it_is_comes_before_the_habit_with_tags():
    there = host("ollama/m:latest", "vllm/m")
    assert found("m", there) == ["vllm/m"]
    assert found("m:latest", there) == ["ollama/m:latest"]


def test_of_several_engines_with_that_model_all_are_candidates_in_the_order_of_the_configuration():
    there = host("vllm/m", "llamacpp/m", "ollama/m")
    assert found("m", there, kinds=("ollama", "vllm", "llamacpp")) == [
        "ollama/m",
        "vllm/m",
        "llamacpp/m",
    ]
    assert found("vllm/m", there) == ["vllm/m"]


def test_a_model_that_is_loaded_and_one_that_is_installed_are_meant_alike():
    there = host("ollama/idle", residents=(resident("busy", 4, state=State.LOADING),))
    assert found("busy", there) == ["ollama/busy"]
    assert found("idle", there) == ["ollama/idle"]


def test_an_alias_stands_for_one_model_or_for_several_in_its_own_order():
    there = host("ollama/qwen3:8b", "vllm/qwen", "vllm/fast")
    aliases = {"gpt-4o": "ollama/qwen3:8b", "fast": ["gone", "qwen", "qwen3:8b"]}
    assert found("gpt-4o", there, aliases=aliases) == ["ollama/qwen3:8b"]
    # It comes before a model of that name.
    assert found("fast", there, aliases=aliases) == ["vllm/qwen", "ollama/qwen3:8b"]


def test_an_alias_of_nobody_that_is_there_says_for_whom_it_stands():
    with pytest.raises(UnknownModel) as no:
        found("gpt-4o", host("ollama/a"), aliases={"gpt-4o": "qwen3:8b"})
    assert "an alias of qwen3:8b" in no.value.message


def test_an_unknown_name_is_refused_with_the_closest_and_with_what_is_loaded():
    there = host(
        "ollama/qwen3:8b", "ollama/qwen3:14b", "vllm/Qwen/Qwen3-8B", "ollama/gemma3:4b",
        residents=(resident("gemma3:4b", 4), resident("asleep", 4, state=State.LEAVING)),
    )  # fmt: skip
    with pytest.raises(UnknownModel) as no:
        found("qwen3:8", there, kinds=("ollama", "vllm"))
    assert (no.value.status, no.value.code) == (404, "model_not_found")
    assert no.value.closest == ("qwen3:8b", "qwen3:14b", "Qwen/Qwen3-8B")
    assert no.value.loaded == ("gemma3:4b",)
    assert "did you mean qwen3:8b or qwen3:14b or Qwen/Qwen3-8B?" in no.value.message
    assert "Loaded now: gemma3:4b" in no.value.message


def test_before_an_engine_has_said_which_models_it_has_nobody_is_told_that_there_is_none():
    """A daemon that has just come up, or an engine that is slower to: a 404 would be for good."""
    down = EngineState(EngineId("vllm"), "vllm", "http://x", fault="no answer within 2 s")
    there = host("ollama/a")
    silent = replace(there, engines=(*there.engines, down))
    both = ("ollama", "vllm")
    with pytest.raises(NotYetKnown) as no:
        found("Qwen", silent, kinds=both)
    assert (no.value.status, no.value.code, no.value.wait) == (503, "engine_down", 2.0)
    assert no.value.message.startswith("no model is called 'Qwen'")
    assert no.value.message.endswith("an engine that may have it has not answered yet")
    with pytest.raises(NotYetKnown):
        found("Qwen", there, kinds=both)  # a look for an alarm has no word of it
    with pytest.raises(NotYetKnown):
        found("Qwen", there, kinds=("ollama",), searching=lambda: True)
    for other, kinds in (
        (replace(silent, engines=(replace(down, fault=None),)), both),  # it has answered
        (replace(silent, installed=(*silent.installed, Installed(ref("B", "vllm")))), both),
        (silent, ("ollama",)),  # asked no more
    ):
        with pytest.raises(UnknownModel) as no:
            found("Qwen", other, kinds=kinds)
        assert no.value.status == 404
    with pytest.raises(UnknownModel) as no:
        found("Qwen", silent, at("/engines/ollama/v1/chat/completions"), kinds=both)
    assert no.value.status == 404


def test_nobody_is_named_whom_the_client_may_not_use():
    there = host("ollama/secret:1", "ollama/open:1", residents=(resident("secret:1", 1),))
    names = Names(engines("ollama"))

    def visible(ref, asked=""):
        return ref.model != "secret:1"

    with pytest.raises(UnknownModel) as no:
        names.candidates("secret:2", there, CHAT, visible)
    assert "secret:1" not in no.value.message
    rank = at("/v1/rerank")
    with pytest.raises(UnknownModel):
        names.candidates("secret:1", there, rank, visible)
    with pytest.raises(WrongApi):
        names.candidates("open:1", there, rank, visible)


def test_an_engine_that_does_not_speak_an_api_is_not_asked_in_it():
    there = host("ollama/m", "vllm/m", "vllm/only")
    assert found("m", there, OLLAMA) == ["ollama/m"]
    with pytest.raises(WrongApi) as no:
        found("only", there, OLLAMA)
    assert (no.value.status, no.value.code) == (400, "wrong_api")
    assert "/v1/chat/completions" in no.value.instead
    assert "only' is a model of vllm (vLLM)" in no.value.message
    assert "ask at /v1/chat/completions" in no.value.message


def test_a_model_of_an_engine_in_whose_place_another_answers_by_now_is_refused_in_words():
    there, known = host("vllm/only"), engines("vllm")
    names = Names(known)
    names.look(there)
    known.clear()
    with pytest.raises(WrongApi, match="only' is a model of vllm"):
        names.candidates("only", there, CHAT)


def test_an_engine_that_serves_nothing_names_the_way_to_its_own_paths():
    with pytest.raises(WrongApi) as no:
        found("sdxl", host("comfyui/sdxl"), kinds=("comfyui",))
    assert "/engines/comfyui/…" in no.value.message


@pytest.mark.parametrize(
    ("told", "path", "serves"),
    [
        (ModelType.EMBEDDING, "/v1/chat/completions", False),
        (ModelType.EMBEDDING, "/v1/embeddings", True),
        (ModelType.EMBEDDING, "/v1/rerank", True),
        (ModelType.RERANK, "/v1/completions", False),
        (ModelType.RERANK, "/v1/rerank", True),
        (ModelType.CHAT, "/v1/embeddings", True),
        (ModelType.CHAT, "/v1/audio/transcriptions", True),
        (ModelType.SPEECH, "/v1/chat/completions", True),
        (ModelType.SPEECH, "/v1/rerank", False),
        (ModelType.IMAGE, "/v1/chat/completions", False),
        (None, "/v1/rerank", True),
    ],
)
def test_a_model_is_refused_what_it_surely_cannot_do_by_its_engines_word(told, path, serves):
    there = host("llamacpp/m", type=told)
    if serves:
        assert found("m", there, at(path)) == ["llamacpp/m"]
    else:
        with pytest.raises(WrongType) as no:
            found("m", there, at(path))
        assert (no.value.status, no.value.code) == (400, "wrong_model_type")


def test_the_configurations_word_for_a_type_comes_before_the_engines():
    there = host("llamacpp/m", type=ModelType.EMBEDDING)
    assert found("m", there, said=lambda ref: ModelType.CHAT) == ["llamacpp/m"]
    with pytest.raises(WrongType) as no:
        found("m", host("llamacpp/m"), said=lambda ref: ModelType.EMBEDDING)
    assert "makes embeddings" in no.value.message
    assert no.value.instead == ("/v1/embeddings",)


def test_a_name_alone_is_no_word_for_a_type():
    assert found("nomic-embed-text", host("ollama/nomic-embed-text")) == ["ollama/nomic-embed-text"]


def test_behind_an_engines_name_only_its_own_models_are_meant_on_any_path():
    there = host("ollama/m", "vllm/m")
    assert found("m", there, at("/engines/vllm/api/chat")) == ["vllm/m"]
    with pytest.raises(UnknownModel) as no:
        found("n", there, at("/engines/vllm/api/chat"))
    assert no.value.closest == ()
    names = Names(engines("ollama", "vllm"))
    assert names.knows("m", there, at("/engines/vllm/prompt"))
    assert not names.knows("n", there, at("/engines/vllm/prompt"))


def test_a_model_of_an_engine_that_is_configured_no_more_is_nobodys():
    with pytest.raises(UnknownModel):
        found("m", host("ollama/m"), kinds=("vllm",))


# -- what is kept


class Counting(dict):
    reads = 0

    def items(self):
        return super().items()

    def get(self, key, default=None):
        self.reads += 1
        return super().get(key, default)


def test_who_is_meant_is_kept_until_the_models_change_and_not_for_each_snapshot():
    all_engines = Counting(engines("ollama", "vllm"))
    names = Names(all_engines)
    there = host("ollama/m", residents=(resident("r", 1),))
    first = names.candidates("m", there, CHAT)
    looked = all_engines.reads
    for idle in (1, 2, 3):
        later = replace(there, residents=(resident("r", 1 + idle, idle=idle),))
        assert names.candidates("m", later, CHAT) is first
    assert all_engines.reads == looked
    gone = replace(there, installed=(Installed(ref("other")),))
    with pytest.raises(UnknownModel):
        names.candidates("m", gone, CHAT)
    assert names.candidates("m", there, CHAT) == first


def test_who_is_meant_is_kept_for_each_way_to_ask():
    names = Names(engines("ollama", "vllm"))
    there = host("ollama/m", "vllm/m")
    assert names.candidates("m", there, CHAT) == (ref("m"), ref("m", "vllm"))
    assert names.candidates("m", there, at("/v1/rerank")) == (ref("m", "vllm"),)
    behind = at("/engines/vllm/v1/chat/completions")
    assert names.candidates("m", there, behind) == (ref("m", "vllm"),)


def test_an_engine_that_is_found_later_counts():
    all_engines = engines("vllm")
    names = Names(all_engines)
    there = host("ollama/m")
    with pytest.raises(UnknownModel):
        names.candidates("m", there, CHAT)
    all_engines.update(engines("ollama"))
    assert names.candidates("m", replace(there, taken_at=1.0), CHAT) == (ref("m"),)


def test_another_type_by_the_engines_word_counts():
    names = Names(engines("llamacpp"))
    assert names.candidates("m", host("llamacpp/m"), CHAT)
    with pytest.raises(WrongType):
        names.candidates("m", host("llamacpp/m", type=ModelType.EMBEDDING), CHAT)


def test_new_settings_count_once_what_is_kept_is_forgotten():
    said = {}
    names = Names(engines("llamacpp"), said=lambda ref: said.get(ref.model))
    there = host("llamacpp/m")
    assert names.candidates("m", there, CHAT)
    said["m"] = ModelType.RERANK
    names.forget()
    with pytest.raises(WrongType):
        names.candidates("m", there, CHAT)


def test_as_many_wrong_names_as_may_come_are_not_kept():
    names = Names(engines("ollama"))
    there = host("ollama/m")
    for i in range(50):
        with pytest.raises(UnknownModel):
            names.candidates(f"x{i}", there, CHAT)
    assert len(names._kept) == 0


def test_what_a_model_is_called_is_its_bare_name_where_that_says_who():
    names = Names(engines("ollama", "vllm"), {"fast": "b"})
    names.look(host("ollama/a", "vllm/a", "vllm/b", "vllm/fast", "vllm/x/y"))
    called = {str(ref): names.id_of(ref) for ref in names.known}
    assert called == {
        "ollama/a": "ollama/a",
        "vllm/a": "vllm/a",
        "vllm/b": "b",
        "vllm/fast": "vllm/fast",
        "vllm/x/y": "x/y",
    }
    for id in called.values():
        assert len(names.meant(id)) == 1


def test_names_are_alike_by_the_pieces_they_share():
    names = ("llama3:8b", "Llama-3.3-70B", "mistral", "qwen3:8b")
    likeness = Likeness((name, name) for name in names)
    assert likeness.closest("lama3", everyone)[0] == "llama3:8b"
    assert likeness.closest("LLAMA3:8B", everyone)[0] == "llama3:8b"
    assert likeness.closest("mistrall", everyone) == ("mistral",)
    assert likeness.closest("gpt-4o", everyone) == ()
    assert likeness.closest("", everyone) == ()
    assert likeness.closest("x" * 100_000, everyone) == ()


def test_a_path_of_ours_that_is_said_instead_exists():
    with pytest.raises(WrongApi) as no:
        found("m", host("infinity/m"), kinds=("infinity",))
    assert no.value.instead
    assert all(surface_of(b"POST", path.encode()) for path in no.value.instead)
