// Headroom of each pool over time, with who came and who went. The table below says the same.

import { Problem, get, query } from "./api.js";
import { chart } from "./chart.js";
import { cell, h, keyed, plainRow, table, text } from "./dom.js";
import { bytes, moment, shown } from "./words.js";

const SPANS = [[15, "15 min"], [60, "1 h"], [360, "6 h"], [1440, "24 h"]];
const SOON = 700; // milliseconds after something happened: its mark is in the time line by then
const MOST = 50; // of what happened
const ROWS = 12; // of the table, spread over the span
const CHANGING = new Set(["outcome", "model", "reset", "connected"]);
const HAPPENED = [["When"], ["What"], ["Model"], ["Held"], ["Why"]];

export function timeline(store) {
  const root = document.getElementById("timeline");
  const span = h("select", { id: "span", change: () => read() }, ...SPANS.map(([m, name]) => h("option", { value: m, selected: m === 60 }, name)));
  const legend = h("p", { class: "quiet marks" }, "▲ loaded  ▼ unloaded  ◇ left  ✕ failed; the line at 0 is the reserve");
  const grid = h("div", { class: "charts" });
  const none = h("p", { class: "quiet" });
  const happened = table("What happened", HAPPENED, { class: "compact" });
  const values = h("div", {});
  const details = h("details", { toggle: () => details.open && tell() }, h("summary", {}, "As tables"), h("div", { class: "wide tall", tabindex: "0", role: "region", "aria-label": "The time line as tables" }, values, happened.element));
  root.append(h("div", { class: "bar-of-tools" }, h("label", {}, "The last ", span), legend), grid, none, details);
  let found = null;
  let due = null;
  let missing = false;
  let charts = new Map();

  async function read() {
    clearTimeout(due);
    due = null;
    try {
      found = await get(query("timeline", { minutes: span.value }));
      missing = false;
    } catch (error) {
      if (!(error instanceof Problem)) return; // the banner says it
      missing = error.status === 404;
      none.hidden = false;
      text(none, missing ? "This daemon keeps no time line." : error.message);
      return;
    }
    draw();
  }

  function draw() {
    const ids = Object.keys(found.pools);
    const short = ids.every((id) => found.pools[id].t.length < 2);
    none.hidden = !short;
    if (short) text(none, "The time line begins with the daemon: there is nothing to draw yet.");
    const names = new Map(store.state?.pools.map((p) => [p.id, p.name]));
    const items = ids.map((id) => ({ id, name: names.get(id) ?? id, line: found.pools[id], marks: found.marks.filter((m) => m.pool === id), minutes: Number(span.value) }));
    charts = keyed(grid, short ? [] : items, (i) => i.id, chart);
    if (details.open) tell();
  }

  function tell() {
    if (found === null) return;
    const names = new Map(store.state?.pools.map((p) => [p.id, p.name]));
    const name = (id) => (id === null ? "not known" : shown(names.get(id) ?? id));
    const size = (m) => (m.size === null ? "not known" : `${bytes(m.size)} of ${name(m.pool)}`);
    const marks = [...merged(found.marks)].slice(-MOST).reverse();
    keyed(happened.body, marks, (m) => m.key, plainRow(HAPPENED, (m) => [moment(m.at), m.what === "evicted" ? "unloaded" : m.what, shown(m.model), m.all.map(size).join(", "), shown(m.why ?? "")]));
    values.replaceChildren(...numbers(name));
  }

  /** A dozen moments of all pools, the latest first. */
  function numbers(name) {
    const ids = Object.keys(found.pools);
    const times = [...new Set(ids.flatMap((id) => found.pools[id].t))].sort((a, b) => a - b);
    if (!times.length) return [];
    const { element, body } = table("Headroom by pool", [["When"], ...ids.map((id) => [name(id), "n"])], { class: "compact" });
    const step = Math.max(1, Math.ceil(times.length / ROWS));
    for (let i = times.length - 1; i >= 0; i -= step) {
      const cells = ids.map((id) => cell(name(id), "n", said(by(found.pools[id], times[i]))));
      body.append(h("tr", { role: "row" }, cell("When", null, moment(times[i])), ...cells));
    }
    return [element];
  }

  /** What a pool had by then. One may have been seen later than others, or not been read for a while. */
  function by(line, at) {
    const i = line.t.findLastIndex((t) => t <= at);
    return i < 0 || at - line.t[i] > 2 * found.step ? null : line.headroom[i];
  }

  return {
    heard(kind, data) {
      if (kind === "sample" && found !== null) sampled(data);
      else if (CHANGING.has(kind)) due ??= setTimeout(read, SOON);
    },
    render() {
      for (const pool of store.state.pools) charts.get(pool.id)?.named(pool.name);
      if (store.standing === "polling" && !missing) due ??= setTimeout(read, 10_000);
    },
  };

  function sampled({ pools, at }) {
    for (const now of pools) {
      const line = found.pools[now.id];
      if (line === undefined) continue;
      const last = line.t.at(-1) ?? 0;
      charts.get(now.id)?.seen(now.headroom);
      if (at - last < found.step) continue;
      line.t.push(at);
      for (const key of ["free", "held", "headroom"]) line[key]?.push(now[key] ?? null);
      const first = at - Number(span.value) * 60;
      while (line.t.length && line.t[0] < first) for (const list of [line.t, line.free, line.held, line.headroom]) list?.shift();
      charts.get(now.id)?.draw();
    }
  }
}

/** A model that held memory in several pools has a mark in each, and one row. */
function merged(marks) {
  const found = new Map();
  for (const mark of marks) {
    const key = `${mark.at} ${mark.what} ${mark.model}`;
    if (found.has(key)) found.get(key).all.push(mark);
    else found.set(key, { ...mark, key, all: [mark] });
  }
  return found.values();
}

function said(value) {
  return value === null || value === undefined ? "not read" : bytes(value);
}
