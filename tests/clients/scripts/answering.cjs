// Does what it is told, line by line, and tells what it saw: see tests/clients/program.py.
"use strict";

const readline = require("node:readline");

function wrong(error) {
  const parents = [];
  for (let at = Object.getPrototypeOf(error); at?.constructor?.name; at = Object.getPrototypeOf(at))
    parents.push(at.constructor.name);
  return {
    error: error.constructor.name,
    also: parents.slice(1),
    status: error.status ?? error.status_code ?? null,
    code: error.code ?? null,
    retry_after: error.headers?.get?.("retry-after") ?? null,
    message: error.message,
    body: error.error ?? null,
  };
}

function ours(headers) {
  return Object.fromEntries([...headers].filter(([name]) => name.startsWith("x-ullage-")));
}

function serve(actions) {
  const lines = readline.createInterface({ input: process.stdin });
  lines.on("line", async (line) => {
    const told = JSON.parse(line);
    const seen = await Promise.resolve()
      .then(() => actions[told.do](told.how))
      .catch(wrong);
    process.stdout.write(JSON.stringify({ id: told.id, seen }) + "\n");
  });
  lines.on("close", () => process.exit(0));
}

module.exports = { serve, ours };
