// The openai package of npm. Where to ask and its key are in the environment, as it reads them.
"use strict";

const OpenAI = require("openai");
const { ours, serve } = require("./answering.cjs");

const client = new OpenAI({ maxRetries: 0 });
const messages = [{ role: "user", content: "Say something." }];

async function texts(stream) {
  const kinds = [];
  for await (const event of stream) kinds.push(event.type);
  return kinds;
}

serve({
  key({ value }) {
    client.apiKey = value;
    return {};
  },
  async models() {
    const ids = [];
    for await (const model of client.models.list()) ids.push(model.id);
    return { ids };
  },
  async model({ name }) {
    const found = await client.models.retrieve(name);
    return { id: found.id, owner: found.owned_by };
  },
  async chat({ model, tokens = 4 }) {
    const asked = client.chat.completions.create({ model, messages, max_tokens: tokens });
    const { data, response } = await asked.withResponse();
    return { text: data.choices[0].message.content, headers: ours(response.headers) };
  },
  async stream({ model, tokens = 4 }) {
    let text = "", pieces = 0;
    const how = { model, messages, max_tokens: tokens, stream: true };
    for await (const event of await client.chat.completions.create(how)) {
      pieces += 1;
      text += event.choices[0]?.delta?.content ?? "";
    }
    return { text, pieces };
  },
  // What came by besides events, which the library passes over.
  async comments({ model, tokens = 4 }) {
    const how = { model, messages, max_tokens: tokens, stream: true };
    const reply = await client.chat.completions.create(how).asResponse();
    const lines = (await reply.text()).trimEnd().split("\n");
    return { comments: lines.filter((line) => line.startsWith(":")), last: lines.at(-1) };
  },
  // Goes away in the middle of an answer.
  async leave({ model }) {
    let pieces = 0;
    const how = { model, messages, max_tokens: 400, stream: true, ignore_eos: true };
    const stream = await client.chat.completions.create(how);
    for await (const _ of stream) {
      pieces += 1;
      if (pieces === 3) stream.controller.abort();
    }
    return { pieces };
  },
  async complete({ model, tokens = 4 }) {
    const how = { model, prompt: "One two", max_tokens: tokens };
    return { text: (await client.completions.create(how)).choices[0].text };
  },
  async respond({ model, tokens = 4 }) {
    const how = { model, input: "Say something.", max_output_tokens: tokens };
    return { text: (await client.responses.create(how)).output_text };
  },
  async respond_stream({ model, tokens = 4 }) {
    const how = { model, input: "Say something.", max_output_tokens: tokens, stream: true };
    const kinds = await texts(await client.responses.create(how));
    return { first: kinds[0], last: kinds.at(-1), pieces: kinds.length };
  },
  async embed({ model, texts }) {
    const reply = await client.embeddings.create({ model, input: texts });
    return { lengths: reply.data.map((each) => each.embedding.length) };
  },
});
