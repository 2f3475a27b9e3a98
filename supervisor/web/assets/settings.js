// Every setting with its value and whence it is; those that may be changed while running, changed.

import { say } from "./actions.js";
import { Away, get, put, remove } from "./api.js";
import { attribute, cell, h, keyed, table, text } from "./dom.js";
import { mark } from "./may.js";
import { count, shown } from "./words.js";

const COLUMNS = [["Key"], ["Value"], ["Source"], ["Actions"]];
const SOON = 300; // milliseconds after the last letter
const AGAIN = 1500; // milliseconds until what was cut off is asked again
const TELLING = new Set(["settings", "config", "reset", "connected"]);

export function settings(store) {
  const root = document.getElementById("settings");
  const search = h("input", { type: "search", id: "search-settings", placeholder: "Search", "aria-label": "Search the settings", autocomplete: "off", spellcheck: "false", input: () => draw() });
  const changed = h("input", { type: "checkbox", change: () => draw() });
  const tally = h("p", { class: "quiet tally", role: "status" });
  const { element, body } = table("Settings", COLUMNS, { class: "compact settings" });
  const trouble = h("p", { class: "quiet" });
  const details = h(
    "details",
    { toggle: () => details.open && read() },
    h("summary", {}, "Show and change them"),
    h("div", { class: "bar-of-tools" }, search, h("label", { class: "check" }, changed, "only what is not the default"), tally),
    trouble,
    element,
  );
  trouble.hidden = true;
  root.append(details);
  let rows = [];
  let again = null;

  async function read() {
    clearTimeout(again);
    if (!details.open) return;
    try {
      rows = (await get("settings")).settings;
      trouble.hidden = true;
    } catch (error) {
      if (error instanceof Away) {
        // One answer may be cut off and no other: then there is no banner, and no event to come.
        clearTimeout(again);
        again = setTimeout(read, AGAIN);
        return;
      }
      trouble.hidden = false;
      text(trouble, error.message);
    }
    draw();
  }

  function draw() {
    const wanted = search.value.trim().toLowerCase();
    const fits = (r) => `${r.key} ${r.value} ${r.source}`.toLowerCase().includes(wanted);
    const found = rows.filter((r) => fits(r) && !(changed.checked && r.source === "default"));
    keyed(body, found, (r) => r.key, (r) => row(r, read));
    mark();
    element.hidden = found.length === 0;
    text(tally, rows.length ? `${count(found.length, "setting")}` : "");
  }

  search.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    search.value = "";
    draw();
  });

  return {
    heard(kind) {
      if (TELLING.has(kind)) read();
    },
    render() {
      if (store.standing === "polling") read();
    },
  };
}

let numbers = 0;

function row(first, read) {
  const key = h("code", {});
  const value = h("span", { class: "value" });
  const source = h("span", { class: "badge" });
  const undo = h("button", { type: "button", "data-needs": "admin", click: () => takeBack() }, "Undo");
  const edit = h("button", { type: "button", "data-needs": "admin", "aria-expanded": "false", click: () => (form ? close() : open()) }, "Change");
  const cells = [[key], [value], [source], [edit, " ", undo]].map((inner, i) => cell(COLUMNS[i][0], null, ...inner));
  const element = h("tr", { role: "row" }, ...cells);
  let now = first;
  let form = null;

  function open() {
    form = editor(now, { done: close, read });
    cells[1].append(form.element);
    attribute(edit, "aria-expanded", "true");
    form.focus();
  }

  function close() {
    form?.element.remove();
    form = null;
    attribute(edit, "aria-expanded", "false");
    edit.focus();
  }

  async function takeBack() {
    try {
      const change = await remove(`settings/${encodeURIComponent(now.key)}`);
      say([`${now.key} is ${shown(change.value)} again.`, ...change.sentences.slice(1).map(shown)]);
    } catch (error) {
      say([`${now.key} was not taken back: ${error.message}`, ...(error.mistakes ?? [])], { bad: true });
    }
    await read();
    edit.focus();
  }

  return {
    element,
    update(found) {
      now = found;
      text(key, shown(found.key));
      text(value, shown(found.value));
      text(source, shown(found.source));
      attribute(source, "class", `badge ${found.source.split(" ")[0]}`);
      edit.hidden = !found.settable;
      undo.hidden = found.source !== "override";
      attribute(edit, "aria-label", `Change ${shown(found.key)}`);
      attribute(undo, "aria-label", `Undo the override of ${shown(found.key)}`);
    },
  };
}

/** A field for one setting. Whatever is typed is tried first, and what would follow is said. */
function editor(setting, { done, read }) {
  const id = `setting-${(numbers += 1)}`;
  const path = `settings/${encodeURIComponent(setting.key)}`;
  const input = h("input", { id, type: "text", value: setting.value, spellcheck: "false", autocomplete: "off", "aria-label": `New value of ${shown(setting.key)}`, "aria-describedby": `${id}-said`, input: () => soon() });
  const said = h("div", { id: `${id}-said`, class: "said", "aria-live": "polite" });
  const apply = h("input", { type: "checkbox", change: () => preview() });
  const choose = h("label", { class: "check" }, apply, "Apply now to the models that are there");
  choose.hidden = true;
  const save = h("button", { type: "submit", class: "main" }, "Save");
  const element = h(
    "form",
    {
      class: "editor",
      submit: (event) => {
        event.preventDefault();
        keep();
      },
      keydown: (event) => event.key === "Escape" && done(),
    },
    input,
    said,
    choose,
    h("p", { class: "buttons" }, save, h("button", { type: "button", click: done }, "Cancel")),
  );
  let timer = null;
  let asked = 0;

  function soon() {
    clearTimeout(timer);
    timer = setTimeout(preview, SOON);
  }

  function refused(error) {
    attribute(input, "aria-invalid", "true");
    choose.hidden = true;
    const lines = error.mistakes?.length ? error.mistakes : [error.message];
    said.replaceChildren(...lines.map((line) => h("p", { class: "wrong" }, shown(line))));
  }

  /** What would follow; the latest question counts. */
  async function preview() {
    const mine = (asked += 1);
    try {
      const change = await put(path, { value: input.value, apply_now: apply.checked, dry_run: true });
      if (mine !== asked) return;
      attribute(input, "aria-invalid", null);
      const lines = change.sentences.length > 1 ? change.sentences.slice(1) : ["Nobody has to leave for it."];
      said.replaceChildren(h("p", {}, `Would be ${shown(change.value)}; it is ${shown(change.before)}.`), ...lines.map((line) => h("p", {}, shown(line))));
      choose.hidden = change.now.length === 0;
    } catch (error) {
      if (mine === asked) refused(error);
    }
  }

  async function keep() {
    clearTimeout(timer);
    asked += 1;
    try {
      const change = await put(path, { value: input.value, apply_now: apply.checked && !choose.hidden });
      say([`${shown(setting.key)} is ${shown(change.value)} now.`, ...change.sentences.slice(1).map(shown)]);
    } catch (error) {
      refused(error);
      input.focus();
      return;
    }
    await read();
    done();
  }

  return {
    element,
    focus() {
      input.focus();
      input.select();
    },
  };
}
