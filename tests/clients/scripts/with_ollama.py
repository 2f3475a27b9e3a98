"""The ollama package of PyPI. Where to ask is in the environment, as it reads it."""

import ollama
from answering import serve

SAID = [{"role": "user", "content": "Say something."}]


def models():
    found = ollama.list().models
    return {"ids": sorted(m.model for m in found), "sizes": [m.size for m in found]}


def ps():
    return {"loaded": {m.model: m.size for m in ollama.ps().models}}


def show(model):
    shown = ollama.show(model)
    return {"family": shown.details.family, "capabilities": shown.capabilities}


def chat(model):
    return {"text": ollama.chat(model=model, messages=SAID).message.content}


def stream(model):
    pieces = list(ollama.chat(model=model, messages=SAID, stream=True))
    return {"text": "".join(p.message.content for p in pieces), "pieces": len(pieces)}


def leave(model):
    pieces = ollama.generate(model=model, prompt="Count.", stream=True)
    next(pieces)
    pieces.close()
    return {"pieces": 1}


def generate(model):
    reply = ollama.generate(model=model, prompt="Say something.")
    return {"text": reply.response, "why": reply.done_reason}


def embed(model, texts):
    return {"lengths": [len(each) for each in ollama.embed(model=model, input=texts).embeddings]}


def unload(model, chats):
    if chats:
        return {"why": ollama.chat(model=model, keep_alive=0).done_reason}
    return {"why": ollama.generate(model=model, keep_alive=0).done_reason}


def load(model):
    return {"why": ollama.generate(model=model, keep_alive="10m").done_reason}


def pull(model):
    return {"status": ollama.pull(model).status}


serve({f.__name__: f for f in (
    models, ps, show, chat, stream, leave, generate, embed, unload, load, pull,
)})  # fmt: skip
