"""The parsers of what others say, fuzzed for a few seconds; `make fuzz` does it for longer."""

from __future__ import annotations

import pytest

from tests.hostile.fuzz import fuzz
from tests.hostile.targets import TARGETS

FEW = {"engines": 40, "config": 40}  # they are slower
OTHERS = 100


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_nothing_but_documented_errors_comes_of_whatever_is_said(name: str) -> None:
    fuzz(TARGETS[name], FEW.get(name, OTHERS), 9)
