// The other hosts, as the agent of this one knows them. Not there where this host is in no fleet.

import { cell, h, keyed, table, text } from "./dom.js";
import { bytes, count, duration, shown } from "./words.js";

const COLUMNS = [["Host"], ["State"], ["Heard", "n"], ["Headroom", "n"], ["Promised", "n"], ["Ready", "n"], ["In flight", "n"], ["Waiting", "n"]];
const SIGNS = { here: "●", silent: "◌", lost: "✕", drained: "◌" };
const CHIPS = { here: "up", silent: "draining", lost: "down", drained: "draining" };

export function fleet(store) {
  const root = document.getElementById("fleet");
  const place = h("p", { class: "quiet place" });
  const trouble = h("ul", { class: "troubles" });
  const { element, body } = table("Hosts of the fleet", COLUMNS, { class: "compact hosts" });
  root.append(place, trouble, element);
  let rows = [];

  function row() {
    const name = h("b", {});
    const chip = h("span", { class: "chip" });
    const rests = h("span", { class: "fault" });
    const cells = COLUMNS.map(([title, kind], i) => cell(title, kind, ...([[name], [chip, " ", rests]][i] ?? [])));
    let now = null;
    return {
      element: h("tr", { role: "row" }, ...cells),
      update(host) {
        now = host;
        text(name, shown(host.host));
        chip.className = `chip ${CHIPS[host.presence] ?? "unknown"}`;
        text(chip, `${SIGNS[host.presence] ?? "?"} ${host.presence}`);
        text(rests, host.rests === null ? "" : shown(host.rests));
        text(cells[3], bytes(host.headroom));
        text(cells[4], bytes(host.promised));
        for (const [i, n] of [host.ready, host.in_flight, host.waiting].entries()) text(cells[5 + i], n);
        this.tick();
      },
      tick: () => text(cells[2], duration(now.age + store.since())),
    };
  }

  return {
    render({ fleet: now }) {
      root.hidden = !now;
      if (!now) return;
      text(place, standing(now));
      const wrong = now.fault === null ? now.trouble : [now.fault];
      keyed(trouble, wrong.map((line, i) => ({ line, i })), (w) => w.i, () => {
        const item = h("li", { class: "fault" });
        return { element: item, update: (w) => text(item, shown(w.line)) };
      });
      trouble.hidden = wrong.length === 0;
      element.hidden = now.hosts.length === 0;
      rows = [...keyed(body, now.hosts, (host) => host.host, row).values()];
    },
    tick: () => rows.forEach((r) => r.tick()),
  };
}

function standing(now) {
  if (now.fault !== null) return `This host is ${shown(now.host)}. What the others are like is not known now.`;
  const all = now.hosts.length + now.left_out;
  const how = now.connected ? `by ${shown(now.backend)}` : "not connected: as it was heard last";
  const more = now.left_out ? `, ${now.left_out} of them not shown` : "";
  return `This host is ${shown(now.host)}, of ${count(all, "host")}${more}; ${how}. ${count(now.promises, "promise")} in the ledger.`;
}
