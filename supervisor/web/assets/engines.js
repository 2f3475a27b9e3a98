// The engines, and whether they answer.

import { drain } from "./actions.js";
import { attribute, cell, eitherOr, h, keyed, table, text } from "./dom.js";
import { count, moment, shown } from "./words.js";

const COLUMNS = [["Engine"], ["State"], ["Address"], ["Actions"]];

export function engines() {
  const root = document.getElementById("engines");
  const { element, body } = table("Engines", COLUMNS, { class: "compact engines" });
  const none = h("p", { class: "quiet" }, "No engine is known.");
  root.append(element, none);
  return {
    render(state) {
      eitherOr(element, none, state.engines.length > 0);
      const drained = state.drained === undefined ? null : new Map(state.drained.map((d) => [d.engine, d]));
      const of = (engine) => drained?.get(engine.id) ?? drained?.get(null) ?? null;
      keyed(body, state.engines.map((engine) => ({ engine, drained: of(engine), can: drained !== null })), (i) => i.engine.id, row);
    },
  };
}

function row() {
  const name = h("b", {});
  const kind = h("span", { class: "quiet" });
  const chip = h("span", { class: "chip" });
  const fault = h("span", { class: "fault" });
  const address = h("code", {});
  let now = null;
  const button = h("button", { type: "button", "data-needs": "operate", click: () => drain(now.engine, now.drained) });
  const contents = [[name, " ", kind], [chip, " ", fault], [address], [button]];
  const cells = contents.map((inner, i) => cell(COLUMNS[i][0], null, ...inner));
  return {
    element: h("tr", { role: "row" }, ...cells),
    update(item) {
      now = item;
      const { engine, drained } = item;
      text(name, shown(engine.id));
      text(kind, [engine.kind, engine.version].filter(Boolean).map(shown).join(" "));
      const is = engine.up ? (drained ? "draining" : "up") : engine.degraded ? "degraded" : "down";
      chip.className = `chip ${is}`;
      text(chip, `${{ up: "●", draining: "◌", degraded: "!", down: "✕" }[is]} ${is}`);
      text(fault, engine.up ? (drained ? drainage(drained) : "") : shown(engine.fault ?? ""));
      text(address, shown(engine.url));
      button.hidden = !item.can;
      text(button, drained ? "Take back" : "Drain");
      attribute(button, "aria-label", `${drained ? "Take back" : "Drain"} ${shown(engine.id)}`);
    },
  };
}

function drainage(drained) {
  const left = drained.in_flight ? `${count(drained.in_flight, "request")} left` : "no request left";
  return drained.until ? `${left}, until ${moment(drained.until)}` : left;
}
