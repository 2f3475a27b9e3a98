"""Replays a trace of requests through the deciding core, with a stepped clock. Never acts."""
