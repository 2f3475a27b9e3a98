// Puts the page together: one state, read anew when something has happened, and shown by each part.

import { say } from "./actions.js";
import { alerts } from "./alerts.js";
import { Away, Problem, askForToken, get, hasToken } from "./api.js";
import { audit } from "./audit.js";
import { claims } from "./claims.js";
import { decisions } from "./decisions.js";
import { tokenDialog } from "./dialogs.js";
import { engines } from "./engines.js";
import { findings } from "./findings.js";
import { fleet } from "./fleet.js";
import { header, standing } from "./header.js";
import { keys } from "./keys.js";
import { Live } from "./live.js";
import { learn, mark, refuse } from "./may.js";
import { models } from "./models.js";
import { pools } from "./pools.js";
import { queue } from "./queue.js";
import { settings } from "./settings.js";
import { timeline } from "./timeline.js";
import { shown } from "./words.js";

const SOON = 200; // milliseconds: what happens together is read once
const OFTEN = 30_000; // what no event tells, such as what strangers hold
const MOVED = 1 / 200; // of a pool: when so much of it has come or gone, the state is read anew
const TELLING = new Set(["model", "engine", "decision", "outcome", "finding", "claim", "alert", "settings", "config", "reset", "connected"]);

const store = {
  state: null,
  standing: "connecting",
  readAt: 0,
  /** Seconds since the state was read. */
  since: () => (performance.now() - store.readAt) / 1000,
};

askForToken(tokenDialog);
refuse((why) => say(why, { bad: true }));
const live = new Live(heard, (is, more) => banner.show(is, more));
const banner = standing(store, live);
const table = models(store);
const parts = [header(store), findings(store), pools(store), timeline(store), table, fleet(store), queue(store), alerts(store), decisions(store), engines(store), claims(store), settings(store), audit(store)];
keys(table);

let due = null;
let reading = null;

function show(state) {
  if (store.state && store.state.version !== state.version) {
    say(`The daemon is ${shown(state.version)} now: load this page again.`, { bad: true });
  }
  store.state = state;
  store.readAt = performance.now();
  for (const part of parts) part.render?.(state);
  mark();
  const main = document.getElementById("main");
  if (main.hasAttribute("aria-busy")) {
    main.removeAttribute("aria-busy");
    // A link carries no token: it would lead to a refusal.
    document.getElementById("elsewhere").hidden = hasToken();
    performance.mark("shown");
  }
}

async function read() {
  due = null;
  if (reading) return later(); // one at a time; what happens meanwhile is read after it
  reading = (async () => {
    try {
      show(await get("state"));
    } catch (error) {
      // Whoever follows the events says that the daemon is away.
      if (!(error instanceof Away) && error.name !== "AbortError") {
        if (!(error instanceof Problem && error.status === 401)) say(error.message, { bad: true });
      }
    } finally {
      reading = null;
    }
  })();
}

function later(after = SOON) {
  due ??= setTimeout(read, after);
}

function heard(kind, data) {
  if (kind === "state") return show(data);
  if (kind === "sample" && store.state) sampled(data);
  if (TELLING.has(kind)) later();
  if (kind === "connected" || kind === "config") learn();
  for (const part of parts) part.heard?.(kind, data);
}

/** The numbers of the pools, at once; the rest is read where they moved. */
function sampled(sample) {
  const { state } = store;
  let moved = sample.busy !== store.busy || sample.waiting !== store.waiting;
  [store.busy, store.waiting] = [sample.busy, sample.waiting];
  for (const now of sample.pools) {
    const pool = state.pools.find((p) => p.id === now.id);
    if (pool === undefined || pool.blind !== null) moved = true;
    else if (Math.abs(now.free - pool.free) > MOVED * now.total) moved = true;
  }
  if (moved) later();
  state.sample_age = 0;
}

setInterval(() => {
  if (document.hidden) return;
  banner.tick();
  if (!store.state) return;
  for (const part of parts) part.tick?.();
}, 1000);
setInterval(() => {
  if (!document.hidden && store.standing === "live") later();
}, OFTEN);
read();
live.start();
