// One model in the table: what it holds and where, what it does, who keeps it, what can be done.

import { load, pin, sleep, unload, unpin, wake, why } from "./actions.js";
import { attribute, cell, h, keyed, text } from "./dom.js";
import { bytes, duration, moment, shown } from "./words.js";

export const COLUMNS = [["Model"], ["State"], ["Holds", "n"], ["Where"], ["Activity"], ["Kept by"], ["Actions"]];

// A sign and a word besides the colour.
const SIGNS = { loaded: "●", loading: "◔", sleeping: "☾", leaving: "◌", unknown: "?", local: "○", absent: "–" };
const WORDS = { local: "on disk" };
const GUESSES = new Set(["learned", "declared", "estimated"]);

/** What may be done with it now: [verb, key, doing]. */
export function actionsOf(model, abilities) {
  const can = (ability) => abilities.has(ability);
  const status = model.status;
  const there = model.shares !== undefined && !["local", "absent"].includes(status);
  const found = [];
  if (!there) {
    if (can("load")) found.push(["Load", "l", load]);
  } else {
    if (status === "sleeping" && (can("sleep") || can("wake") || can("deep_sleep"))) found.push(["Wake", "s", wake]);
    if (status === "loaded" && (can("sleep") || can("deep_sleep"))) found.push(["Sleep", "s", sleep]);
    if (can("unload") && status !== "leaving") found.push(["Unload", "u", unload]);
  }
  found.push(model.pinned ? ["Unpin", "p", unpin] : ["Pin", "p", pin]);
  found.push(["Why", "w", why]);
  return found;
}

export function row(store, chosen) {
  return (first) => {
    const name = h("span", { class: "model-name" });
    const engine = h("span", { class: "quiet engine" });
    const badge = h("span", { class: "pin", title: "pinned" }, "pinned");
    const chip = h("span", { class: "chip" });
    const size = h("span", {});
    const where = h("ul", { class: "shares" });
    const activity = h("span", {});
    const flight = h("span", { class: "quiet" });
    const kept = h("span", {});
    const buttons = h("div", { class: "row-buttons" });
    const contents = [[name, " ", badge, engine], [chip], [size], [where], [activity, " ", flight], [kept], [buttons]];
    const cells = contents.map((inner, i) => cell(COLUMNS[i][0], COLUMNS[i][1], ...inner));
    cells[0].className = "who";
    const element = h("tr", { role: "row", tabindex: "-1" }, ...cells);
    const under = new Set(); // what is being done, by a key or by a button
    let model = first;

    async function act(doing, button) {
      if (under.has(doing)) return;
      under.add(doing);
      button?.setAttribute("aria-disabled", "true");
      try {
        await doing(model);
      } finally {
        under.delete(doing);
        button?.removeAttribute("aria-disabled");
      }
    }

    const own = {
      element,
      get model() {
        return model;
      },
      update(now) {
        model = now;
        text(name, shown(model.model));
        text(engine, shown(model.engine));
        attribute(element, "aria-label", shown(model.name));
        badge.hidden = !model.pinned;
        const ends = store.state.pins_end?.[model.name] ?? store.state.pins_end?.[model.model];
        text(badge, ends ? `pinned until ${moment(ends)}` : "pinned");
        chip.className = `chip ${model.status}`;
        text(chip, `${SIGNS[model.status] ?? "?"} ${WORDS[model.status] ?? model.status}`);
        attribute(chip, "title", model.trouble ? shown(model.trouble) : null);
        text(size, model.size === null && model.shares === undefined ? "–" : bytes(model.size));
        size.className = model.shares === undefined ? "quiet" : "";
        attribute(size, "title", model.shares === undefined ? "on disk" : null);
        const pools = new Map(store.state.pools.map((p) => [p.id, p.name]));
        keyed(where, model.shares ?? [], (s) => s.pool, share(pools));
        text(kept, model.kept_by?.length ? model.kept_by.map(shown).join(", ") : model.shares === undefined ? "" : "nobody");
        const actions = actionsOf(model, own.abilities());
        keyed(buttons, actions, (a) => a[1], button(act, () => model)); // Unpin is in the place of Pin
        own.tick();
        // Narrow screens leave out what is not there.
        for (const each of cells) attribute(each, "data-empty", each.textContent.trim() === "");
      },
      abilities: () => new Set(store.state.engines.find((e) => e.id === model.engine)?.abilities ?? []),
      /** The key of an action; whether there is one. */
      press(key) {
        const found = actionsOf(model, own.abilities()).find((a) => a[1] === key);
        if (found) act(found[2]);
        return found !== undefined;
      },
      tick() {
        if (model.shares === undefined) {
          text(activity, model.trouble ? shown(model.trouble) : "");
          text(flight, "");
          return;
        }
        const [what, since] = model.busy ? ["busy", model.busy_for] : ["idle", model.idle];
        text(activity, `${what} ${duration(since + store.since())}`);
        text(flight, model.in_flight ? `${model.in_flight} in flight` : "");
      },
    };
    element.addEventListener("focus", () => chosen(own));
    return own;
  };
}

function share(pools) {
  return () => {
    const pool = h("span", { class: "quiet" });
    const size = h("b", {});
    const source = h("span", { class: "source" });
    return {
      element: h("li", {}, size, " ", pool, " ", source),
      update(now) {
        text(size, (GUESSES.has(now.source) ? "≈ " : "") + bytes(now.size));
        text(pool, shown(pools.get(now.pool) ?? now.pool));
        text(source, now.source);
      },
    };
  };
}

function button(act, model) {
  return ([, key, first]) => {
    let doing = null;
    const element = h("button", { type: "button", "data-needs": first === why ? null : "operate", "aria-keyshortcuts": key, click: () => act(doing, element) });
    return {
      element,
      update([verb, , now]) {
        doing = now;
        text(element, verb);
        attribute(element, "aria-label", `${verb} ${shown(model().name)}`);
      },
    };
  };
}
