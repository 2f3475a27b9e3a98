// The ollama package of npm, which is told where to ask.
"use strict";

const { Ollama } = require("ollama");
const { serve } = require("./answering.cjs");

const ollama = new Ollama({ host: process.env.OLLAMA_HOST });
const messages = [{ role: "user", content: "Say something." }];

serve({
  async models() {
    const found = (await ollama.list()).models;
    return { ids: found.map((m) => m.model).sort(), sizes: found.map((m) => m.size) };
  },
  async ps() {
    const found = (await ollama.ps()).models;
    return { loaded: Object.fromEntries(found.map((m) => [m.model, m.size])) };
  },
  async show({ model }) {
    const shown = await ollama.show({ model });
    return { family: shown.details.family, capabilities: shown.capabilities };
  },
  async version() {
    return await ollama.version();
  },
  async chat({ model }) {
    return { text: (await ollama.chat({ model, messages })).message.content };
  },
  async stream({ model }) {
    let text = "", pieces = 0;
    for await (const piece of await ollama.chat({ model, messages, stream: true })) {
      text += piece.message.content;
      pieces += 1;
    }
    return { text, pieces };
  },
  async leave({ model }) {
    const stream = await ollama.generate({ model, prompt: "Count.", stream: true });
    for await (const _ of stream) {
      stream.abort();
      return { pieces: 1 };
    }
  },
  async generate({ model }) {
    const reply = await ollama.generate({ model, prompt: "Say something." });
    return { text: reply.response, why: reply.done_reason };
  },
  async embed({ model, texts }) {
    const reply = await ollama.embed({ model, input: texts });
    return { lengths: reply.embeddings.map((each) => each.length) };
  },
  async unload({ model, chats }) {
    const how = { model, keep_alive: 0 };
    return { why: (await (chats ? ollama.chat(how) : ollama.generate(how))).done_reason };
  },
  async load({ model }) {
    return { why: (await ollama.generate({ model, keep_alive: "10m" })).done_reason };
  },
  async pull({ model }) {
    return { status: (await ollama.pull({ model })).status };
  },
});
