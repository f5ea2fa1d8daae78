import { api } from "../api.js";
import { fill, h } from "../dom.js";
import { count, decimal, foreign, share, share1, stamp, time } from "../format.js";
import { go } from "../router.js";
import { spark } from "../parts/chart.js";
import { heatmap, heatScale } from "../parts/heatmap.js";
import { incidentRow } from "../parts/incident.js";
import { card, empty, into, loading, pageHead } from "../parts/states.js";
import { storyRow } from "../parts/story.js";
import { onEvent } from "../stream.js";

const SPANS = [[24, "24 h", 1], [168, "7 d", 2], [720, "30 d", 2]]; // the last: how many of the API's steps make one cell

const kpi = (label, value, note, line) => h("dl", { class: "card kpi" }, h("dt", {}, label), h("dd", { class: "value" }, value), line, h("dd", { class: "note" }, note));

function figures(found) {
  const { totals, incidents, sources } = found;
  const { previous } = totals;
  const shift = previous.articles && totals.articles ? totals.negatives / totals.articles - previous.negatives / previous.articles : null;
  const critical = incidents.filter((incident) => incident.severity === "critical").length;
  const ill = Math.min(sources.total, sources.failing + sources.silent);
  const grown = previous.articles ? (totals.articles - previous.articles) / previous.articles : null;
  return h("div", { class: "kpis" },
    kpi("Open incidents", count(incidents.length), incidents.length ? `${count(critical)} critical` : "Nothing out of the ordinary"),
    kpi("Negative share", totals.articles ? share1(totals.negatives / totals.articles) : "–", shift === null ? "of all articles" : `${shift >= 0 ? "▲ +" : "▼ −"}${(Math.abs(shift) * 100).toFixed(1)} points on the period before`, spark(totals.cells.map(([a, n]) => (a ? n / a : 0)))),
    kpi("Articles", count(totals.articles), [`${count(totals.sources)} ${totals.sources === 1 ? "source" : "sources"}`, grown === null ? null : `${grown >= 0 ? "▲ +" : "▼ −"}${share(Math.abs(grown))} on the period before`].filter(Boolean).join(" · "), spark(totals.cells.map((cell) => cell[0]))),
    kpi("Sources in order", sources.total ? `${count(sources.total - ill)} of ${count(sources.total)}` : "–", ill ? `${count(sources.failing)} failing, ${count(sources.silent)} silent` : sources.total ? "All answer" : "None configured here"));
}

function sourceAlerts(sources) {
  const ill = sources.filter((source) => source.state === "failing" || source.incident);
  if (!ill.length) return null;
  return card("Source alerts", { end: h("a", { href: "/sources" }, "All sources") }, h("ul", { class: "stories" }, ill.slice(0, 6).map((source) => h("li", {},
    h("div", { class: "story-meta" }, h("span", { class: "badge failing" }, source.incident ? "▲ Silent" : "▲ Failing"), h("b", {}, foreign(source.name, { limit: 60 })), source.incident ? h("a", { href: `/incidents/${encodeURIComponent(source.incident.id)}` }, "Incident") : null),
    h("div", { class: "story-meta" }, source.error ? foreign(source.error, { limit: 160 }) : "No articles for longer than usual.", h("span", {}, "last article ", time(source.last_published_at, { relative: true })))))));
}

