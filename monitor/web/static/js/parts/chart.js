// Counts with the band they usually keep to, by uPlot (vendored); and the same numbers as a table.
import { fill, h } from "../dom.js";
import { clock, count, decimal, moment, utc } from "../format.js";
import { colour, onTheme } from "../theme.js";

let library = null;

async function load() {
  if (!library) {
    document.head.append(h("link", { rel: "stylesheet", href: "/static/vendor/uplot/uPlot.min.css" }));
    library = import("../../vendor/uplot/uPlot.esm.js");
  }
  return (await library).default;
}

function bars(u, index, paint) {
  const { ctx } = u;
  const [xs, ys] = [u.data[0], u.data[index]];
  const step = xs.length > 1 ? xs[1] - xs[0] : 3600;
  const wide = Math.max(1, Math.abs(u.valToPos(xs[0] + step, "x", true) - u.valToPos(xs[0], "x", true)) * 0.72);
  const floor = u.valToPos(0, "y", true);
  ctx.save();
  xs.forEach((x, at) => {
    if (ys[at] === null || ys[at] === undefined) return;
    const top = u.valToPos(ys[at], "y", true);
    ctx.fillStyle = paint(at);
    ctx.fillRect(u.valToPos(x + step / 2, "x", true) - wide / 2, top, wide, Math.max(0, floor - top));
  });
  ctx.restore();
}

function drawBand(u, low, high, line) {
  const { ctx } = u;
  const step = u.data[0].length > 1 ? u.data[0][1] - u.data[0][0] : 3600;
  ctx.save();
  for (let at = 0; at < u.data[0].length; at++) {
    const [a, b, c] = [u.data[low][at], u.data[high][at], u.data[line][at]];
    const left = u.valToPos(u.data[0][at], "x", true);
    const right = u.valToPos(u.data[0][at] + step, "x", true);
    if (a !== null && b !== null && a !== undefined && b !== undefined) {
      ctx.fillStyle = colour("accent");
      ctx.globalAlpha = 0.17;
      ctx.fillRect(left, u.valToPos(b, "y", true), right - left, u.valToPos(a, "y", true) - u.valToPos(b, "y", true));
    }
    if (c !== null && c !== undefined) {
      ctx.globalAlpha = 1;
      ctx.fillStyle = colour("accent");
      ctx.fillRect(left, u.valToPos(c, "y", true) - devicePixelRatio, right - left, 2 * devicePixelRatio);
    }
  }
  ctx.restore();
}

const key = (draw, label) => h("span", {}, h("svg", { viewBox: "0 0 22 10", "aria-hidden": "true" }, draw), label);

/**
 * `points`: {start, value, total?, expected?, low?, high?}, equally spaced. `unit`: what `value` counts. Gives a node; it draws
 * itself when it is shown and removes itself with `signal`.
 */
