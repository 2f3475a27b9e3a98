"""What a model is for: its engine's word, or a guess from the engine's kind and its name."""

from __future__ import annotations

import re
from enum import Enum
from functools import lru_cache


class ModelType(Enum):
    CHAT = "chat"  # whatever is not known to be anything else
    EMBEDDING = "embedding"
    RERANK = "rerank"
    SPEECH = "speech"  # heard or spoken
    IMAGE = "image"


# As engines call them in their lists.
_WORDS = {
    ModelType.CHAT: "llm vlm chat completion text-generation generate",
    ModelType.EMBEDDING: "embedding embeddings embed feature-extraction sentence-similarity",
    ModelType.RERANK: "rerank reranking reranker classifier text-classification",
    ModelType.SPEECH: "audio stt tts asr transcription audio-generation speech_to_text"
    " text_to_speech automatic-speech-recognition text-to-speech voice-activity-detection",
    ModelType.IMAGE: "image image-generation text-to-image diffusion",
}
_BY_WORD = {word: type for type, words in _WORDS.items() for word in words.split()}

# Engines that serve nothing else.
_BY_KIND = {
    "tei": ModelType.EMBEDDING,
    "infinity": ModelType.EMBEDDING,
    "speaches": ModelType.SPEECH,
    "comfyui": ModelType.IMAGE,
    "a1111": ModelType.IMAGE,
}

# Parts of well-known names. A reranker is often called after the embedding model it was made of.
_BY_NAME = (
    (ModelType.RERANK, r"rerank|ranker"),
    (ModelType.EMBEDDING, r"embed|(^|\W)(bge|gte|e5)-|minilm|(^|\W)jina-(v|clip)|colbert"),
    (ModelType.SPEECH, r"whisper|parakeet|canary-|kokoro|piper|(^|\W)tts|-tts|voxtral|orpheus"),
    (ModelType.IMAGE, r"stable-?diffusion|(^|\W)sd(xl|3|-turbo)|flux|qwen-image|z-image"),
)


def by_word(word: str | None) -> ModelType | None:
    """What an engine means by that word. None: it is none of those that are known."""
    return None if word is None else _BY_WORD.get(word.lower().replace(" ", "-"))


@lru_cache(maxsize=4096)
def guess(kind: str, name: str) -> ModelType:
    """What a model probably is, by its engine's kind and its own name."""
    low = name.lower()
    for type, pattern in _BY_NAME:
        if re.search(pattern, low):
            return type
    return _BY_KIND.get(kind, ModelType.CHAT)
