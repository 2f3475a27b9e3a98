"""The litellm package of PyPI, by which many agents ask. A model is told with the API to use:
"openai/alpha", "anthropic/alpha", "ollama_chat/qwen3:8b"."""

import os

import litellm
from answering import serve

KEY = os.environ["KEY"]
SAID = [{"role": "user", "content": "Say something."}]
litellm.suppress_debug_info = True


def asked(model, base, tokens=4, **more):
    return litellm.completion(
        model=model, api_base=base, api_key=KEY, messages=SAID, max_tokens=tokens, max_retries=0,
        **more,
    )  # fmt: skip


def chat(model, base, tokens=4):
    reply = asked(model, base, tokens)
    return {"text": reply.choices[0].message.content}


def stream(model, base, tokens=4):
    pieces = [event.choices[0].delta.content for event in asked(model, base, tokens, stream=True)]
    return {"text": "".join(piece or "" for piece in pieces), "pieces": len(pieces)}


def leave(model, base):
    pieces = 0
    events = asked(model, base, 400, stream=True)
    for _ in events:
        pieces += 1
        if pieces == 3:
            break
    events.completion_stream.close()
    return {"pieces": pieces}


def embed(model, base, texts):
    reply = litellm.embedding(model=model, api_base=base, api_key=KEY, input=texts)
    return {"lengths": [len(each["embedding"]) for each in reply.data]}


serve({f.__name__: f for f in (chat, stream, leave, embed)})
