"""An Ollama made of values that speaks to clients in its own API, as the real one does: in lines
of JSON, unless it is told not to stream."""

from __future__ import annotations

import json
from typing import Any

from tests.engines.fake import FakeOllama

WORDS = ("the ", "empty ", "space")
AT = "2026-08-22T10:00:00.123456789Z"
DONE = {
    "done": True,
    "done_reason": "stop",
    "total_duration": 5_000_000,
    "load_duration": 1_000_000,
    "prompt_eval_count": 3,
    "prompt_eval_duration": 2_000_000,
    "eval_count": len(WORDS),
    "eval_duration": 2_000_000,
}
SHOWN = {
    "license": "none",
    "template": "{{ .Prompt }}",
    "details": {
        "parent_model": "",
        "format": "gguf",
        "family": "qwen3",
        "families": ["qwen3"],
        "parameter_size": "8.2B",
        "quantization_level": "Q4_K_M",
    },
    "model_info": {"general.architecture": "qwen3", "qwen3.context_length": 40960},
    "capabilities": ["completion", "tools"],
    "modified_at": AT,
}


class TalkingOllama(FakeOllama):
    def model_of(self, call: str, body: Any) -> str | None:
        """Whoever brings nothing to work on wants the model to come, or to go."""
        work = {
            "POST /api/chat": "messages",
            "POST /api/generate": "prompt",
            "POST /api/embed": "input",
        }.get(call)
        return body["model"] if work is not None and body.get(work) else None

    def answer(self, call: str, query: Any, body: Any) -> Any:
        if call == "POST /api/show" and body["model"] in self.models:
            return 200, {**super().answer(call, query, body)[1], **SHOWN}
        return super().answer(call, query, body)

    async def _work(self, writer: Any, model: str, body: Any) -> None:
        if model not in self.models:
            self._send(writer, 404, json.dumps({"error": f"model '{model}' not found"}).encode())
            return
        self.take(model)
        self.busy[model] += 1
        try:
            if "input" in body:
                texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
                told = {"model": model, "embeddings": [[0.25, -0.5, 1.0] for _ in texts]}
                self._send(writer, 200, json.dumps(told).encode())
            elif body.get("stream", True):
                await self._lines(writer, model, "messages" in body)
            else:
                await self.gate.wait()
                told = _piece(model, "".join(WORDS), "messages" in body) | DONE
                self._send(writer, 200, json.dumps(told).encode())
        finally:
            self.busy[model] -= 1
            self.worked[model] += 1

    async def _lines(self, writer: Any, model: str, chats: bool) -> None:
        kind = b"Content-Type: application/x-ndjson\r\n"
        writer.write(b"HTTP/1.1 200 OK\r\n" + kind + b"Transfer-Encoding: chunked\r\n\r\n")
        pieces = [_piece(model, word, chats) | {"done": False} for word in WORDS]
        for piece in [*pieces, _piece(model, "", chats) | DONE]:
            line = json.dumps(piece).encode() + b"\n"
            writer.write(b"%x\r\n%s\r\n" % (len(line), line))
            await writer.drain()
            await self.gate.wait()
        writer.write(b"0\r\n\r\n")


def _piece(model: str, text: str, chats: bool) -> dict[str, Any]:
    said = {"message": {"role": "assistant", "content": text}} if chats else {"response": text}
    return {"model": model, "created_at": AT, **said}
