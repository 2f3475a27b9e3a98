"""Draws the alerts that came in, for people. Values in, text out."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, tzinfo

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from supervisor import alert_words

from .asking import said
from .bars import Row, Screen
from .show import COLOURS, drawn

NONE = """\
No alert has come in.
  What one may do is said in the configuration: [alerts.actions.NAME]. The token
  of its sender: `ullage token alertmanager --scope alerts:write`."""


def page(answer: Row, now: float, on: Screen, zone: tzinfo | None = None) -> str:
    """As `GET /api/v1/alerts` has them. `now` in Unix time; `zone` None: local."""
    parts: list[RenderableType] = []
    for hold in answer["holds"]:
        parts.append(Text(said(alert_words.hold(hold, now)), COLOURS["warning"]))
    if answer["holds"]:
        parts.append("")
    for row in answer["alerts"]:
        parts += _row(row, zone)
    if not answer["alerts"]:
        parts.append(NONE)
    if text := alert_words.counted(answer["counts"]):
        parts += ["", Text(said(f"{text}; at most {answer['limit']} act"))]
    return drawn(parts, on)


def _row(row: Row, zone: tzinfo | None) -> Iterable[RenderableType]:
    at = datetime.fromtimestamp(row["at"], UTC).astimezone(zone)
    fires = "fires" if row["status"] == "firing" else "is over"
    head = Text.assemble((said(row["name"]), "bold"), f" {fires}  {at:%Y-%m-%d %H:%M:%S}")
    head.append(f"  from {said(row['by'])}", "bright_black")
    yield head
    meant = alert_words.action(row)
    lead = Text(f"{said(meant)}: " if meant else "")
    yield Padding(lead.append(said(alert_words.became(row)), _style(row)), (0, 0, 0, 2))


def _style(row: Row) -> str:
    if row["outcome"] == "failed":
        return COLOURS["critical"]
    return COLOURS["warning"] if row["outcome"] in alert_words.WRONG else ""
