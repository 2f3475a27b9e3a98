"""How hard the property tests try: `make check` a little, `make test` more. Both try the same each
time, so that a hundred examples found what they will ever find; others are tried, at random, by
`make stories`, `make fuzz` and HYPOTHESIS_PROFILE=long.

And the stand-in driver, which is compiled once.
"""

import gc
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.configs import complainer, reader
from tests.nvml.fake_nvml import build, compiler

settings.register_profile("fast", max_examples=20, deadline=None, derandomize=True)
settings.register_profile("thorough", max_examples=100, deadline=None, derandomize=True)
# New stories every time, for whoever has ten minutes: see tests/stateful.
settings.register_profile("long", max_examples=500, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))


def pytest_collection_finish() -> None:
    """Thousands of tests that stay until the end are not looked through for garbage again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)  # by Python's own, a tenth of all time goes to looking


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if sys.platform != "linux" or compiler() is None:
        pytest.skip("the fake driver needs Linux and a C compiler")
    return build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def read(tmp_path: Path) -> Any:
    """Loads a text as the configuration's file."""
    return reader(tmp_path)


@pytest.fixture
def mistakes(read: Any) -> Any:
    """What is wrong with such a text, line by line."""
    return complainer(read)


@pytest.fixture
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """For the command line: nothing of whoever runs the tests, and a folder of its own."""
    for name in list(os.environ):
        if name.startswith("ULLAGE_") or name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
