// A list of what happened, the latest first: read again soon after something is told of it.

import { Problem } from "./api.js";
import { h, keyed, text } from "./dom.js";

const SOON = 300; // milliseconds: several things of it are told at once

/** `read` asks for the list as it is now, `more` for the older ones too; both draw it by `draw`. */
export function latest({ empty, telling, row, read, more }) {
  const list = h("ol", { class: "decisions" });
  const none = h("p", { class: "quiet" }, empty);
  const older = h("button", { type: "button", click: () => askOnce() }, "Older ones");
  const trouble = h("p", { class: "wrong", hidden: true });
  none.hidden = older.hidden = true;
  let due = null;
  let seen = null;
  let asking = false;

  /** A second click while the first is answered would have the same ones come twice. */
  async function askOnce() {
    if (asking) return;
    asking = true;
    await ask(more);
    asking = false;
  }

  async function ask(reading) {
    due = null;
    try {
      await reading();
      trouble.hidden = true;
    } catch (error) {
      if (!(error instanceof Problem) || error.status === 401) return; // the banner says it
      trouble.hidden = false;
      text(trouble, error.message);
    }
  }

  function later() {
    due ??= setTimeout(() => ask(read), SOON);
  }

  return {
    elements: [trouble, list, none, older],
    draw(rows) {
      none.hidden = rows.length > 0;
      keyed(list, rows, (one) => one.id, row);
    },
    offer(are) {
      older.hidden = !are;
    },
    heard(kind) {
      if (telling.has(kind)) later();
    },
    /** Where no events are told: `now` is different when it is time to look. */
    polled(now) {
      if (now !== seen) later();
      seen = now;
    },
  };
}
