"""What the tests with a real llama-server need."""

import pytest

from supervisor.demo.real import Missing, find_model, find_server


@pytest.fixture(scope="session")
def installed() -> None:
    """The server and a small model; without them there is nothing to test."""
    try:
        find_server()
        find_model()
    except Missing as missing:
        pytest.skip(str(missing))
