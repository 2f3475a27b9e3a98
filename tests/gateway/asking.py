"""Requests and engines as the tests of the gateway's surfaces need them."""

from supervisor.core.snapshot import EngineId, EngineState, Installed, ModelId, ModelRef
from supervisor.engines import ENGINES
from supervisor.gateway.heads import Heads
from supervisor.gateway.surfaces import surface_of
from tests.builders import machine

_heads = Heads()


def head(method="POST", target="/v1/chat/completions", **headers):
    """`headers` by name, with _ for -."""
    named = {"host": "h", **{name.replace("_", "-"): text for name, text in headers.items()}}
    lines = [f"{method} {target} HTTP/1.1", *(f"{n}: {t}" for n, t in named.items())]
    return _heads.read(("\r\n".join(lines) + "\r\n\r\n").encode())[0]


def at(path, method=b"POST"):
    surface = surface_of(method, path.encode())
    assert surface is not None, path
    return surface


def engines(*kinds):
    """One of each kind, called as its kind; "name=kind" calls it otherwise."""
    pairs = [kind.rpartition("=") for kind in kinds]
    named = {EngineId(name or kind): kind for name, _, kind in pairs}
    return {id: ENGINES[kind](id, f"http://{id}", None, None) for id, kind in named.items()}


def host(*names, residents=(), kinds=None, versions=(), **told):
    """Models that are installed, as "engine/model"; `told` goes to each of them."""
    refs = [ModelRef(EngineId(n.split("/", 1)[0]), ModelId(n.split("/", 1)[1])) for n in names]
    ids = dict.fromkeys([r.engine for r in refs] + [r.engine for r in residents])
    states = tuple(
        EngineState(id, (kinds or {}).get(id, id), "", version=dict(versions).get(id)) for id in ids
    )
    snapshot = machine(*residents, free=10, engines=states)
    object.__setattr__(snapshot, "installed", tuple(Installed(ref, **told) for ref in refs))
    return snapshot


def form(*fields, boundary="xyz", files=()):
    """A form's Content-Type and body. `files`: name and bytes."""
    lines = b""
    for name, value in fields:
        lines += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode()
        lines += value.encode() + b"\r\n"
    for name, content in files:
        lines += f"--{boundary}\r\nContent-Disposition: form-data; ".encode()
        lines += f'name="{name}"; filename="a.bin"\r\nContent-Type: audio/wav\r\n\r\n'.encode()
        lines += content + b"\r\n"
    return f"multipart/form-data; boundary={boundary}", lines + f"--{boundary}--\r\n".encode()
