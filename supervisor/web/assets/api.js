// The API, asked as any client asks it: with the token, and every refusal as a Problem.

const BASE = new URL("api/v1/", document.baseURI);
const KEY = "ullage-token";

/** What the daemon refused: `detail` in words, `mistakes` one by one. */
export class Problem extends Error {
  constructor(status, body) {
    const detail = body?.detail ?? `the daemon answered with status ${status}`;
    const closest = body?.closest ?? [];
    super(closest.length ? `${detail}; did you mean ${closest.join(" or ")}?` : detail);
    this.status = status;
    this.mistakes = (body?.errors ?? []).map((e) => (typeof e === "string" ? e : e.message ?? JSON.stringify(e)));
    this.body = body;
  }

  /** Everything that is wrong, in one text. */
  get whole() {
    return [this.message, ...this.mistakes].join("; ");
  }
}

/** Nobody answered. */
export class Away extends Error {
  constructor() {
    super("the daemon does not answer");
  }
}

const USABLE = /^[\x21-\x7e]+$/; // no other can be sent in a header

let token = null;
try {
  token = sessionStorage.getItem(KEY);
} catch {
  // It is asked for once more in each page.
}
if (!USABLE.test(token ?? "")) token = null;
let answering = null;
let ask = async () => null;

/** `question(again)` gives the token that a person typed, or null. */
export function askForToken(question) {
  ask = question;
}

export const hasToken = () => token !== null;

/** One that can be sent at all, or null. What was copied from a text may have marks in it that nobody sees. */
async function typed(again) {
  let given = await ask(again);
  while (given !== null && !USABLE.test(given)) given = await ask(true);
  return given;
}

async function freshToken(refused) {
  if (token !== refused) return token; // another request has asked meanwhile
  answering ??= typed(refused !== null).finally(() => (answering = null));
  const given = await answering;
  if (given !== null) {
    token = given;
    try {
      sessionStorage.setItem(KEY, given);
    } catch {
      // It holds while the page is open.
    }
  }
  return given;
}

/** Is the token good, and not even for a look? It is of some program, typed here by mistake. */
async function isOfAnother(response, used) {
  return response.status === 403 && used !== null && (await json(response.clone()))?.needs === "read";
}

/** A response, whatever its status but 401. Raises Away, or Problem where no token is given. */
export async function open(path, { method = "GET", body, headers = {}, signal } = {}) {
  for (;;) {
    const used = token;
    const all = { accept: "application/json", ...headers };
    if (used !== null) all.authorization = `Bearer ${used}`;
    if (body !== undefined) all["content-type"] = "application/json";
    let response;
    try {
      response = await fetch(new URL(path, BASE), {
        method,
        headers: all,
        body: body === undefined ? undefined : JSON.stringify(body),
        cache: "no-store",
        credentials: "omit",
        signal,
      });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new Away();
    }
    if (response.status !== 401 && !(await isOfAnother(response, used))) return response;
    if ((await freshToken(used)) === null) {
      throw new Problem(response.status, await json(response));
    }
  }
}

async function json(response) {
  try {
    return await response.json();
  } catch {
    return null;
  }
}

/** What the daemon answers. Raises Problem where it refuses, Away where it does not answer. */
export async function request(method, path, body, options = {}) {
  const response = await open(path, { ...options, method, body });
  const answer = await json(response);
  if (!response.ok) throw new Problem(response.status, answer);
  if (answer === null) throw new Away(); // it was cut short
  return answer;
}

export const get = (path, options) => request("GET", path, undefined, options);
export const post = (path, body = {}) => request("POST", path, body);
export const put = (path, body) => request("PUT", path, body);
export const remove = (path) => request("DELETE", path);

/** "decisions?limit=5": what is null is left out. */
export function query(path, values) {
  const given = Object.entries(values).filter(([, v]) => v !== null && v !== undefined);
  return `${path}?${new URLSearchParams(given)}`;
}
