// What an operator may do, and what is said of it. Nothing is done in silence.

import { Away, Problem, get, post, query, remove } from "./api.js";
import { confirmDialog, readDialog } from "./dialogs.js";
import { h } from "./dom.js";
import { denial } from "./may.js";
import { bytes, duration, moment, shown } from "./words.js";

const STAYS = 8000; // milliseconds of a good word; what went wrong stays until it is read
const MOST_NOTES = 4;

/** Says it in the corner and to whoever listens; returns the note. `bad`: it stays until it is put
 * away. */
export function say(words, { bad = false, stays = bad } = {}) {
  const lines = [words].flat();
  const place = document.getElementById("said");
  const note = h("div", { class: bad ? "note bad" : "note" });
  const away = h("button", { type: "button", class: "away", "aria-label": "Put away", click: () => note.remove() }, "×");
  note.append(h("div", {}, ...lines.map((line) => h("p", {}, line))), away);
  place.append(note);
  while (place.children.length > MOST_NOTES) place.firstElementChild.remove();
  if (!stays) setTimeout(() => note.remove(), STAYS);
  return note;
}

/** Does it, and says what happened. Returns the answer; null where it was refused. */
export async function attempt(what, doing, told = null) {
  try {
    const answer = await doing();
    const words = told?.(answer);
    if (words) say(words);
    return answer;
  } catch (error) {
    if (error.name === "AbortError") return null;
    const lines = [`${what}: ${error.message}`];
    if (error instanceof Problem) lines.push(...error.mistakes);
    say(lines, { bad: true });
    return null;
  }
}

/** Is it more than whoever looks here may do? Then that is said; keys come here past the buttons. */
function denied(scope = "operate") {
  const why = denial(scope);
  if (why !== null) say(why, { bad: true });
  return why !== null;
}

/** The words of a wish that was carried out, or not. */
function sayWish(what, answer) {
  if (answer === null) return;
  const told = (answer.sentences ?? []).slice(1);
  const lines = told.length ? told.slice(-4) : [];
  say([answer.ok ? `${what}: done.` : `${what}: not done.`, ...lines.map(shown)], { bad: !answer.ok });
}

/** In the background: a page that is closed takes nothing back, and no connection waits with it. */
async function wish(what, path, body) {
  if (denied()) return;
  const note = say(`${what}…`, { stays: true });
  const done = await attempt(what, async () => {
    const { operation } = await post(path, { ...body, background: true });
    return ended(operation);
  });
  note.remove();
  sayWish(what, done);
}

/** The answer to a wish, once it has been carried out. Raises Problem where it was refused. */
async function ended(operation) {
  for (let wait = 250; ; wait = Math.min(wait * 1.5, 3000)) {
    await new Promise((resolve) => setTimeout(resolve, wait));
    let found;
    try {
      found = await get(`operations/${encodeURIComponent(operation)}`);
    } catch (error) {
      if (error instanceof Away) continue; // the banner says it; a new daemon does not know it
      throw error;
    }
    if (found.problem) throw new Problem(found.problem.status, found.problem);
    if (found.answer) return found.answer;
  }
}

/** What a plan says, as lines. */
async function planned(body) {
  const plan = await post("plan", body);
  return { works: plan.works, actions: plan.actions, lines: plan.sentences.map(shown) };
}

export async function unload(model) {
  if (denied()) return;
  const name = shown(model.name);
  const lines = (async () => {
    const holds = `It holds ${bytes(model.size)}.`;
    const work = model.busy ? ["It is at work; it goes when its requests have ended."] : [];
    return [holds, ...work, ...(await planned({ evict: [model.name] })).lines];
  })();
  const force = model.busy ? "End its requests: do not wait for them" : null;
  const answer = await confirmDialog(`Unload ${name}?`, lines, "Unload", { force });
  if (answer === null) return;
  await wish(`Unload ${name}`, "unload", { models: [model.name], force: answer.force });
}

