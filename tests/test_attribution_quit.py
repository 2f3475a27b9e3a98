"""An engine that was quit, whose models name no process: they are known to have gone with it."""

from __future__ import annotations

from tests.test_attribution import A
from tests.test_attribution_kin import SERVER, VLLM, house, row


def test_a_model_that_names_no_process_goes_when_its_engines_and_its_own_have_ended() -> None:
    machine, table = house(p7=5)
    machine.look(VLLM, table=table)
    machine.look(VLLM, up=False, table=table)
    assert not machine.attribution.went_with_its_engine(A), "it is silent, and there"
    del machine.running[5]
    for _ in range(2):
        machine.look(VLLM, up=False, table=table)
        assert not machine.attribution.went_with_its_engine(A), "what holds it lives on"
    machine.start(7, "bash", started=50.0)
    machine.look(VLLM, up=False, table=table)
    assert machine.attribution.went_with_its_engine(A), "the pid is somebody else's"


def test_what_an_engine_answered_before_its_end_does_not_bring_it_back() -> None:
    machine, table = house(p7=5)
    machine.look(VLLM, table=table)
    del machine.running[5]
    del machine.ports[8080]
    machine.look(VLLM, table=table)
    assert not machine.attribution.went_with_its_engine(A), "its own process lives"
    del machine.running[7]
    machine.look(VLLM, up=False, table=table)
    assert machine.attribution.went_with_its_engine(A)


def test_an_engine_that_answers_again_has_its_models() -> None:
    machine, table = house()
    machine.look(VLLM, table=table)
    del machine.running[5]
    machine.look(VLLM, up=False, table=table)
    assert machine.attribution.went_with_its_engine(A)
    for ports in ({}, {8080: 50}):  # also before its process is found
        machine.ports.clear()
        machine.ports |= ports
        machine.start(50, *SERVER)
        machine.look(VLLM, table=(row(50, 1),))
        assert not machine.attribution.went_with_its_engine(A)
        machine.look(VLLM, up=False, table=(row(50, 1),))
        assert not machine.attribution.went_with_its_engine(A)


def test_of_an_engine_that_is_elsewhere_nobody_knows_that_it_has_ended() -> None:
    machine, table = house()
    machine.url = "http://192.168.1.7:8080"
    machine.look(VLLM, table=table)
    del machine.running[5]
    machine.look(VLLM, up=False, table=table)
    assert not machine.attribution.went_with_its_engine(A)