export function page({ query, signal }) {
  const [hours, , by] = SPANS.find(([span]) => String(span) === query.get("hours")) || SPANS[0];
  const tools = h("nav", { class: "seg", "aria-label": "Period" }, SPANS.map(([span, label]) => h("a", { href: span === 24 ? "/" : `/?hours=${span}`, "aria-current": span === hours ? "true" : null }, label)));
  const when = h("p", {}, "Loading…");
  const head = pageHead("Overview", { tools });
  head.querySelector(".titles").append(when);
  const body = h("div", {}, h("div", { class: "kpis" }, Array.from({ length: 4 }, () => h("div", { class: "card" }, loading(2)))), card("Negative share by topic", {}, loading(14)));
  const latest = h("ul", { class: "stories" });
  const news = card("Latest negative news", { end: h("a", { href: "/search?sentiment=negative" }, "Search all") }, latest);
  const work = async () => {
    const found = await api.overview(hours, signal);
    const ill = found.sources.failing + found.sources.silent > 0 ? (await api.sources(signal).catch(() => ({ sources: [] }))).sources : [];
    const middle = found.totals.articles ? found.totals.negatives / found.totals.articles : 0.3;
    const topics = [...found.topics].sort((a, b) => Boolean(b.incident) - Boolean(a.incident) || b.articles - a.articles);
    fill(when, `${stamp(new Date(found.since))} – ${stamp(new Date(found.until))}`);
    const readout = h("p", { class: "readout", "aria-live": "polite" });
    const map = found.totals.articles ? [h("div", { class: "heat-wrap" }, heatmap({ topics, starts: found.starts, surges: [...found.incidents, ...found.recent].filter((incident) => incident.scope === "topic"), middle, by, step: found.step, readout, open: (topic) => go(`/topic/${encodeURIComponent(topic)}`) })), h("div", { class: "heat-foot" }, readout, heatScale(middle), h("span", { class: "small quiet" }, "▲ with a frame: a surge opened then"))] : empty("No articles in this period", "Choose a longer period, or look at the sources' health: are they polled?", h("a", { class: "button small", href: "/sources" }, "Sources' health"));
    const open = card(`Open incidents (${found.incidents.length})`, { end: h("a", { href: "/incidents" }, "All incidents"), label: "Open incidents" }, found.incidents.length ? h("ul", { class: "incidents" }, found.incidents.slice(0, 7).map(incidentRow)) : empty("No open incidents", "Nothing is out of the ordinary. What is over is under All incidents."));
    const top = Math.max(...found.entities.map((entity) => entity.negatives), 1e-9);
    const entities = card("Entities in negative news", { sub: "watch list" }, found.entities.length ? h("ul", { class: "rank" }, found.entities.slice(0, 10).map((entity) => h("li", {}, h("a", { href: `/entity/${encodeURIComponent(entity.id)}` }, foreign(entity.name, { limit: 60 })), h("span", { class: "bar", "aria-hidden": "true" }, h("b", { css: { width: `${(100 * entity.negatives) / top}%` } })), h("span", { class: "num small" }, `${decimal(entity.negatives)} of ${count(entity.articles)}`)))) : empty("Nobody of the watch list", "No watched entity was in the news of this period."));
    return [figures(found), h("div", { class: "cols lead" }, h("div", { class: "stack" }, card("Negative share by topic", { sub: by * found.step === 3600 ? "each cell an hour" : `each cell ${(by * found.step) / 3600} hours` }, map), news), h("div", { class: "stack" }, open, sourceAlerts(ill), entities))];
  };
  const load = () => into(body, signal, work).then(() => {
    const wrap = body.querySelector(".heat-wrap");
    if (wrap) wrap.scrollLeft = wrap.scrollWidth; // where it does not fit, the newest hours are in view
  });
  const fresh = () => api.articles({ sentiment: "negative", limit: 8 }, signal).then((found) => { if (!signal.aborted) fill(latest, found.items.length ? found.items.map((item) => storyRow(item)) : h("li", {}, "No negative articles yet.")); }, () => {});
  load();
  fresh();
  let due = 0;
  const stop = onEvent((kind) => {
    if (due || kind === "dropped") return;
    // However fast news comes, the page is made anew at most every ten seconds (incidents: at once), never under the reader's keys.
    due = setTimeout(() => { due = 0; if (!body.contains(document.activeElement)) { load(); fresh(); } }, kind === "incident" ? 400 : 10000);
  });
  signal.addEventListener("abort", () => { stop(); clearTimeout(due); });
  return { title: "Overview", node: h("div", {}, head, body) };
}