export async function load(model) {
  if (denied()) return;
  const name = shown(model.name);
  const plan = await attempt(`Load ${name}`, () => planned({ load: model.name }));
  if (plan === null) return;
  const leaves = plan.actions.some((a) => a.action === "evict");
  if (leaves || !plan.works) {
    const title = plan.works ? `Load ${name}? Somebody has to leave.` : `${name} does not fit now. Try all the same?`;
    if ((await confirmDialog(title, plan.lines, "Load", { danger: leaves })) === null) return;
  }
  await wish(`Load ${name}`, "load", { model: model.name });
}

export const sleep = (model) => wish(`Let ${shown(model.name)} sleep`, "sleep", { models: [model.name] });
export const wake = (model) => wish(`Wake ${shown(model.name)}`, "wake", { model: model.name });

export async function pin(model) {
  if (denied()) return;
  const name = shown(model.name);
  await attempt(`Pin ${name}`, () => post("pin", { model: model.name }), () => `${name} is pinned: it stays until it is unpinned.`);
}

export async function unpin(model) {
  if (denied()) return;
  const name = shown(model.name);
  await attempt(`Unpin ${name}`, () => post("unpin", { model: model.name }), () => `${name} is not pinned any more.`);
}

export function why(model) {
  return readDialog(`Why: ${shown(model.name)}`, reasons(model.name));
}

/** What is true of it now, then decision by decision, each under its own line. */
async function reasons(name) {
  const found = await get(query("why", { model: name }));
  const times = new Map(found.decisions.map((d) => [d.id, d.at]));
  const groups = [[null, []]];
  for (const sentence of found.sentences) {
    const decision = /^(d-\d+)(?:, [^:]+ ago)?: (.*)$/s.exec(sentence);
    if (decision === null) groups.at(-1)[1].push(sentence);
    else groups.push([decision, []]);
  }
  return groups.flatMap(([decision, lines]) => [
    decision && h("h3", {}, shown(decision[2]), " ", h("span", { class: "quiet" }, times.has(decision[1]) ? moment(times.get(decision[1])) : decision[1])),
    lines.length > 0 && h("ul", { class: "lines" }, ...lines.map((s) => h("li", {}, shown(s)))),
  ]).filter(Boolean);
}

export async function pause(isPaused) {
  if (denied()) return;
  if (isPaused) {
    await attempt("Resume", () => remove("pause"), () => "Ullage acts on its own account again.");
    return;
  }
  const lines = ["Ullage loads and unloads nothing on its own account until it is resumed.", "What you ask for is done all the same."];
  if ((await confirmDialog("Pause Ullage?", lines, "Pause", { danger: false })) === null) return;
  await attempt("Pause", () => post("pause", {}), () => "Paused: nothing is loaded or unloaded that you do not ask for.");
}

/** `drained` as the state tells it, of this engine or, with engine null, of all; null: it is not. */
export async function drain(engine, drained) {
  if (denied()) return;
  const id = shown(engine.id);
  if (drained !== null) {
    const who = drained.engine === null ? "every engine" : id;
    const path = drained.engine === null ? "drain" : query("drain", { engine: engine.id });
    await attempt(`Take ${who} back`, () => remove(path), () => `Back at work: ${who}.`);
    return;
  }
  const lines = ["It takes no new request and loads nothing.", "Its requests end in peace, then its models are unloaded."];
  if ((await confirmDialog(`Drain ${id}?`, lines, "Drain")) === null) return;
  await attempt(`Drain ${id}`, () => post("drain", { engine: engine.id }), () => `${id} is being drained.`);
}

export async function endLease(lease) {
  if (denied()) return;
  const lines = [`${shown(lease.client)} holds ${shown(lease.model)} for another ${duration(lease.left)}.`];
  if ((await confirmDialog("End this lease?", lines, "End it")) === null) return;
  await attempt("End the lease", () => remove(`leases/${encodeURIComponent(lease.id)}`), () => `The lease on ${shown(lease.model)} has ended.`);
}

export async function endReservation(job) {
  if (denied()) return;
  const lines = [`${shown(job.client)} keeps ${bytes(job.size)} for another ${duration(job.left)}.`];
  if ((await confirmDialog("End this reservation?", lines, "End it")) === null) return;
  await attempt("End the reservation", () => remove(`reservations/${encodeURIComponent(job.id)}`), () => `The reservation of ${bytes(job.size)} has ended.`);
}
