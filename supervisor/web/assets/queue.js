// What goes through the gateway: requests at work, and those that wait for a model.

import { eitherOr, h, keyed, plainRow, table, text } from "./dom.js";
import { duration, shown } from "./words.js";

const COLUMNS = [["Model"], ["In flight", "n"], ["Waiting", "n"], ["Longest", "n"]];
const CALLERS = [["Caller"], ["In flight", "n"], ["Requests", "n"], ["Last", "n"]];

export function queue(store) {
  const root = document.getElementById("queue");
  const place = h("p", { class: "quiet place" });
  const { element, body } = table("Requests by model", COLUMNS, { class: "compact" });
  const none = h("p", { class: "quiet" }, "No request is at work or waits.");
  const callers = table("Who asks", CALLERS, { class: "compact" });
  const tokens = h("details", {}, h("summary", {}, "Callers"), callers.element);
  const refused = h("p", { class: "quiet" });
  root.append(place, element, none, refused, tokens);

  return {
    render({ gateway }) {
      const rows = new Map();
      for (const { model, count } of gateway?.in_flight ?? []) rows.set(model, { model, flying: count, held: 0, longest: null });
      for (const { model, count, longest } of gateway?.held ?? []) {
        rows.set(model, { model, flying: 0, ...rows.get(model), held: count, longest });
      }
      const found = [...rows.values()].sort((a, b) => b.held - a.held || a.model.localeCompare(b.model));
      text(place, where(gateway));
      eitherOr(element, none, found.length > 0);
      none.hidden ||= gateway == null;
      keyed(body, found, (r) => r.model, plainRow(COLUMNS, (r) => [shown(r.model), r.flying, r.held, r.longest === null ? "" : duration(r.longest + store.since())]));
      const turned = Object.entries(gateway?.refused ?? {});
      refused.hidden = turned.length === 0;
      text(refused, `Refused so far: ${turned.map(([why, n]) => `${n} ${shown(why)}`).join(", ")}`);
      const known = gateway?.tokens ?? [];
      tokens.hidden = known.length === 0;
      keyed(callers.body, known, (t) => t.name, plainRow(CALLERS, (t) => [shown(t.name), t.in_flight, t.requests, t.idle === null ? "never" : `${duration(t.idle)} ago`]));
    },
  };
}

function where(gateway) {
  if (gateway == null) return "The gateway is off.";
  if (gateway.fault !== null) return `The gateway does not listen: ${shown(gateway.fault)}`;
  return `Through ${gateway.addresses.join(", ")}`;
}
