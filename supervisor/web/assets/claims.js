// What clients hold on to: leases on models, and bytes for jobs of their own.

import { endLease, endReservation } from "./actions.js";
import { attribute, cell, h, keyed, table, text } from "./dom.js";
import { bytes, duration, shown } from "./words.js";

const COLUMNS = [["What"], ["Client"], ["Left", "n"], ["Actions"]];

export function claims(store) {
  const root = document.getElementById("claims");
  const { element, body } = table("Leases and reservations", COLUMNS, { class: "compact" });
  const none = h("p", { class: "quiet" }, "Nobody holds a lease or a reservation.");
  root.append(element, none);
  let rows = [];

  function row() {
    const cells = COLUMNS.map(([title, kind]) => cell(title, kind));
    let now = null;
    const button = h("button", { type: "button", "data-needs": "operate", click: () => now.end(now.claim) }, "End");
    cells[3].append(button);
    return {
      element: h("tr", { role: "row" }, ...cells),
      update(item) {
        now = item;
        text(cells[0], item.what);
        text(cells[1], shown(item.claim.client));
        attribute(button, "aria-label", `End: ${item.what}`);
        this.tick();
      },
      tick: () => text(cells[2], duration(now.claim.left - store.since())),
    };
  }

  return {
    render(state) {
      const leases = state.leases.map((claim) => ({ claim, end: endLease, what: `Lease on ${shown(claim.model)}` }));
      const pools = new Map(state.pools.map((p) => [p.id, p.name]));
      const jobs = state.reservations.map((claim) => ({
        claim,
        end: endReservation,
        what: `${bytes(claim.size)} of ${shown(pools.get(claim.pool) ?? claim.pool)}, ${bytes(claim.held)} of it kept free`,
      }));
      const found = [...leases, ...jobs];
      element.hidden = found.length === 0;
      none.hidden = found.length > 0;
      rows = [...keyed(body, found, (i) => i.claim.id, row).values()];
    },
    tick: () => rows.forEach((r) => r.tick()),
  };
}
