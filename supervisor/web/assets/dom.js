// Elements are built from text, never from markup: names come from strangers.

/** `h("td", {class: "n"}, "text", child)`; attributes that are null, undefined or false are left out. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name, value);
    else if (name === "class") element.className = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((c) => c !== null && c !== undefined && c !== false));
  return element;
}

/** Sets the text where it differs: what a reader has heard is not said again. */
export function text(element, value) {
  const words = String(value);
  if (element.textContent !== words) element.textContent = words;
  return element;
}

export function attribute(element, name, value) {
  if (value === null || value === undefined || value === false) element.removeAttribute(name);
  else {
    const words = value === true ? "" : String(value);
    if (element.getAttribute(name) !== words) element.setAttribute(name, words);
  }
}

const kept = new WeakMap();

/**
 * The children of `parent`, one for each of `items`. `make(item)` gives {element, update}; an
 * element stays while its key does, and with it the focus, what is open and what is typed.
 */
export function keyed(parent, items, key, make) {
  const before = kept.get(parent) ?? new Map();
  const now = new Map();
  const focused = parent.contains(document.activeElement) ? document.activeElement : null;
  for (const item of items) {
    let id = String(key(item));
    while (now.has(id)) id += "\u0000";
    const row = before.get(id) ?? make(item);
    row.update?.(item);
    now.set(id, row);
  }
  for (const [id, row] of before) if (!now.has(id)) row.element.remove();
  let at = parent.firstElementChild;
  for (const { element } of now.values()) {
    if (element === at) at = at.nextElementSibling;
    else parent.insertBefore(element, at);
  }
  // What is moved has lost the focus, and so has what is gone: then whatever it was in has it.
  if (focused !== null && document.activeElement !== focused) {
    (focused.isConnected ? focused : parent.closest("[tabindex]"))?.focus({ preventScroll: true });
  }
  kept.set(parent, now);
  return now;
}

/** A table with its columns named; `columns` are [title, class]. `body` is for `keyed`. */
export function table(caption, columns, attributes = {}) {
  const body = h("tbody", { role: "rowgroup" });
  const heads = columns.map(([title, kind]) =>
    h("th", { scope: "col", role: "columnheader", class: kind }, title),
  );
  // Narrow tables are laid out as blocks; the roles say that they are tables all the same.
  const element = h(
    "table",
    { role: "table", ...attributes },
    h("caption", { class: "unseen" }, caption),
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, ...heads)),
    body,
  );
  return { element, body };
}

/** A cell; `title` is that of its column, which narrow screens show beside it. */
export function cell(title, kind, ...children) {
  return h("td", { role: "cell", class: kind, "data-title": title || null }, ...children);
}

/** Rows of plain text for `table`: `of(item)` gives the texts of its cells. */
export function plainRow(columns, of) {
  return (item) => {
    const cells = columns.map(([title, kind]) => cell(title, kind));
    return {
      element: h("tr", { role: "row" }, ...cells),
      update: (now) => of(now).forEach((words, i) => text(cells[i], words)),
    };
  };
}

/** A sentence in place of an empty table. */
export function eitherOr(full, empty, isFull) {
  full.hidden = !isFull;
  empty.hidden = isFull;
}
