// What happens, as it happens: Server-Sent Events by fetch, since EventSource sends no token.

import { Away, Problem, get, open } from "./api.js";

const FIRST = 1000; // milliseconds before the next try; twice as long each time
const LONGEST = 15_000;
const QUIET = 45_000; // the daemon says something every 15 seconds
const POLL = 2000; // where it has no events to tell, or too many listen
const POLLS = 30; // until it is asked for events again

/** Yields {id, event, data} of a stream of bytes; `alive` is called at whatever comes. */
export async function* events(stream, alive = () => {}) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let event = {};
  let data = [];
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      alive();
      const lines = (rest + value).split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop();
      for (const line of lines) {
        if (line === "") {
          if (data.length) yield { event: "message", ...event, data: data.join("\n") };
          [event, data] = [{}, []];
          continue;
        }
        const colon = line.indexOf(":");
        if (colon === 0) continue; // a comment
        const name = colon < 0 ? line : line.slice(0, colon);
        const text = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
        if (name === "data") data.push(text);
        else event[name] = text;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/**
 * Follows the daemon until the page is gone. `heard(kind, data)` for each event; `standing(is,
 * more)` when how we stand with it changes: connecting, live, polling, away, refused, hidden.
 */
export class Live {
  constructor(heard, standing) {
    this.heard = heard;
    this.standing = standing;
    this.last = null;
    this.tries = 0;
    this.now = null; // of the connection under way
    document.addEventListener("visibilitychange", () => this.#seen());
    addEventListener("online", () => this.again());
  }

  start() {
    this.#run();
  }

  /** Try at once. */
  again() {
    this.wake?.();
  }

  // A hidden page listens to nothing: browsers open six connections to a server, for all tabs
  // together. What it missed is replayed when it is looked at again.
  #seen() {
    if (document.hidden) this.now?.abort();
    else this.again();
  }

  async #run() {
    for (;;) {
      if (document.hidden) {
        this.standing("hidden");
        await this.#pause(null);
        continue;
      }
      try {
        if ((await this.#listen()) === "again") continue;
      } catch (error) {
        if (document.hidden) continue;
        if (error instanceof Problem && [401, 403, 421, 429].includes(error.status)) {
          this.standing("refused", { text: error.message, token: [401, 403].includes(error.status) });
          await this.#pause(error.status === 429 ? LONGEST : null);
          continue;
        }
        if (!(error instanceof Away) && !(error instanceof Problem) && error.name !== "AbortError") {
          console.warn(error);
        }
      }
      if (document.hidden) continue;
      const wait = Math.min(FIRST * 2 ** this.tries, LONGEST) * (0.8 + 0.4 * Math.random());
      this.tries += 1;
      this.standing("away", { until: performance.now() + wait });
      await this.#pause(wait);
    }
  }

  #pause(wait) {
    return new Promise((resolve) => {
      const timer = wait === null ? null : setTimeout(resolve, wait);
      this.wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  async #listen() {
    const control = (this.now = new AbortController());
    let timer = null;
    const alive = () => {
      clearTimeout(timer);
      timer = setTimeout(() => control.abort(), QUIET);
    };
    const headers = { accept: "text/event-stream" };
    if (this.last !== null) headers["last-event-id"] = this.last;
    try {
      alive();
      const response = await open("events", { headers, signal: control.signal });
      if ([404, 503].includes(response.status)) {
        clearTimeout(timer);
        return await this.#poll();
      }
      if (!response.ok) throw new Problem(response.status, await response.json().catch(() => null));
      this.#connected("live");
      for await (const { id, event, data } of events(response.body, alive)) {
        if (id) this.last = id;
        this.heard(event, JSON.parse(data));
      }
    } finally {
      clearTimeout(timer);
      control.abort();
    }
  }

  #connected(how) {
    this.tries = 0;
    this.standing(how);
    this.heard("connected", {});
  }

  async #poll() {
    for (let i = 0; i < POLLS && !document.hidden; i += 1) {
      const state = await get("state");
      if (i === 0) this.#connected("polling");
      this.heard("state", state);
      await new Promise((resolve) => setTimeout(resolve, POLL));
    }
    return "again";
  }
}
