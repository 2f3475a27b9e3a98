// What was decided, and why: the latest first. Each opens to its sentences.

import { get, query } from "./api.js";
import { attribute, h, keyed, text } from "./dom.js";
import { latest } from "./latest.js";
import { bytes, moment, shown, some } from "./words.js";

const PAGE = 15;
const KEPT = 200; // of a page that is open for days; who asks for older ones gets them
const TELLING = new Set(["decision", "outcome", "reset", "connected"]);
const SIGNS = { done: "✓", refused: "–", failed: "✕", waiting: "…", nothing: "·", wish: "?" };

export function decisions(store) {
  const root = document.getElementById("decisions");
  const list = latest({
    empty: "Nothing has been decided yet.",
    telling: TELLING,
    row,
    read: () => read(),
    more: () => read(found.at(-1)?.id ?? null),
  });
  root.append(...list.elements);
  let found = [];
  let most = KEPT;

  async function read(before = null) {
    const { decisions: rows, next } = await get(query("decisions", { limit: PAGE, before }));
    if (before !== null && before !== found.at(-1)?.id) return; // newer ones have taken its place
    const known = new Set(rows.map((r) => r.id));
    const kept = found.filter((r) => !known.has(r.id));
    // Were more decided than a page holds since we looked, what is older would leave a gap.
    const joined = before !== null || next === null || found.some((r) => known.has(r.id));
    found = before === null ? [...rows, ...(joined ? kept : [])] : [...kept, ...rows];
    if (before !== null) most = Math.max(most, found.length);
    if (before !== null || !joined || !kept.length) list.offer(next !== null);
    if (found.length > most) {
      found.length = most;
      list.offer(true);
    }
    list.draw(found);
  }

  return {
    heard: list.heard,
    render(state) {
      // Where no events are told, the runs under way say when to look.
      if (store.standing !== "polling") return;
      list.polled(JSON.stringify([state.running, state.models.map((m) => [m.name, m.status])]));
    },
  };
}

/** In one word, how it went. */
function result(decision) {
  const results = new Set(decision.outcomes.map((o) => o.result));
  if (decision.running) return "waiting";
  if (results.has("failed")) return "failed";
  if (decision.unmet.length || decision.full.length) return "refused";
  if (!decision.actions.length) return "nothing";
  if (decision.mode !== "enforce" && !decision.outcomes.length) return "wish";
  return [...results].every((r) => r === "done") ? "done" : "refused";
}

const WORDS = { done: "done", refused: "not all of it", failed: "failed", waiting: "under way", nothing: "nothing to do", wish: "only said" };
const VERBS = { evict: "unload", load: "load", cancel: "end the requests of" };

function word(decision, is) {
  if (is !== "refused" || decision.outcomes.some((o) => o.result === "done")) return WORDS[is];
  const missing = decision.unmet.map((share) => `${bytes(share.size)} of ${shown(share.pool)}`);
  return missing.length ? `refused, ${missing.join(", ")} missing` : "refused";
}

function gist(decision) {
  const by = new Map();
  for (const { action, model } of decision.actions) by.set(action, [...(by.get(action) ?? []), model]);
  return [...by].map(([action, models]) => `${VERBS[action] ?? action} ${some(models)}`).join("; ");
}

function row(first) {
  const sign = h("span", { class: "sign", "aria-hidden": "true" });
  const time = h("time", { datetime: new Date(first.at * 1000).toISOString() });
  const cause = h("span", { class: "cause" });
  const what = h("span", { class: "gist quiet" });
  const body = h("div", { class: "told" });
  let decision = first;
  const details = h(
    "details",
    { toggle: () => details.open && open() },
    h("summary", {}, sign, h("span", { class: "head" }, cause, what), time),
    body,
  );

  async function open() {
    const mine = decision;
    const lines = await sentences(mine);
    if (mine === decision) body.replaceChildren(h("ul", { class: "lines" }, ...lines.map((l) => h("li", {}, l))), h("p", { class: "quiet id" }, shown(mine.id)));
  }

  return {
    element: h("li", {}, details),
    update(now) {
      const changed = JSON.stringify(now) !== JSON.stringify(decision);
      decision = now;
      const is = result(now);
      attribute(details, "class", is);
      text(sign, SIGNS[is]);
      text(time, moment(now.at));
      text(cause, shown(now.cause));
      text(what, [word(now, is), gist(now)].filter(Boolean).join(": "));
      if (changed && details.open) open();
    },
  };
}

/** In the daemon's own words; where it has none for it any more, what the row tells. */
async function sentences(decision) {
  try {
    const { sentences: found } = await get(`decisions/${encodeURIComponent(decision.id)}`);
    return found.slice(1).map(shown); // the first is the line that was opened
  } catch (error) {
    return [...told(decision), `(${error.message})`];
  }
}

function amount(shares) {
  const size = shares.reduce((sum, s) => sum + s.size, 0);
  return size ? bytes(size) : "an unknown amount";
}

function told(decision) {
  const { actions, notes, unmet, full, outcomes } = decision;
  return [
    ...actions.map((a) => `${VERBS[a.action] ?? a.action} ${shown(a.model)}: ${a.why ?? "asked for"}, ${amount(a.shares)}`),
    ...notes.map((n) => `${shown(n.model)} stays as it is: ${n.why}`),
    ...unmet.map((u) => `${bytes(u.size)} of ${shown(u.pool)} could not be found`),
    ...full.map((f) => `the limit of ${shown(f)} is reached`),
    ...outcomes.map((o) => `${VERBS[o.action] ?? o.action} ${shown(o.model)}: ${o.result}${o.detail ? `, ${shown(o.detail)}` : ""}`),
  ];
}
