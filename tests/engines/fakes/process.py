"""Starts what holds a model, so it has a stand-in and a contract test of its own."""

FAKE = None
