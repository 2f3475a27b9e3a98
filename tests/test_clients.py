"""Who uses which model: of those who are never heard again nothing is kept."""

from collectors.reading import Seconds
from supervisor.clients import MOST, SILENT, Clients
from supervisor.core.policy import Policy
from supervisor.core.snapshot import EngineId, ModelId, ModelRef

REF = ModelRef(EngineId("e"), ModelId("m"))


def test_ever_new_clients_are_forgotten_who_was_silent_for_longest_first():
    clients = Clients()
    for number in range(2 * MOST):
        clients.used(f"c{number}", REF, Policy(), Seconds(0))
        clients.used("ann", REF, Policy(), Seconds(0))
    assert len(clients._using) == MOST
    assert "ann" in clients._using
    assert "c0" not in clients._using


def test_a_client_that_is_silent_for_an_hour_has_gone():
    clients = Clients()
    clients.used("ann", REF, Policy(), Seconds(0))
    clients.used("ben", REF, Policy(), Seconds(SILENT / 2))
    clients.used("cid", REF, Policy(), Seconds(SILENT + 1))
    assert list(clients._using) == ["ben", "cid"]
