"""Where an engine answers what clients ask of its models: the parts of the APIs that clients
speak, and the path of each."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class Api(Enum):
    """Whose form a request has, and with it the form of the errors that its client reads."""

    OPENAI = "OpenAI"
    ANTHROPIC = "Anthropic"
    OLLAMA = "Ollama"
    NATIVE = "an engine's own"  # RFC 9457 problems


# A part of an API, and where it usually is, below the path that the API has.
TAILS: Mapping[Api, Mapping[str, str]] = {
    Api.OPENAI: {
        "chat": "/chat/completions",
        "completions": "/completions",
        "embeddings": "/embeddings",
        "responses": "/responses",
        "rerank": "/rerank",
        "images": "/images/generations",
        "edits": "/images/edits",
        "variations": "/images/variations",
        "transcriptions": "/audio/transcriptions",
        "translations": "/audio/translations",
        "speech": "/audio/speech",
        "realtime": "/realtime",
    },
    Api.ANTHROPIC: {
        "messages": "/messages",
        "count_tokens": "/messages/count_tokens",
    },
    Api.OLLAMA: {
        "ollama_chat": "/chat",
        "generate": "/generate",
        "embed": "/embed",
        "ollama_embeddings": "/embeddings",
        "show": "/show",
    },
}
_TAIL = {part: tail for tails in TAILS.values() for part, tail in tails.items()}

# What is often there together.
TEXT = "chat completions embeddings responses"
IMAGES = "images edits variations"
HEARD = "transcriptions translations"
MESSAGES = " ".join(TAILS[Api.ANTHROPIC])
OLLAMA = " ".join(TAILS[Api.OLLAMA])
Serves = Mapping[str, str]  # path by part; a part that is not in it is not served


def at(below: str, parts: str) -> dict[str, str]:
    """The usual paths of `parts`, words with spaces between, below `below`, as "/v1". Raises
    KeyError for a part that no API has."""
    return {part: below + _TAIL[part] for part in parts.split()}


# Of an engine that nobody knows: whatever is asked is passed on, as to OpenAI and Anthropic.
ANYTHING: Serves = at("/v1", " ".join((*TAILS[Api.OPENAI], *TAILS[Api.ANTHROPIC])))
