"""Which of the configured actions an alert asks for. Pure."""

from __future__ import annotations

from difflib import get_close_matches

from supervisor.config.alerted import ActionConfig, AlertsConfig

from .alert import ACTION, Alert, Ended, Outcome


def choose(config: AlertsConfig, alert: Alert) -> ActionConfig | Ended:
    """The one that it names, or else the first whose labels it has."""
    named = alert.labels.get(ACTION)
    if named is None:
        found = (a for a in config.actions if a.match is not None and a.agrees(alert.labels))
        return next(found, None) or Ended(Outcome.NO_ACTION, "no action is configured for it")
    action = config.action(named)
    if action is None:
        close = get_close_matches(named, [a.name for a in config.actions], 1, 0.4)
        hint = f"; did you mean {close[0]}?" if close else ""
        return Ended(Outcome.NO_ACTION, f"no action is called {named!r}{hint}")
    if not action.agrees(alert.labels):
        why = f"it names {named}, whose `match` wants other labels than it has"
        return Ended(Outcome.NO_ACTION, why)
    return action
