"""The README's pictures can be taken anew at any time."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy import pictures

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.mark.slow
def test_pictures_are_taken_of_what_runs(tmp_path: Path) -> None:
    assert pictures.main([str(tmp_path)]) == 0
    drawn = (tmp_path / "top.svg").read_text()
    for word in ("nomic-embed", "engines", "gpu0", "gpu1"):  # at any moment of the story
        assert word in drawn
    assert "url(http" not in drawn
    for picture in tmp_path.glob("*.png"):
        found = picture.read_bytes()
        assert found.startswith(PNG)
        assert len(found) > 50_000, "an empty page has less to it"


def test_the_readme_shows_those_that_there_are() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    there = {path.name for path in pictures.FOLDER.iterdir()}
    assert there == {"page-dark.png", "page-light.png", "top.svg"}
    for name in there:
        assert f"deploy/pictures/{name}" in readme
