// What is wrong, the worst first; and a configuration that was refused.

import { h, keyed, text } from "./dom.js";
import { duration, shown } from "./words.js";

const WORST = ["critical", "warning", "info"];
const SIGNS = { critical: "✕", warning: "!", info: "i" };

export function findings(store) {
  const root = document.getElementById("findings");
  const list = h("ul", { class: "findings" });
  const calm = h("p", { class: "calm" }, h("span", { "aria-hidden": "true" }, "✓ "), "Nothing is wrong.");
  calm.hidden = true;
  const notes = h("ul", { class: "lines" });
  const more = h("details", { class: "quiet" }, h("summary", {}, "Notes of the machine"), notes);
  root.append(list, calm, more);
  let ages = [];

  function row(first) {
    const sign = h("span", { class: "sign", "aria-hidden": "true" });
    const severity = h("strong", {});
    const subject = h("code", {});
    const detail = h("span", { class: "detail" });
    const age = h("span", { class: "age quiet" });
    const element = h("li", {}, sign, h("span", { class: "what" }, severity, " ", subject, " ", detail), age);
    const own = {
      element,
      update(found) {
        element.className = `finding ${found.severity}`;
        text(sign, SIGNS[found.severity] ?? "?");
        text(severity, found.severity);
        text(subject, shown(found.subject));
        text(detail, shown(found.detail));
        own.for = found.for;
        own.tick();
      },
      tick: () => text(age, own.for === null ? "" : `for ${duration(own.for + store.since())}`),
    };
    own.for = first.for;
    return own;
  }

  return {
    render(state) {
      const found = [...configured(state.config), ...state.findings];
      found.sort((a, b) => WORST.indexOf(a.severity) - WORST.indexOf(b.severity));
      const rows = keyed(list, found, (f) => `${f.kind} ${f.subject} ${f.severity}`, row);
      ages = [...rows.values()];
      calm.hidden = found.length > 0;
      list.hidden = found.length === 0;
      more.hidden = state.notes.length === 0;
      keyed(notes, state.notes, (n) => n, (n) => ({ element: h("li", {}, shown(n)) }));
      const worst = found.filter((f) => f.severity !== "info").length;
      text(document.querySelector("title"), worst ? `(${worst}) Ullage` : "Ullage");
    },
    tick: () => ages.forEach((row) => row.tick()),
  };
}

/** The configuration file, as a finding: its mistakes, or what waits for a restart. */
function configured(config) {
  if (!config) return [];
  const found = (config.mistakes ?? []).map((mistake) => ({
    kind: "config",
    subject: config.file ?? "configuration",
    severity: "warning",
    detail: `not in force, what was before is: ${typeof mistake === "string" ? mistake : `${mistake.key}: ${mistake.message}`}`,
    for: null,
  }));
  if (config.restart?.length) {
    found.push({
      kind: "restart",
      subject: config.file ?? "configuration",
      severity: "info",
      detail: `in force after a restart: ${config.restart.join(", ")}`,
      for: null,
    });
  }
  return found.map((f, i) => ({ ...f, kind: `${f.kind} ${i}` }));
}
