"""Alerts of others make us act: only as it is configured, and where our own measurements agree."""

from .alerting import Alerting

__all__ = ["Alerting"]
