// The line at the top: what this daemon is, and how we stand with it.

import { pause } from "./actions.js";
import { attribute, h, text } from "./dom.js";
import { duration, moment } from "./words.js";

const WORDS = {
  connecting: "connecting",
  live: "live",
  polling: "looks every 2 s",
  away: "away",
  refused: "not allowed",
  hidden: "resting",
};

export function header(store) {
  const facts = document.getElementById("facts");
  const [version, mode, paused, age, uptime] = ["badge", "badge mode", "badge warn", "badge warn", "quiet"].map((c) =>
    h("span", { class: c }),
  );
  facts.append(version, mode, paused, age, uptime);
  const pauses = document.getElementById("pause");
  pauses.addEventListener("click", () => pause(store.state?.paused != null));
  theme();

  function ages() {
    const { state } = store;
    if (!state) return;
    const old = state.sample_age === null ? null : state.sample_age + store.since();
    const stale = !state.ready || (store.standing !== "live" && old > 15);
    age.hidden = !stale;
    if (stale) text(age, old === null ? "no sample yet" : `last sample ${duration(old)} ago`);
    text(uptime, `up ${duration(state.uptime + store.since())}`);
  }

  return {
    render(state) {
      text(version, state.version);
      text(mode, state.mode);
      attribute(mode, "title", MODES[state.mode]);
      paused.hidden = state.paused == null;
      if (state.paused != null) {
        text(paused, state.paused.until ? `paused until ${moment(state.paused.until)}` : "paused");
      }
      pauses.hidden = state.paused === undefined;
      text(pauses, state.paused == null ? "Pause" : "Resume");
      ages();
    },
    tick: ages,
  };
}

const MODES = {
  observe: "It watches, and says what it would do",
  advise: "It says what it would do, and does what you ask for",
  enforce: "It does what it decides",
};

/** How we stand with the daemon, as a dot with a word, and a banner where it is away. */
export function standing(store, live) {
  const place = document.getElementById("standing");
  const banner = document.getElementById("banner");
  const words = h("span", {}, "");
  const left = h("span", { "aria-hidden": "true" }); // it is not counted aloud
  const again = h("button", { type: "button", click: () => live.again() }, "Try now");
  banner.append(words, left, again);
  let until = null;

  function countdown() {
    if (until === null) return;
    const seconds = Math.ceil(Math.max(0, until - performance.now()) / 1000);
    text(left, seconds > 0 ? ` Next try in ${seconds}s.` : " Trying.");
  }

  return {
    show(is, more = {}) {
      store.standing = is;
      attribute(place, "data-is", is);
      text(document.getElementById("standing-text"), WORDS[is]);
      until = more.until ?? null;
      const bad = is === "away" || is === "refused";
      if (bad) {
        text(words, is === "away" ? "The daemon is away, trying again. What you see is how it was." : more.text);
        text(left, "");
        text(again, more.token ? "Say the token" : "Try now");
      }
      banner.hidden = !bad;
      document.body.classList.toggle("stale", bad);
      countdown();
    },
    tick: countdown,
  };
}

function theme() {
  const choice = document.getElementById("theme");
  choice.value = globalThis.ullageTheme.now();
  choice.addEventListener("change", () => globalThis.ullageTheme.set(choice.value));
}
