"""The anthropic package of PyPI. Where to ask and its key are in the environment, as it reads
them."""

import anthropic
from answering import ours, serve

client = anthropic.Anthropic(max_retries=0)
SAID = [{"role": "user", "content": "Say something."}]


def key(value):
    client.api_key = value
    return {}


def models():
    return {"ids": [m.id for m in client.models.list()]}


def model(name):
    return {"id": client.models.retrieve(name).id}


def chat(model, tokens=4):
    raw = client.messages.with_raw_response.create(model=model, max_tokens=tokens, messages=SAID)
    return {"text": raw.parse().content[0].text, "headers": ours(raw.headers)}


def stream(model, tokens=4):
    with client.messages.stream(model=model, max_tokens=tokens, messages=SAID) as stream:
        pieces = list(stream.text_stream)
        return {"text": "".join(pieces), "stopped": stream.get_final_message().stop_reason}


def leave(model):
    pieces = 0
    with client.messages.stream(
        model=model, max_tokens=400, messages=SAID, extra_body={"ignore_eos": True}
    ) as stream:
        for _ in stream.text_stream:
            pieces += 1
            if pieces == 3:
                break
    return {"pieces": pieces}


def count(model):
    return {"tokens": client.messages.count_tokens(model=model, messages=SAID).input_tokens}


serve({f.__name__: f for f in (key, models, model, chat, stream, leave, count)})
