// Numbers and names as people read them.

const HOUR = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

/** Bytes: "5.6 GiB". */
export function bytes(n) {
  if (n === null || n === undefined) return "not known";
  const sign = n < 0 ? "−" : "";
  let size = Math.abs(n);
  let unit = 0;
  while (size >= 1023.95 && unit < UNITS.length - 1) {
    size /= 1024;
    unit += 1;
  }
  const text = unit === 0 || size >= 100 ? Math.round(size).toString() : size.toFixed(1);
  return `${sign}${text.replace(/\.0$/, "")} ${UNITS[unit]}`;
}

/** Seconds: "8s", "1m30s", "3h20m", "2d4h". */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "not known";
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s}s`;
  const [m, h, d] = [Math.floor(s / 60), Math.floor(s / 3600), Math.floor(s / 86400)];
  if (m < 60) return s % 60 ? `${m}m${s % 60}s` : `${m}m`;
  if (h < 24) return m % 60 ? `${h}h${m % 60}m` : `${h}h`;
  return h % 24 ? `${d}d${h % 24}h` : `${d}d`;
}

/** Unix time: the hour, and the day where it is not today's. */
export function moment(at) {
  if (at === null || at === undefined) return "not known";
  const when = new Date(at * 1000);
  const hour = clock(at, true);
  if (when.toDateString() === new Date().toDateString()) return hour;
  return `${when.toLocaleDateString([], { day: "numeric", month: "short" })} ${hour}`;
}

/** Unix time: the hour alone. */
export function clock(at, seconds) {
  return new Date(at * 1000).toLocaleTimeString([], seconds ? { ...HOUR, second: "2-digit" } : HOUR);
}

/** A name that a stranger chose: what would not show, or would turn the line round, is written out. */
export function shown(name) {
  return String(name).replace(
    /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/gu,
    (c) => `\\u{${c.codePointAt(0).toString(16)}}`,
  );
}

export function count(n, noun, many = `${noun}s`) {
  return `${n} ${n === 1 ? noun : many}`;
}

/** "a, b and 3 more" */
export function some(names, most = 3) {
  const first = names.slice(0, most).map(shown).join(", ");
  return names.length > most ? `${first} and ${names.length - most} more` : first;
}

export function capital(text) {
  return text ? text[0].toUpperCase() + text.slice(1) : text;
}
