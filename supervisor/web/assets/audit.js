// Who changed what, and who was refused: the latest first. Asked for while it is open, by whoever may.

import { told } from "./alerts.js";
import { Problem, get, query } from "./api.js";
import { readDialog } from "./dialogs.js";
import { attribute, h, keyed, text } from "./dom.js";
import { latest } from "./latest.js";
import { denial } from "./may.js";
import { count, moment, shown } from "./words.js";

const PAGE = 20;
const KEPT = 200; // of a page that is open for days; who asks for older ones gets them
const SIGNS = { done: "✓", failed: "✕", refused: "–", begun: "…" };
const KINDS = { done: "done", failed: "failed", refused: "refused", begun: "waiting" };
const VIA = { page: "by the page", file: "by a changed file", signal: "by a signal", daemon: "by the daemon itself" };

export function audit(store) {
  const root = document.getElementById("audit");
  const list = latest({
    empty: "Nobody has changed anything.",
    telling: new Set(), // no event tells of it: whoever may only look would hear it, too
    row,
    read: () => read(),
    more: () => read(next),
  });
  const details = h(
    "details",
    { toggle: () => details.open && list.polled({}) },
    h("summary", {}, "Show who did, and who was refused"),
    ...list.elements,
  );
  root.append(details);
  let found = [];
  let next = null;
  let most = KEPT;

  async function read(before = null) {
    if (!details.open) return;
    const why = denial("admin");
    if (why !== null) throw new Problem(403, { detail: why });
    const page = await get(query("audit", { limit: PAGE, before }));
    const known = new Set(page.entries.map((entry) => entry.id));
    // Was more done than a page holds since we looked, what is older would leave a gap.
    const joined = before !== null || found.some((entry) => known.has(entry.id));
    const kept = joined ? found.filter((entry) => !known.has(entry.id)) : [];
    if (before !== null || !kept.length) next = page.next;
    found = before === null ? [...page.entries, ...kept] : [...kept, ...page.entries];
    if (before !== null) most = Math.max(most, found.length);
    if (found.length > most) {
      found.length = most;
      next = Number(found.at(-1).id.replace("a-", "")); // by number, as the daemon has it
    }
    list.offer(next !== null);
    list.draw(found);
  }

  return {
    render() {
      if (details.open) list.polled(store.readAt); // as often as the state, which most of it changes
    },
  };
}

function row(first) {
  const sign = h("span", { class: "sign", "aria-hidden": "true" });
  const name = h("span", { class: "cause" });
  const gist = h("span", { class: "gist quiet" });
  const time = h("time", { datetime: new Date(first.at * 1000).toISOString() });
  const why = h("p", {});
  const wish = h("code", {});
  const about = h("p", { class: "quiet" });
  const decided = h("p", { class: "buttons" });
  const details = h(
    "details",
    {},
    h("summary", {}, sign, h("span", { class: "head" }, name, gist), time),
    h("div", { class: "told" }, why, h("p", {}, wish), about, decided),
  );
  return {
    element: h("li", {}, details),
    update(entry) {
      attribute(details, "class", KINDS[entry.result] ?? "nothing");
      text(sign, SIGNS[entry.result] ?? "·");
      text(time, moment(entry.last_at));
      text(name, `${shown(entry.who)}: ${shown(entry.what)}`);
      const target = entry.target === null ? [] : [shown(entry.target)];
      const times = entry.times > 1 ? [count(entry.times, "time")] : [];
      text(gist, [...target, entry.result, ...times].join(", "));
      why.hidden = entry.why === null;
      text(why, shown(entry.why ?? ""));
      wish.parentElement.hidden = entry.wish === null;
      text(wish, shown(entry.wish ?? ""));
      text(about, whence(entry));
      decided.hidden = entry.decisions.length === 0;
      keyed(decided, entry.decisions, (id) => id, decision);
    },
  };
}

function whence(entry) {
  const from = entry.address === null ? [] : [`from ${shown(entry.address)}`];
  const via = VIA[entry.via] ? [VIA[entry.via]] : [];
  const status = entry.status === null ? [] : [`answered with ${entry.status}`];
  const since = entry.times > 1 ? [`the first time at ${moment(entry.at)}`] : [];
  return `${shown(entry.id)}: ${[...from, ...via, ...status, ...since].join(", ")}`;
}

function decision(id) {
  const element = h("button", { type: "button", click: () => readDialog(`Decision ${shown(id)}`, told(id)) }, `What was decided: ${shown(id)}`);
  return { element };
}
