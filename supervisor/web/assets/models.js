// Who is there, and who could be. Rows are walked with j and k or the arrows.

import { h, keyed, table, text } from "./dom.js";
import { single } from "./keys.js";
import { COLUMNS, row } from "./row.js";
import { count } from "./words.js";

const MOST = 200; // rows; the filter finds the rest

export function models(store) {
  const root = document.getElementById("models");
  const filter = h("input", { type: "search", id: "filter", placeholder: "Filter", "aria-label": "Filter the models by name", "aria-keyshortcuts": "/", autocomplete: "off", spellcheck: "false", input: () => draw() });
  const all = h("input", { type: "checkbox", id: "all-models", change: () => draw() });
  all.checked = true;
  const tally = h("p", { class: "quiet tally", role: "status" });
  const { element, body } = table("Models", COLUMNS, { class: "models", "aria-describedby": "models-help" });
  const help = h("p", { id: "models-help", class: "unseen" }, "Rows are walked with the arrow keys; p pins, l loads, u unloads, s lets sleep or wakes, w says why.");
  root.append(h("div", { class: "bar-of-tools" }, filter, h("label", { class: "check" }, all, "installed ones, too"), tally), help, element);
  let rows = [];
  let current = null;
  const make = row(store, choose);

  function choose(which) {
    if (current && current !== which) current.element.tabIndex = -1;
    current = which;
    current.element.tabIndex = 0;
  }

  function draw() {
    const { state } = store;
    if (!state) return;
    const wanted = filter.value.trim().toLowerCase();
    const fits = (m) => m.name.toLowerCase().includes(wanted);
    const there = new Set(state.models.map((m) => m.name));
    const pins = new Set(state.pins);
    const pinned = (i) => pins.has(i.name) || pins.has(i.model);
    const rest = state.installed.filter((i) => !there.has(i.name)).map((i) => ({ ...i, pinned: pinned(i) }));
    const found = [...state.models, ...(all.checked ? rest : [])].filter(fits);
    rows = [...keyed(body, found.slice(0, MOST), (m) => m.name, make).values()];
    if (!rows.includes(current)) current = null;
    if (rows.length && current === null) choose(rows[0]);
    element.hidden = rows.length === 0;
    text(tally, said(state.models.length, rest.length, found.length, wanted));
  }

  function said(here, others, found, wanted) {
    if (wanted) return found ? `${count(found, "model")} found` : "no model is called so";
    const rest = found > MOST ? `; ${MOST} are shown, the filter finds the others` : "";
    return `${here} there, ${others} installed${rest}`;
  }

  function step(by) {
    const at = Math.min(rows.length - 1, Math.max(0, rows.indexOf(current) + by));
    rows[at]?.element.focus();
  }

  const moves = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1, Home: -Infinity, End: Infinity };
  body.addEventListener("keydown", (event) => {
    const own = rows.find((r) => r.element.contains(event.target));
    const onRow = own?.element === event.target;
    if (!own || !single(event) || (event.key === "Enter" && !onRow)) return;
    if (!onRow) choose(own);
    const by = moves[event.key];
    if (by !== undefined) step(by);
    else if (event.repeat) return; // who holds a key wants it once
    else if (!own.press(event.key === "Enter" ? "w" : event.key)) return;
    event.preventDefault();
  });
  filter.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      filter.value = "";
      draw();
      filter.blur();
    } else if (event.key === "ArrowDown" || event.key === "Enter") {
      event.preventDefault();
      rows[0]?.element.focus();
    }
  });

  return {
    render: draw,
    tick: () => rows.forEach((r) => r.tick()),
    focusFilter: () => filter.focus(),
    focusRow: () => (current ?? rows[0])?.element.focus(),
  };
}
