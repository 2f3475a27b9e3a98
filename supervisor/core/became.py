"""What became of an action, in words: the daemon says it like this, and so does every command.

Of plain rows, as `rows.outcome_row` has them; what an older daemon did not write is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .wording import duration, size

# By rung, as it is written down.
RUNGS = {
    "sleep": "let sleep",
    "deep_sleep": "let sleep deeply",
    "unload": "unload",
    "restart": "restart the engine of",
    "stop": "stop the engine of",
    "term": "end the process of",
    "kill": "kill the process of",
}
_ACTIONS = {"evict": "unload", "cancel": "end the requests of"}


def verb(action: Mapping[str, Any]) -> str:
    """Of an action that is planned, or of an outcome: it knows its rung."""
    rung: str | None = action.get("rung")
    if rung is not None:
        return RUNGS.get(rung, rung)
    what: str = action["action"]
    return _ACTIONS.get(what, what)


def of_outcome(outcome: Mapping[str, Any]) -> str:
    text = "".join(f"{slip}; " for slip in outcome.get("slipped", ()))
    text += f"{verb(outcome)} {outcome['model']}: {outcome['result']}"
    judgement = outcome["judgement"]
    if judgement is not None:
        back, promised = size(max(0, judgement["returned"])), size(judgement["promised"])
        text += f", {judgement['verdict']}: {back} of {promised} came back"
    if outcome["detail"]:
        text += f" ({outcome['detail']})"
    return f"{text}, in {duration(outcome['took'])}"