export function chart({ points, unit, total = "", signal, height = 230 }) {
  const xs = points.map((point) => new Date(point.start).getTime() / 1000);
  const pick = (name) => points.map((point) => point[name] ?? null);
  const banded = points.some((point) => point.high !== null && point.high !== undefined);
  const readout = h("p", { class: "readout", "aria-hidden": "true" });
  const place = h("div", { class: "chart", "aria-hidden": "true", css: { height: `${height}px` } });
  const says = (point) => [moment(new Date(point.start)), `${decimal(point.value)} ${unit}`, point.expected !== null && point.expected !== undefined ? `usual ${decimal(point.expected)} (${decimal(point.low)}–${decimal(point.high)})` : null, total && point.total !== undefined ? `${count(point.total)} ${total}` : null].filter(Boolean).join(" · ");
  const above = (at) => banded && points[at].high !== null && points[at].high !== undefined && points[at].value > points[at].high;
  const peak = points.reduce((best, point) => ((point.value ?? 0) > (best?.value ?? -1) ? point : best), null);
  const rest = () => { readout.textContent = peak && peak.value ? `Highest: ${says(peak)}` : "Point at a bar for its numbers."; };
  rest();
  (async () => {
    const Plot = await load();
    if (signal.aborted) return;
    let plot = null;
    const draw = () => {
      plot?.destroy();
      const [line, text] = [colour("line"), colour("text-2")];
      const axis = { stroke: text, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1, size: 5 }, font: "12px Inter, system-ui, sans-serif" };
      const step = xs.length > 1 ? xs[1] - xs[0] : 3600;
      plot = new Plot({
        width: Math.max(240, place.clientWidth), height, padding: [8, 8, 0, 0], legend: { show: false },
        cursor: { y: false, points: { show: false }, drag: { x: false, y: false } },
        scales: { x: { range: () => [xs[0], xs[xs.length - 1] + step] }, y: { range: (u, low, top) => [0, Math.max(1, top * 1.08)] } },
        series: [{}, { paths: () => null, points: { show: false } }, { paths: () => null, points: { show: false } }, { paths: () => null, points: { show: false } }, { paths: () => null, points: { show: false } }, { paths: () => null, points: { show: false } }],
        axes: [{ ...axis, size: 30, values: (u, values) => values.map((value) => { const date = new Date(value * 1000); return date.getHours() + date.getMinutes() ? clock(date) : moment(date).replace(/,? 00:00$/, ""); }) }, { ...axis, size: 46 }],
        hooks: {
          draw: [(u) => {
            if (total) bars(u, 5, () => colour("line-strong"));
            if (banded) drawBand(u, 3, 4, 2);
            bars(u, 1, (at) => (above(at) ? colour("neg") : total ? colour("h6") : colour("h5")));
            if (banded) drawBand(u, 3, 3, 2);
          }],
          setCursor: [(u) => { const at = u.cursor.idx; if (at === null || at === undefined) rest(); else readout.textContent = says(points[Math.min(at, points.length - 1)]); }],
        },
      }, [xs, pick("value"), pick("expected"), pick("low"), pick("high"), pick("total")], place);
    };
    draw();
    const watch = new ResizeObserver(() => { if (plot && place.clientWidth && plot.width !== place.clientWidth) plot.setSize({ width: place.clientWidth, height }); });
    watch.observe(place);
    const stop = onTheme(draw);
    signal.addEventListener("abort", () => { watch.disconnect(); stop(); plot?.destroy(); });
  })();
  const rect = (name, opacity = 1) => h("rect", { x: 2, y: 0, width: 18, height: 10, css: { fill: `var(--${name})`, "fill-opacity": String(opacity) } });
  const keys = h("div", { class: "keys" }, key(rect(total ? "h6" : "h5"), unit[0].toUpperCase() + unit.slice(1)), banded ? key(rect("neg"), "Above the usual range") : null, banded ? key(rect("accent", 0.25), "Usual range") : null, banded ? key(h("rect", { x: 2, y: 4, width: 18, height: 2, css: { fill: "var(--accent)" } }), "Expected") : null, total ? key(rect("line-strong"), total[0].toUpperCase() + total.slice(1)) : null);
  return h("figure", {}, readout, place, keys, table(points, unit, total, banded));
}

/** The numbers behind a chart, made when they are asked for. */
function table(points, unit, total, banded) {
  const body = h("tbody");
  const made = h("details", { class: "data", ontoggle: () => {
    if (!made.open || body.childElementCount) return;
    fill(body, points.map((point) => h("tr", {}, h("th", { scope: "row", title: utc(new Date(point.start)) }, moment(new Date(point.start))), h("td", { class: "num" }, decimal(point.value)), banded ? h("td", { class: "num" }, decimal(point.expected ?? null)) : null, banded ? h("td", { class: "num" }, point.high === null || point.high === undefined ? "–" : `${decimal(point.low)}–${decimal(point.high)}`) : null, total ? h("td", { class: "num" }, count(point.total)) : null)));
  } }, h("summary", {}, "The numbers as a table"), h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Numbers of the chart" }, h("table", { class: "rows" }, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "From"), h("th", { scope: "col", class: "num" }, unit), banded ? h("th", { scope: "col", class: "num" }, "expected") : null, banded ? h("th", { scope: "col", class: "num" }, "usual range") : null, total ? h("th", { scope: "col", class: "num" }, total) : null)), body)));
  return made;
}

/** A small line without axes, for the eye only. */
export function spark(values) {
  if (values.length < 2) return null;
  const top = Math.max(...values, 1e-9);
  const spot = values.map((value, at) => `${((at * 104) / (values.length - 1)).toFixed(1)},${(32 - (30 * value) / top).toFixed(1)}`);
  return h("svg", { viewBox: "0 0 104 34", preserveAspectRatio: "none", "aria-hidden": "true" }, h("path", { class: "area", d: `M0,34L${spot.join("L")}L104,34Z` }), h("path", { d: `M${spot.join("L")}` }));
}
