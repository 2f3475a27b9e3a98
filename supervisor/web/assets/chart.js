// One pool's headroom as a line: uPlot, which is fetched when there is something to draw.

import { h, text } from "./dom.js";
import { bytes, clock, moment, shown } from "./words.js";

const HEIGHT = 132;
const SIGNS = { evicted: "▼", loaded: "▲", left: "◇", failed: "✕" };
const COLOURS = { evicted: "--mark-evicted", loaded: "--mark-loaded", left: "--mark-left", failed: "--bad" };
const GIB = 1024 ** 3;

let library = null;

/** Null where it cannot be had, as while the daemon is away: whoever draws next asks again. */
function uplot() {
  library ??= new Promise((resolve) => {
    const style = h("link", { rel: "stylesheet", href: "assets/uplot.css" });
    const load = () => resolve(globalThis.uPlot);
    const error = () => {
      library = null;
      style.remove();
      script.remove();
      resolve(null);
    };
    const script = h("script", { src: "assets/uplot.js", load, error });
    document.head.append(style, script);
  });
  return library;
}

/** A custom property as a colour that a canvas takes: light-dark() is worked out. */
function colour(name) {
  const probe = h("i", {});
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

/** For `keyed`: {id, name, line: {t, headroom, total, reserve}, marks, minutes}. */
export function chart(first) {
  const title = h("h3", {}, shown(first.name));
  const now = h("b", {});
  const place = h("div", { class: "plot", "aria-hidden": "true" });
  const under = h("p", { class: "under quiet", "aria-hidden": "true" });
  const element = h("figure", { class: "chart" }, h("figcaption", {}, title, now), place, under);
  let item = first;
  let plot = null;
  let wanted = false;

  async function draw() {
    latest();
    if (wanted) return;
    wanted = true;
    const Plot = await uplot();
    wanted = false;
    if (Plot === null || !element.isConnected) return;
    const data = [item.line.t, item.line.headroom.map((v) => (v === null ? null : v / GIB))];
    if (plot === null) build(Plot, data);
    else plot.setData(data);
  }

  function latest() {
    const values = item.line.headroom;
    seen(values.at(-1));
    const known = values.filter((v) => v !== null);
    if (known.length) idle(`least ${bytes(Math.min(...known))}, most ${bytes(Math.max(...known))}`);
  }

  function seen(headroom) {
    text(now, headroom === null || headroom === undefined ? "" : bytes(headroom));
  }

  let rest = "";
  function idle(words) {
    rest = words;
    if (plot === null || plot.cursor.idx === null || plot.cursor.idx === undefined) text(under, words);
  }

  function build(Plot, data) {
    const line = colour("--accent");
    const grid = { stroke: colour("--grid"), width: 1 };
    const font = "11px system-ui, sans-serif";
    const axis = { stroke: colour("--quiet"), grid, ticks: { show: false }, font };
    plot = new Plot(
      {
        width: Math.max(120, place.clientWidth),
        height: HEIGHT,
        legend: { show: false },
        cursor: { y: false, sync: { key: "ullage" }, points: { size: 6 } },
        scales: {
          x: { time: true, range: () => span() },
          y: { range: (_, low, high) => bounds(low, high) },
        },
        axes: [
          { ...axis, size: 24, space: 70, values: (_, ticks) => ticks.map((at) => clock(at, span()[1] - span()[0] < 600)) },
          { ...axis, size: 46, space: 28, values: (_, ticks) => ticks.map((v) => `${+v.toFixed(2)}`), label: "GiB", labelSize: 14, labelFont: font },
        ],
        series: [{}, { stroke: line, width: 1.5, fill: colour("--accent-faint"), points: { show: false }, spanGaps: false }],
        hooks: { draw: [reserve, marks], setCursor: [tell] },
      },
      data,
      place,
    );
  }

  function span() {
    const end = item.line.t.at(-1) ?? Date.now() / 1000;
    return [Math.max(end - item.minutes * 60, item.line.t[0] ?? 0), end];
  }

  function bounds(low, high) {
    const [least, most] = [Math.min(0, low ?? 0), Math.max(0, high ?? 1)];
    const room = (most - least || 1) * 0.12;
    return [least < 0 ? least - room : 0, most + room];
  }

  /** The line below which the reserve is touched. */
  function reserve(u) {
    const y = Math.round(u.valToPos(0, "y", true));
    stroke(u, colour("--bad"), [4, 3], (c) => {
      c.moveTo(u.bbox.left, y);
      c.lineTo(u.bbox.left + u.bbox.width, y);
    });
  }

  function marks(u) {
    const ratio = devicePixelRatio || 1;
    for (const mark of item.marks) {
      const x = Math.round(u.valToPos(mark.at, "x", true));
      if (x < u.bbox.left || x > u.bbox.left + u.bbox.width) continue;
      const tint = colour(COLOURS[mark.what] ?? "--quiet");
      stroke(u, tint, [2, 3], (c) => {
        c.moveTo(x, u.bbox.top + 10 * ratio);
        c.lineTo(x, u.bbox.top + u.bbox.height);
      });
      u.ctx.save();
      u.ctx.fillStyle = tint;
      u.ctx.font = `${11 * ratio}px system-ui, sans-serif`;
      u.ctx.textAlign = "center";
      u.ctx.fillText(SIGNS[mark.what] ?? "•", x, u.bbox.top + 9 * ratio);
      u.ctx.restore();
    }
  }

  function stroke(u, tint, dash, path) {
    const { ctx } = u;
    ctx.save();
    ctx.strokeStyle = tint;
    ctx.setLineDash(dash.map((d) => d * (devicePixelRatio || 1)));
    ctx.beginPath();
    path(ctx);
    ctx.stroke();
    ctx.restore();
  }

  /** What the pointer is at: the value, and what happened near it. */
  function tell(u) {
    const { idx, left } = u.cursor;
    if (idx === null || idx === undefined || left < 0) {
      text(under, rest);
      return;
    }
    const value = item.line.headroom[idx];
    const near = item.marks.filter((m) => Math.abs(u.valToPos(m.at, "x") - left) < 6).slice(-3);
    const happened = near.map((m) => `${SIGNS[m.what] ?? ""} ${shown(m.model)} ${bytes(m.size)}`);
    text(under, [moment(item.line.t[idx]), value === null ? "not read" : bytes(value), ...happened].join(" · "));
  }

  function rebuild() {
    plot?.destroy();
    plot = null;
    draw();
  }

  new ResizeObserver(() => {
    if (plot !== null && place.clientWidth > 0) plot.setSize({ width: place.clientWidth, height: HEIGHT });
  }).observe(place);
  document.documentElement.addEventListener("theme", rebuild);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", rebuild);

  return {
    element,
    draw,
    seen,
    named: (name) => text(title, shown(name)),
    update(found) {
      item = found;
      text(title, shown(found.name));
      draw();
    },
  };
}
