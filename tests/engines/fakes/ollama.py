"""Ollama."""

from tests.engines.fake import FakeOllama

FAKE = FakeOllama
