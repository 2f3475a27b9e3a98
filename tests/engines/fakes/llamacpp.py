"""llama-server as a router."""

from tests.engines.fake import FakeLlamaRouter

FAKE = FakeLlamaRouter
