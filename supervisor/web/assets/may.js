// What whoever looks at this page may do, by the daemon's word. What it may not is shown as such, and
// refused here with the reason; the daemon would refuse it as well.

import { get } from "./api.js";
import { attribute } from "./dom.js";
import { shown } from "./words.js";

const HIGHEST = ["admin", "operate", "read"];

let who = null; // not known: the daemon decides

/** Asks anew who this is. An older daemon does not say. */
export async function learn() {
  try {
    who = await get("whoami");
  } catch {
    who = null;
  }
  mark();
}

/** Why it may not do what takes `scope`; null: it may, for all that is known here. */
export function denial(scope) {
  if (who === null || who.scopes.includes(scope)) return null;
  const has = HIGHEST.find((s) => who.scopes.includes(s)) ?? "less";
  return `This needs ${scope}, and ${who.via === "token" ? "the token " : ""}${shown(who.name)} has ${has}.`;
}

/** Shows of each button whether it can be used. */
export function mark() {
  for (const element of document.querySelectorAll("[data-needs]")) {
    const why = denial(element.dataset.needs);
    if (why === null && !element.hasAttribute("data-denied")) continue;
    attribute(element, "data-denied", why !== null);
    attribute(element, "aria-disabled", why === null ? null : "true");
    attribute(element, "title", why);
  }
}

/** `say` is called with the reason when a button is pressed that cannot be used. */
export function refuse(say) {
  const pressed = (event) => {
    const button = event.target.closest?.("[data-needs]");
    const why = button ? denial(button.dataset.needs) : null;
    if (why === null) return;
    event.preventDefault();
    event.stopPropagation();
    say(why);
  };
  document.addEventListener("click", pressed, { capture: true });
}
