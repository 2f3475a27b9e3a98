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


def test_the_documents_show_those_that_there_are() -> None:
    root = Path(__file__).parents[2]
    readme, reliability = root / "README.md", root / "deploy/reliability.md"
    there = {path.name for path in pictures.FOLDER.iterdir()}
    soak = {name for name in there if name.startswith("soak-")}
    assert there - soak == {"page-dark.png", "page-light.png", "top.svg"}
    assert soak == {"soak-memory.png", "soak-descriptors.png", "soak-lag.png"}
    assert all(f"deploy/pictures/{name}" in readme.read_text() for name in there - soak)
    assert all(f"(pictures/{name})" in reliability.read_text() for name in soak)
