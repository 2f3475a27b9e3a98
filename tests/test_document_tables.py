"""The tables of the documents are what the code says, and what is named in prose exists."""

from __future__ import annotations

import re

import pytest

from deploy import tables
from supervisor.alerting import alert
from supervisor.config.settings import OTHER_VARIABLES, SETTINGS
from supervisor.engines import ENGINES
from supervisor.web.metrics import NAMES, PREFIX
from tests.documents import DESIGN, GUIDES, README, REFERENCE, name, section


@pytest.mark.parametrize(
    ("path", "parts"), [(README, tables.TABLES), (REFERENCE, tables.REFERENCE_TABLES)]
)
def test_the_tables_are_what_the_code_says(path, parts):
    assert tables.written(path.read_text(), parts) == path.read_text(), (
        "write them with `make docs`"
    )


def test_checking_the_tables_writes_nothing_and_tells(tmp_path, monkeypatch, capsys):
    old = tmp_path / "reference.md"
    old.write_text(REFERENCE.read_text().replace("| `8552` |", "| `1` |"))
    before = old.read_text()
    monkeypatch.setattr(tables, "REFERENCE", old)
    assert tables.main(["--check"]) == 1
    assert old.read_text() == before
    assert "make docs" in capsys.readouterr().out
    assert tables.main([]) == 0
    assert old.read_text() == REFERENCE.read_text()
    assert tables.main(["--check"]) == 0


def test_a_document_without_a_place_for_a_table_is_refused():
    text = REFERENCE.read_text().replace("<!-- metrics: end -->", "")
    with pytest.raises(ValueError, match="no place for the metrics"):
        tables.written(text, tables.REFERENCE_TABLES)


def test_every_setting_variable_and_metric_is_in_the_reference():
    settings, metrics = section(REFERENCE, "Settings"), section(REFERENCE, "Metrics")
    for setting in SETTINGS:
        assert f"| `{setting.key}`" in settings
        assert setting.env is None or f"`{setting.env}`" in settings
    assert all(f"| `{variable}` |" in settings for variable in OTHER_VARIABLES)
    assert all(f"| `{PREFIX}{row.name}` |" in metrics for row in NAMES)


def test_what_stands_as_code_in_the_table_of_settings_has_no_code_within():
    for setting in SETTINGS:
        assert "`" not in f"{setting.key}{setting.env}{setting.default}", setting.key


def test_what_kinds_of_engines_there_are_is_said_by_their_table_alone():
    """A list beside it was two engines long when there were thirty."""
    (kind,) = (s for s in SETTINGS if s.key == "engines.NAME.kind")
    assert "README's table of engines" in kind.help
    assert not [name for name in ENGINES if re.search(rf"\b{name}\b", kind.help)]


@pytest.mark.parametrize("path", [*GUIDES, DESIGN], ids=name)
def test_every_variable_and_metric_that_is_named_exists(path):
    known = {s.env for s in SETTINGS} | set(OTHER_VARIABLES)
    assert set(re.findall(r"\bULLAGE_[A-Z_]*[A-Z]", path.read_text())) <= known
    named = set(re.findall(r"\bullage_[a-z_]+", path.read_text()))
    labels = {alert.ACTION, alert.FORCE}  # of alerts, which are read
    assert named <= {PREFIX + row.name for row in NAMES} | labels
