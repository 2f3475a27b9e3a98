// What is asked, and what is told at length. Escape closes each; the focus goes back where it was.

import { h } from "./dom.js";

let numbers = 0;

/**
 * Shows a dialog until it is closed. `build(close)` gives its content; `close(answer)` ends it.
 * Resolves to the answer, null where it was closed by Escape.
 */
export function dialog(title, build, { kind = "", wide = false } = {}) {
  return new Promise((resolve) => {
    const before = document.activeElement;
    const id = `dialog-${(numbers += 1)}`;
    let answer = null;
    const close = (given) => {
      answer = given ?? null;
      element.close();
    };
    const element = h(
      "dialog",
      { "aria-labelledby": id, class: [kind, wide && "wide"].filter(Boolean).join(" ") || null },
      h("h2", { id }, title),
    );
    element.append(...[build(close)].flat().filter(Boolean));
    element.addEventListener("close", () => {
      element.remove();
      if (before?.isConnected) before.focus();
      resolve(answer);
    });
    element.addEventListener("click", (event) => {
      if (event.target === element) close(null); // beside it
    });
    document.body.append(element);
    element.showModal();
  });
}

export function isOpen() {
  return document.querySelector("dialog[open]") !== null;
}

/** The token that a person types, or null. */
export function tokenDialog(again) {
  return dialog(
    "This daemon wants its token",
    (close) => {
      const input = h("input", {
        type: "password",
        id: "token",
        autocomplete: "current-password",
        required: true,
        spellcheck: "false",
        "aria-describedby": "token-help",
        "aria-invalid": again ? "true" : null,
      });
      return h(
        "form",
        {
          submit: (event) => {
            event.preventDefault();
            if (input.value.trim()) close(input.value.trim());
          },
        },
        again && h("p", { class: "wrong", role: "alert" }, "That was not the token."),
        h("label", { for: "token" }, "Token"),
        input,
        h(
          "p",
          { id: "token-help", class: "quiet" },
          "It is what listen.token_file or ULLAGE_TOKEN says. This tab keeps it until it is closed.",
        ),
        h(
          "p",
          { class: "buttons" },
          h("button", { type: "submit", class: "main" }, "Go on"),
          h("button", { type: "button", click: () => close(null) }, "Not now"),
        ),
      );
    },
    { kind: "small" },
  );
}

/** Asks before something is done. Resolves to {force}, or null. `lines` may come later. */
export function confirmDialog(title, lines, verb, { force = null, danger = true } = {}) {
  return dialog(title, (close) => {
    const list = h("ul", { class: "lines", "aria-live": "polite" });
    const box = h("input", { type: "checkbox", id: "confirm-force" });
    Promise.resolve(lines).then(
      (found) => list.replaceChildren(...found.map((line) => h("li", {}, line))),
      (error) => list.replaceChildren(h("li", { class: "wrong" }, error.whole ?? error.message)),
    );
    const go = h(
      "button",
      { type: "button", class: danger ? "danger" : "main", autofocus: true, click: () => close({ force: box.checked }) },
      verb,
    );
    return [
      list,
      force && h("p", {}, h("label", { class: "check" }, box, force)),
      h("p", { class: "buttons" }, go, h("button", { type: "button", click: () => close(null) }, "Cancel")),
    ];
  });
}

/** Something to read. `body` is elements, or a promise of them. */
export function readDialog(title, body) {
  return dialog(
    title,
    (close) => {
      const place = h("div", { class: "reading", tabindex: "0", role: "group", "aria-label": title }, "One moment.");
      Promise.resolve(body).then(
        (found) => place.replaceChildren(...[found].flat()),
        (error) => place.replaceChildren(h("p", { class: "wrong" }, error.whole ?? error.message)),
      );
      return [
        place,
        h("p", { class: "buttons" }, h("button", { type: "button", autofocus: true, click: () => close(null) }, "Close")),
      ];
    },
    { wide: true },
  );
}
