// Keys for the whole page. Those of the models are in models.js: they count where a row has the focus.

import { dialog, isOpen } from "./dialogs.js";
import { h } from "./dom.js";

const KEY = "ullage-keys";
const TABLE = [
  ["/", "filter the models"],
  ["j or ↓, k or ↑", "next model, the one before"],
  ["p", "pin the model, or unpin it"],
  ["l", "load it"],
  ["u", "unload it (asks)"],
  ["s", "let it sleep, or wake it"],
  ["w or Enter", "why it is where it is"],
  ["?", "these keys"],
  ["Escape", "close what is open; empty the filter"],
];

let works = true;
try {
  works = localStorage.getItem(KEY) !== "off";
} catch {
  // They work.
}

/** Is this event a single key for us, and not a letter of what somebody types? */
export function single(event) {
  if (!works || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return false;
  return !isOpen() && !event.target.closest?.("input, select, textarea, [contenteditable]");
}

export function showKeys() {
  const rows = TABLE.map(([keys, what]) => [h("dt", {}, ...keys.split(/( or |, )/).map((k) => (/^( or |, )$/.test(k) ? k : h("kbd", {}, k)))), h("dd", {}, what)]);
  const box = h("input", {
    type: "checkbox",
    change: () => {
      works = box.checked;
      try {
        localStorage.setItem(KEY, works ? "on" : "off");
      } catch {
        // It holds while the page is open.
      }
    },
  });
  box.checked = works;
  return dialog("Keys", (close) => [
    h("dl", { class: "keys" }, ...rows.flat()),
    h("p", {}, h("label", { class: "check" }, box, "Single keys work (Escape always does)")),
    h("p", { class: "buttons" }, h("button", { type: "button", autofocus: true, click: () => close(null) }, "Close")),
  ]);
}

export function keys(models) {
  document.getElementById("show-keys").addEventListener("click", () => showKeys());
  document.addEventListener("keydown", (event) => {
    if (!single(event)) return;
    const todo = { "/": models.focusFilter, "?": showKeys, j: models.focusRow, k: models.focusRow }[event.key];
    if (todo === undefined) return;
    event.preventDefault();
    todo();
  });
}
