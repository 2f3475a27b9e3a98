from __future__ import annotations

import pytest

from collectors.reading import Bytes, Process
from supervisor.core.kinship import LEAST, NEWBORN, NOBODY, Births, is_own, kinship
from supervisor.core.snapshot import EngineId, ModelRef
from tests.builders import ref

OLLAMA = EngineId("ollama")
A, B = ref("a"), ref("b")
DOCKER = "/system.slice/docker-" + "0f" * 32 + ".scope"


def table(size: Bytes = LEAST, **parents: int) -> tuple[Process, ...]:
    """`p7=1`: process 7 is a child of process 1."""
    return tuple(
        Process(int(name[1:]), parent, "x", size, Bytes(0)) for name, parent in parents.items()
    )


def test_the_children_of_a_models_process_hold_that_model_too() -> None:
    found = kinship(table(p7=1, p8=7, p9=8, p10=1), {OLLAMA: 7}, {A: 8}, [A])
    assert found.models == {A: {8, 9}}
    assert found.engines == {7: OLLAMA}


def test_the_nearest_known_ancestor_decides() -> None:
    found = kinship(table(p7=1, p8=7, p9=8), {OLLAMA: 7}, {A: 8, B: 9}, [A, B])
    assert found.models == {A: {8}, B: {9}}


def test_children_of_an_engine_with_one_model_hold_that_model() -> None:
    found = kinship(table(p7=1, p8=7, p9=7), {OLLAMA: 7}, {}, [A])
    assert found.models == {A: {8, 9}}
    assert found.engines == {7: OLLAMA}, "what answers for the engine is not the model's"


def test_a_child_too_small_for_any_model_holds_none() -> None:
    found = kinship(table(Bytes(LEAST - 1), p7=1, p8=7), {OLLAMA: 7}, {}, [A])
    assert (found.models, found.engines) == ({}, {7: OLLAMA, 8: OLLAMA})


def test_with_two_models_nobody_guesses_which_child_is_whose() -> None:
    found = kinship(table(p7=1, p8=7), {OLLAMA: 7}, {}, [A, B])
    assert found.models == {}
    assert found.engines == {7: OLLAMA, 8: OLLAMA}


def test_a_further_child_of_an_engine_whose_model_is_known_is_the_engines() -> None:
    found = kinship(table(p7=1, p8=7, p9=7), {OLLAMA: 7}, {A: 8}, [A])
    assert (found.models, found.engines) == ({A: {8}}, {7: OLLAMA, 9: OLLAMA})


@pytest.mark.parametrize("held", [{}, {A: 7}, {A: 8}])
def test_a_process_that_was_just_forked_holds_no_model_yet(held: dict[ModelRef, int]) -> None:
    found = kinship(table(p7=1, p8=7, p9=8), {OLLAMA: 7}, held, [A], newborn={9})
    assert 9 not in found.models[A]
    assert found.engines[9] == OLLAMA
    assert 9 in kinship(table(p7=1, p8=7, p9=8), {OLLAMA: 7}, held, [A]).models[A]


def test_who_is_called_as_a_model_holds_it_from_the_first_moment() -> None:
    found = kinship(table(p7=1, p8=7), {OLLAMA: 7}, {A: 8}, [A], newborn={8})
    assert found.models == {A: {8}}
    found = kinship(table(p7=1, p8=7, p9=7), {OLLAMA: 7}, {A: 8}, [A], {}, {A: [9]}, {9})
    assert found.models == {A: {8, 9}}


def test_a_process_is_newborn_for_a_second_after_it_is_first_seen() -> None:
    births = Births()
    assert births.newborn(table(p7=1), 50.0) == frozenset(), "it was there before us"
    assert births.newborn(table(p7=1, p8=7), 51.0) == {8}
    assert births.newborn((), 51.5) == {8}, "nobody could list them"
    assert births.newborn(table(p7=1, p8=7, p9=7), 51.9) == {8, 9}
    assert births.newborn(table(p7=1, p8=7, p9=7), 51.0 + NEWBORN) == {9}
    assert births.newborn(table(p7=1), 53.0) == frozenset()
    assert births.newborn(table(p7=1, p9=7), 54.0) == {9}, "another one, with its pid"


def test_a_control_group_of_its_own_ties_a_process_to_its_engine() -> None:
    groups = {7: DOCKER, 20: DOCKER, 21: "/system.slice/ssh.service"}
    found = kinship(table(p7=1, p20=1, p21=1), {OLLAMA: 7}, {}, [A, B], groups)
    assert found.engines == {7: OLLAMA, 20: OLLAMA}


def test_the_group_of_an_engine_that_is_one_model_is_that_models() -> None:
    groups = {7: DOCKER, 20: DOCKER}
    found = kinship(table(p7=1, p20=1), {OLLAMA: 7}, {A: 7}, [A], groups)
    assert (found.models, found.engines) == ({A: {7, 20}}, {})


def test_a_session_that_holds_everything_a_user_started_ties_nothing() -> None:
    session = "/user.slice/user-1000.slice/session-2.scope"
    found = kinship(table(p7=1, p20=1), {OLLAMA: 7}, {}, [A, B], {7: session, 20: session})
    assert found.engines == {7: OLLAMA}


def test_an_engine_on_another_machine_claims_nobody() -> None:
    assert kinship(table(p7=1), {}, {}, [A]) == NOBODY


def test_a_process_of_which_the_table_knows_nothing_yet_still_counts() -> None:
    assert kinship((), {}, {A: 8}, [A]).models == {A: {8}}


def test_pids_that_seem_to_be_each_others_parents_end_the_search() -> None:
    assert kinship(table(p7=8, p8=7), {OLLAMA: 1}, {}, [A]).models == {}


@pytest.mark.parametrize(
    ("group", "own"),
    [
        ("/system.slice/ollama.service", True),
        (DOCKER, True),
        ("/docker/" + "ab" * 32, True),
        ("/machine.slice/libpod-abc.scope", True),
        ("/", False),
        ("", False),
        ("/user.slice/user-1000.slice/session-2.scope", False),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/app-llama.scope", False),
        ("/user.slice/user-1000.slice/user@1000.service", False),
    ],
)
def test_which_groups_hold_one_service_alone(group: str, own: bool) -> None:
    assert is_own(group) is own


def test_processes_that_seem_to_be_each_others_parent_are_nobodys() -> None:
    found = kinship(table(p8=9, p9=8, p10=9, p11=7), {OLLAMA: 7}, {}, [])
    assert found.engines == {7: OLLAMA, 11: OLLAMA}
