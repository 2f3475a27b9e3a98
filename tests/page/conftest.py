"""A browser for the tests of a file, and pages in it: none may end with an error on its console."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from .browser import Visit, chromium
from .stage import Stage


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture
def stage() -> Iterator[Stage]:
    with Stage() as made:
        yield made


@pytest.fixture
def visits(browser: Any) -> Iterator[Any]:
    made: list[Visit] = []

    def visit(stage: Stage, **how: Any) -> Visit:
        made.append(Visit(browser, stage.url, **how))
        return made[-1]

    yield visit
    for each in made:
        each.close()
        assert each.wrong == []
