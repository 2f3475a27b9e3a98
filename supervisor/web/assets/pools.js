// Every pool as a bar of who holds it. The bar is a picture; the table below it says the same.

import { attribute, h, keyed, plainRow, table, text } from "./dom.js";
import { bytes, capital, count, shown } from "./words.js";

// In the order in which they are stacked. The models come first, so that their budget is a line.
const OWNERS = [
  ["model", "Models"],
  ["engine", "Engines' own"],
  ["foreign", "Others' programs"],
  ["system", "System"],
  ["unaccounted", "Not attributed"],
  ["promised", "Promised"],
  ["free", "Free"],
];
const SYSTEM = new Set(["accelerators", "unseen", "shared", "kernel", "huge pages", "compressed"]);
const RAM = "ram";
const SLIVER = 0.002; // of the pool: less is not drawn, and stands in the table
const COLUMNS = [["Owner"], ["Name"], ["Process", "n"], ["Size", "n"]];

const group = (owner) => (SYSTEM.has(owner) ? "system" : owner);
const words = Object.fromEntries(OWNERS);
const rank = (owner) => OWNERS.findIndex(([id]) => id === owner);

/** The parts of a pool with what is promised and free, as they are stacked. */
function stacked(pool) {
  const parts = pool.parts.map((p) => ({ ...p, group: group(p.owner) }));
  const free = Math.max(0, pool.free);
  const promised = Math.min(Math.max(0, pool.promised ?? 0), free);
  if (promised) parts.push({ group: "promised", owner: "promised", name: "to what is being loaded", size: promised });
  parts.push({ group: "free", owner: "free", name: "free", size: free - promised });
  return parts
    .map((p, i) => ({ ...p, key: `${p.owner} ${p.name} ${p.pid ?? ""} ${p.engine ?? ""}`, i }))
    .sort((a, b) => rank(a.group) - rank(b.group) || a.i - b.i);
}

export function pools(store) {
  const root = document.getElementById("pools");
  const grid = h("div", { class: "pools" });
  const none = h("p", { class: "quiet" }, "No pool has been read yet.");
  root.append(grid, none);
  let cards = new Map();

  return {
    render(state) {
      none.hidden = state.pools.length > 0;
      const health = new Map(state.devices.filter((d) => d.health).map((d) => [d.pool, d.health]));
      // Accelerators first: it is there that it is tight.
      const sorted = [...state.pools].sort((a, b) => (a.id === RAM) - (b.id === RAM));
      const items = sorted.map((pool) => ({ pool, health: health.get(pool.id) ?? null }));
      cards = keyed(grid, items, (i) => i.pool.id, card);
    },
    heard(kind, data) {
      if (kind !== "sample") return;
      for (const now of data.pools) cards.get(now.id)?.sampled(now);
    },
  };
}

