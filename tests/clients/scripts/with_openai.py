"""The openai package of PyPI. Where to ask and its key are in the environment, as it reads them."""

from answering import ours, serve
from openai import OpenAI

client = OpenAI(max_retries=0)


def said(text):
    return [{"role": "user", "content": text}]


def key(value):
    client.api_key = value
    return {}


def models():
    return {"ids": [m.id for m in client.models.list()]}


def model(name):
    found = client.models.retrieve(name)
    return {"id": found.id, "owner": found.owned_by}


def chat(model, tokens=4):
    raw = client.chat.completions.with_raw_response.create(
        model=model, messages=said("Say something."), max_tokens=tokens
    )
    reply = raw.parse()
    return {"text": reply.choices[0].message.content, "headers": ours(raw.headers)}


def stream(model, tokens=4):
    text, pieces = "", 0
    for event in client.chat.completions.create(
        model=model, messages=said("Say something."), max_tokens=tokens, stream=True
    ):
        pieces += 1
        text += event.choices[0].delta.content or "" if event.choices else ""
    return {"text": text, "pieces": pieces}


def comments(model, tokens=4):
    """What came by besides events, which the library passes over."""
    with client.chat.completions.with_streaming_response.create(
        model=model, messages=said("Say something."), max_tokens=tokens, stream=True
    ) as reply:
        lines = [line for line in reply.iter_lines() if line]
    return {"comments": [line for line in lines if line.startswith(":")], "last": lines[-1]}


def leave(model):
    """Goes away in the middle of an answer."""
    pieces = 0
    with client.chat.completions.create(
        model=model, messages=said("Count."), max_tokens=400, stream=True,
        extra_body={"ignore_eos": True},
    ) as events:  # fmt: skip
        for _ in events:
            pieces += 1
            if pieces == 3:
                break
    return {"pieces": pieces}


def complete(model, tokens=4):
    reply = client.completions.create(model=model, prompt="One two", max_tokens=tokens)
    return {"text": reply.choices[0].text}


def respond(model, tokens=4):
    reply = client.responses.create(model=model, input="Say something.", max_output_tokens=tokens)
    return {"text": reply.output_text}


def respond_stream(model, tokens=4):
    with client.responses.create(
        model=model, input="Say something.", max_output_tokens=tokens, stream=True
    ) as events:
        kinds = [event.type for event in events]
    return {"first": kinds[0], "last": kinds[-1], "pieces": len(kinds)}


def embed(model, texts):
    reply = client.embeddings.create(model=model, input=texts)
    return {"lengths": [len(each.embedding) for each in reply.data]}


serve({f.__name__: f for f in (
    key, models, model, chat, stream, comments, leave, complete, respond, respond_stream, embed,
)})  # fmt: skip
