// Topics × time: the share of negative news, as a table that reads without colours too.
import { h } from "../dom.js";
import { clock, count, dayOf, decimal, moment, share, utc } from "../format.js";

const PRIOR = 2; // of few articles a share says little: colours begin at the middle, as if so many usual ones stood with them

/** Adds neighbouring hours, so that a week fits: cells are [articles, negatives]. */
export function merge(cells, by) {
  const sums = [];
  for (let at = 0; at < cells.length; at += by) {
    const part = cells.slice(at, at + by);
    sums.push([part.reduce((sum, cell) => sum + cell[0], 0), part.reduce((sum, cell) => sum + cell[1], 0)]);
  }
  return sums;
}

/** 0 (far less negative than the middle) to 8 (far more): log odds against `middle`, half a unit a step. */
export function level(value, middle) {
  const odds = (p) => Math.log((p + 0.02) / (1.02 - p));
  return Math.max(0, Math.min(8, 4 + Math.round((odds(value) - odds(middle)) / 0.45)));
}

/** `surges`: incidents with scope topic; their times mark cells. `open(id)` follows Enter. */
export function heatmap({ topics, starts, surges, middle, by, step, open, readout }) {
  const times = starts.filter((_, index) => index % by === 0).map((text) => new Date(text));
  const width = by * step * 1000;
  const wide = by * step >= 86400;
  const bounds = times.map((start) => [start.getTime(), start.getTime() + width]);
  const opened = surges.map((incident) => [incident.value, new Date(incident.opened_at).getTime()]);
  const marked = (id, index) => opened.some(([value, at]) => value === id && at >= bounds[index][0] && at < bounds[index][1]);
  const every = wide ? 3 : by * step >= 10800 ? Math.round(86400 / (by * step)) : 3;
  const head = h("tr", {}, h("th", { scope: "col" }, "Topic"), times.map((start, index) => h("th", { scope: "col", title: utc(start) }, index % every ? h("span", { class: "vh" }, moment(start)) : by * step >= 10800 ? dayOf(start) : clock(start))), h("th", { scope: "col", class: "sum" }, "Articles"));
  const rows = topics.map((topic, row) => {
    const cells = merge(topic.cells, by).map(([articles, negatives], column) => {
      const value = articles ? negatives / articles : null;
      const shade = level((negatives + PRIOR * middle) / (articles + PRIOR), middle);
      const surge = marked(topic.id, column);
      const says = articles ? `${topic.name}, ${moment(times[column])}: ${share(value)} negative of ${count(articles)} ${articles === 1 ? "article" : "articles"} (${decimal(negatives)} expected negative)${surge ? "; a surge opened" : ""}` : `${topic.name}, ${moment(times[column])}: no articles${surge ? "; a surge opened" : ""}`;
      return h("td", { class: `cell ${articles ? `q${shade}` : ""}`, tabindex: row + column ? -1 : 0, "aria-label": says, data: { q: articles ? String(shade) : "", topic: topic.id, says, ...(surge ? { surge: "1" } : {}) } });
    });
    return h("tr", {}, h("th", { scope: "row", class: topic.incident ? "on" : null }, h("a", { href: `/topic/${encodeURIComponent(topic.id)}`, tabindex: -1, title: [topic.name, topic.name_zh].filter(Boolean).join(" · ") }, topic.name), topic.incident ? h("span", { class: "flag" }, h("span", { "aria-hidden": "true" }, "▲"), h("span", { class: "vh" }, " has an open incident")) : null), cells, h("td", { class: "sum" }, count(topic.articles)));
  });
  const table = h("table", { class: "heat", "aria-label": "Share of negative news by topic and time. Arrow keys go from cell to cell, Enter opens the topic." },
    h("colgroup", {}, h("col", { class: "name" }), h("col", { span: times.length }), h("col", { class: "sum" })), h("thead", {}, head), h("tbody", {}, rows));
  const tell = (cell) => { readout.textContent = cell ? cell.dataset.says : "Point at a cell, or use the arrow keys."; };
  table.addEventListener("mouseover", (event) => tell(event.target.closest("td.cell")));
  table.addEventListener("mouseleave", () => tell(null));
  table.addEventListener("focusin", (event) => tell(event.target.closest("td.cell")));
  table.addEventListener("click", (event) => { const cell = event.target.closest("td.cell"); if (cell) open(cell.dataset.topic); });
  table.addEventListener("keydown", (event) => {
    const cell = event.target.closest("td.cell");
    if (!cell) return;
    const line = cell.parentElement;
    const moves = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };
    if (event.key === "Enter") { event.preventDefault(); open(cell.dataset.topic); return; }
    let next = null;
    if (moves[event.key]) {
      const [down, right] = moves[event.key];
      const place = down ? table.tBodies[0].rows[line.sectionRowIndex + down] : line;
      next = place?.cells[cell.cellIndex + right];
    } else if (event.key === "Home") next = line.cells[1];
    else if (event.key === "End") next = line.cells[line.cells.length - 2];
    if (!next?.classList.contains("cell")) return;
    event.preventDefault();
    cell.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
  tell(null);
  return table;
}

/** What the colours mean. */
export function heatScale(middle) {
  return h("div", { class: "scale" }, h("span", {}, "less negative"), Array.from({ length: 9 }, (_, index) => h("i", { class: `q${index}`, "aria-hidden": "true" })), h("span", {}, "more negative"), h("span", { class: "quiet" }, `middle: ${share(middle)}, the period's share`));
}
