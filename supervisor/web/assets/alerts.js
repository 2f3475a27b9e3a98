// Alerts that came in, and what became of each: the latest first. Above them what holds because of one.

import { get, query } from "./api.js";
import { readDialog } from "./dialogs.js";
import { attribute, h, keyed, text } from "./dom.js";
import { latest } from "./latest.js";
import { duration, moment, shown } from "./words.js";

const FEW = 5;
const MANY = 200;
const TELLING = new Set(["alert", "reset", "connected"]);

const OUTCOMES = {
  done: "done",
  nothing_to_do: "nothing had to be done",
  disagreed: "not acted on, our own measurements disagree",
  dry_run: "only said, this is a dry run",
  limited: "not acted on, alerts have done enough of late",
  no_action: "no action is configured for it",
  unknown_target: "it names what is not here",
  duplicate: "told again",
  resolved: "noted",
  failed: "failed",
  held: "holds while it fires",
  superseded: "over before anything was done",
};
const WAITING = "not acted on yet";
const SIGNS = { done: "✓", held: "✓", failed: "✕", unknown_target: "!", no_action: "!", limited: "!", disagreed: "!" };
const HOLDS = { pause: "no loads through the gateway", pin: "pinned", reserve: "kept free" };

export function alerts(store) {
  const root = document.getElementById("alerts");
  const holds = h("ul", { class: "findings holds" });
  const list = latest({
    empty: "No alert has come in.",
    telling: TELLING,
    row,
    read: () => read(most),
    more: () => read(MANY),
  });
  root.append(holds, ...list.elements);
  let most = FEW;
  let held = [];

  async function read(limit) {
    const { alerts: rows } = await get(query("alerts", { limit: limit + 1 }));
    most = limit;
    list.offer(rows.length > most && most !== MANY);
    list.draw(rows.slice(0, most));
  }

  return {
    heard: list.heard,
    render(state) {
      const now = state.alerts ?? { holds: [], last: null };
      held = [...keyed(holds, now.holds, (hold) => `${hold.alert} ${hold.action}`, (first) => holding(store, first)).values()];
      holds.hidden = now.holds.length === 0;
      if (store.standing === "polling") list.polled(JSON.stringify(now.last));
    },
    tick: () => held.forEach((hold) => hold.tick()),
  };
}

function holding(store, first) {
  const what = h("span", { class: "what" });
  const left = h("span", { class: "age quiet" });
  let hold = first;
  return {
    element: h("li", { class: "finding warning" }, h("span", { class: "sign", "aria-hidden": "true" }, "!"), what, left),
    update(now) {
      hold = now;
      const target = hold.target ? `${shown(hold.target)}: ` : "";
      text(what, `${target}${HOLDS[hold.kind] ?? shown(hold.kind)} while ${shown(hold.alert)} fires`);
      this.tick();
    },
    tick: () => text(left, `${duration(hold.until - store.state.now - store.since())} more at most`),
  };
}

function row(first) {
  const sign = h("span", { class: "sign", "aria-hidden": "true" });
  const name = h("span", { class: "cause" });
  const gist = h("span", { class: "gist quiet" });
  const time = h("time", { datetime: new Date(first.at * 1000).toISOString() });
  const detail = h("p", {});
  const about = h("p", { class: "quiet" });
  const labels = h("ul", { class: "lines labels" });
  let alert = first;
  const button = h("button", { type: "button", click: () => readDialog(`Decision ${shown(alert.decision)}`, told(alert.decision)) });
  const details = h(
    "details",
    {},
    h("summary", {}, sign, h("span", { class: "head" }, name, gist), time),
    h("div", { class: "told" }, detail, about, labels, h("p", { class: "buttons" }, button)),
  );
  return {
    element: h("li", {}, details),
    update(now) {
      alert = now;
      attribute(details, "class", kind(alert.outcome));
      text(sign, alert.outcome === null ? "…" : (SIGNS[alert.outcome] ?? "·"));
      text(time, moment(alert.at));
      text(name, `${shown(alert.name)} ${alert.status === "firing" ? "fires" : "is over"}`);
      const word = alert.outcome === null ? WAITING : (OUTCOMES[alert.outcome] ?? shown(alert.outcome));
      const target = alert.target ? ` on ${shown(alert.target)}` : "";
      text(gist, alert.action === null ? word : `${shown(alert.action)}${target}: ${word}`);
      detail.hidden = ["", word].includes(alert.detail);
      text(detail, shown(alert.detail));
      text(about, `Since ${moment(alert.starts_at)}, told by ${shown(alert.by)}.`);
      keyed(labels, Object.entries(alert.labels), ([key]) => key, label);
      button.hidden = alert.decision === null;
      text(button, `What was decided: ${shown(alert.decision ?? "")}`);
    },
  };
}

function label() {
  const element = h("li", {});
  return { element, update: ([key, value]) => text(element, `${shown(key)} = ${shown(value)}`) };
}

function kind(outcome) {
  if (outcome === null) return "waiting";
  if (outcome === "done" || outcome === "held") return "done";
  if (outcome === "failed") return "failed";
  return SIGNS[outcome] ? "refused" : "nothing";
}

/** What was decided, in the daemon's own words. */
export async function told(decision) {
  const { sentences } = await get(`decisions/${encodeURIComponent(decision)}`);
  return h("ul", { class: "lines" }, ...sentences.map((sentence) => h("li", {}, shown(sentence))));
}
