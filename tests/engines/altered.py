"""A capture with other answers in it."""


def altered(told, call, body=None, *, status=200, text=None, request=None):
    """`told`, where `call` is answered with this and nothing else."""
    reply = {"call": call, "status": status}
    reply |= {"body": body} if text is None else {"text": text}
    if request is not None:
        reply["request"] = request
    return told | {"replies": [reply, *(r for r in told["replies"] if r["call"] != call)]}


def answer(told, call):
    """What `call` is answered with."""
    return next(r for r in told["replies"] if r["call"] == call)["body"]