function card({ pool: first }) {
  const id = `pool-${Math.random().toString(36).slice(2)}`;
  const name = h("h3", { id }, shown(first.name));
  const address = h("code", { class: "quiet address" });
  const headroom = h("span", { class: "number" });
  const short = h("span", { class: "short" }, "short");
  const used = h("p", { class: "used" });
  const blind = h("p", { class: "wrong" });
  const stack = h("div", { class: "stack-bar" });
  const reserve = h("div", { class: "line reserve" });
  const budget = h("div", { class: "line budget" });
  const bar = h("div", { class: "bar", role: "img" }, stack, reserve, budget);
  const legend = h("ul", { class: "legend" });
  const feels = h("p", { class: "feels quiet" });
  const { element: parts, body } = table("Who holds it", COLUMNS, { class: "compact" });
  const summary = h("summary", {}, "Who holds it");
  const details = h("details", {}, summary, h("div", { class: "wide" }, parts));
  const room = h("p", { class: "headroom" }, headroom, h("span", { class: "quiet" }, " headroom"), short);
  const full = h("div", {}, used, bar, legend, feels, details);
  const element = h(
    "article",
    { class: "card pool", "aria-labelledby": id },
    h("div", { class: "pool-head" }, h("div", {}, name, address), room),
    blind,
    full,
  );
  let pool = first;

  function numbers(now) {
    text(headroom, bytes(now.headroom));
    room.classList.toggle("negative", now.headroom < 0);
    short.hidden = !(now.headroom < 0);
    const taken = now.total - now.free;
    text(used, `${bytes(taken)} of ${bytes(now.total)} used, ${bytes(now.free)} free, ${bytes(now.reserve)} of it kept as reserve`);
  }

  function update({ pool: now, health }) {
    pool = now;
    text(name, shown(now.name));
    text(address, now.name === now.id ? "" : shown(now.id));
    blind.hidden = now.blind === null;
    full.hidden = room.hidden = now.blind !== null;
    if (now.blind !== null) {
      text(blind, `Cannot be read: ${shown(now.blind)}`);
      return;
    }
    numbers(now);
    const found = stacked(now);
    const of = (size) => size / now.total;
    let odd = false;
    const seen = found.filter((p) => of(p.size) >= SLIVER).map((p) => ({ ...p, part: of(p.size), odd: p.group === "model" && (odd = !odd) }));
    keyed(stack, seen, (p) => p.key, segment);
    place(reserve, now.reserve > 0 ? 1 - of(now.reserve) : null);
    place(budget, now.budget > 0 && now.budget < now.total ? of(now.budget) : null);
    const sums = OWNERS.map(([owner, title]) => ({ owner, title, size: found.filter((p) => p.group === owner).reduce((sum, p) => sum + p.size, 0) })).filter((s) => s.size > 0);
    const lines = [
      ...(now.reserve > 0 ? [{ owner: "reserve", title: "Reserve", size: now.reserve }] : []),
      ...(now.budget > 0 ? [{ owner: "budget", title: "Models' budget", size: now.budget }] : []),
    ];
    keyed(legend, [...sums, ...lines], (s) => s.owner, legendItem);
    const said = [...sums, ...lines].map((s) => `${s.title} ${bytes(s.size)}`).join(", ");
    attribute(bar, "aria-label", `${shown(now.name)}, ${bytes(now.total)}: ${said}. Headroom ${bytes(now.headroom)}.`);
    const rows = found.map((p) => [words[p.group] + (p.group === "system" ? `: ${p.owner}` : ""), shown(p.name), p.pid ?? "", bytes(p.size), p.key]);
    keyed(body, rows, (r) => r[4], plainRow(COLUMNS, (r) => r.slice(0, 4)));
    text(summary, `Who holds it (${count(found.length, "part")})`);
    feeling(feels, health);
  }

  return {
    element,
    update,
    sampled(now) {
      if (pool.blind === null) numbers({ ...pool, ...now });
    },
  };
}

function segment() {
  const name = h("span", { class: "name" });
  const element = h("div", {}, name);
  return {
    element,
    update(part) {
      element.className = `segment ${part.group}${part.odd ? " odd" : ""}`;
      element.style.flexGrow = String(part.part);
      text(name, ["free", "promised"].includes(part.group) ? "" : shown(part.name));
      attribute(element, "title", `${shown(part.name)}: ${bytes(part.size)}`);
    },
  };
}

function place(line, at) {
  line.hidden = at === null;
  if (at !== null) line.style.left = `${(100 * Math.min(1, Math.max(0, at))).toFixed(2)}%`;
}

function legendItem({ owner }) {
  const size = h("b", {});
  const title = h("span", {});
  const element = h("li", {}, h("span", { class: `swatch ${owner}`, "aria-hidden": "true" }), title, " ", size);
  return {
    element,
    update(sum) {
      text(title, sum.title);
      text(size, bytes(sum.size));
    },
  };
}

/** How the device feels: what it cannot tell is left out. */
function feeling(place_, health) {
  if (health === null) {
    place_.hidden = true;
    return;
  }
  const known = [
    health.utilization !== null && `${Math.round(health.utilization * 100)} % busy`,
    health.temperature !== null && `${Math.round(health.temperature)} °C`,
    health.power !== null && `${Math.round(health.power)} W${health.power_limit ? ` of ${Math.round(health.power_limit)}` : ""}`,
    health.throttled?.length > 0 && `throttled: ${health.throttled.map(shown).join(", ")}`,
  ].filter(Boolean);
  place_.hidden = known.length === 0;
  text(place_, capital(known.join(" · ")));
}

