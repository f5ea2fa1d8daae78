// A topic's page and an entity's page: counts with the band, stories, who printed them.
import { api } from "../api.js";
import { fill, h } from "../dom.js";
import { count, foreign, share } from "../format.js";
import { chart } from "../parts/chart.js";
import { incidentRow } from "../parts/incident.js";
import { card, empty, failed, into, loading, pageHead } from "../parts/states.js";
import { storyRow } from "../parts/story.js";
import { session, topicName } from "../session.js";

const SPANS = [[24, "24 h", 3600], [168, "7 d", 3600], [720, "30 d", 21600]];
const EXPLAINED = 6;

async function explain(list, items, signal) {
  // One after the other: explanations share the model with the stream.
  for (const item of items.filter((article) => article.sentiment === "negative").slice(0, EXPLAINED)) {
    try {
      const found = await api.explanation(item.id, "sentiment", signal, "negative");
      if (signal.aborted) return;
      const old = [...list.children].find((row) => row.dataset.article === item.id);
      if (!old || old.contains(document.activeElement)) continue;
      old.replaceWith(storyRow(item, { words: found.words }));
    } catch (error) {
      if (signal.aborted || error.status !== 409) return; // no explanations here: the headlines stand as they are
    }
  }
}

function build(scope, { values, query, signal }) {
  const value = values.value;
  const [hours, , step] = SPANS.find(([span]) => String(span) === query.get("hours")) || SPANS[0];
  const path = `/${scope}/${encodeURIComponent(value)}`;
  const title = h("bdi", {}, scope === "topic" ? topicName(value) : value);
  const tools = h("nav", { class: "seg", "aria-label": "Period" }, SPANS.map(([span, label]) => h("a", { href: span === 24 ? path : `${path}?hours=${span}`, "aria-current": span === hours ? "true" : null }, label)));
  const head = pageHead(title, { crumbs: [h("a", { href: "/" }, "Overview"), ` / ${scope === "topic" ? "Topics" : "Entities"}`], tools, sub: scope === "topic" ? session.topics.get(value)?.name_zh || null : null });
  const to = new Date();
  const from = new Date(Math.floor((to - hours * 3600e3) / (step * 1000)) * step * 1000);
  const filter = { [scope]: value, from: from.toISOString(), to: to.toISOString() };
  const bars = h("div", { class: "stack" });
  into(bars, signal, async () => {
    const found = await api.series({ scope, value, from: filter.from, to: filter.to, step }, signal);
    if (scope === "entity") { fill(title, foreign(found.name, { limit: 120 })); document.title = `${found.name} · Riskwire`; }
    const articles = found.points.reduce((sum, point) => sum + point.articles, 0);
    const negatives = found.points.reduce((sum, point) => sum + point.negatives, 0);
    return [
      found.band?.points?.length ? card("Negative stories against what is usual", { sub: "the last 24 hours the detector has closed; copies of one story count once" }, h("div", { class: "in" }, chart({ points: found.band.points.map((point) => ({ ...point, value: point.observed })), unit: "negative stories", signal, height: 210 }))) : null,
      card("Articles", { sub: `${count(articles)} in the period, ${articles ? share(negatives / articles) : "–"} negative` }, h("div", { class: "in" }, articles ? chart({ points: found.points.map((point) => ({ start: point.start, value: point.negatives, total: point.articles })), unit: "negative articles", total: "all articles", signal, height: 200 }) : empty("No articles in this period", "Choose a longer one above."))),
    ];
  }, 8);
  const list = h("ul", { class: "stories" });
  const stories = h("div");
  let sentiment = "";
  let cursor = null;
  const more = h("button", { type: "button", class: "button small", onclick: () => read(true) }, "Older articles");
  const read = async (older) => {
    more.disabled = true;
    if (!older) fill(stories, loading(6));
    try {
      const found = await api.articles({ ...filter, sentiment, limit: 20, cursor: older ? cursor : null }, signal);
      cursor = found.next;
      if (!older) { fill(list); fill(stories, found.items.length ? list : empty("No articles here", sentiment ? "Switch to all articles, or choose a longer period." : "Choose a longer period above.")); }
      list.append(...found.items.map((item) => storyRow(item)));
      more.hidden = !cursor;
      if (!older) explain(list, found.items, signal);
    } catch (error) { if (!signal.aborted) fill(stories, failed(error, () => read(false))); }
    more.disabled = false;
  };
  const tab = (name, label) => h("button", { type: "button", "aria-pressed": String(sentiment === name), onclick: (event) => { sentiment = name; for (const button of event.target.parentElement.children) button.setAttribute("aria-pressed", String(button === event.target)); read(false); } }, label);
  const storyCard = card("Stories", { end: h("div", { class: "seg", role: "group", "aria-label": "Which articles" }, tab("", "All"), tab("negative", "Negative"), tab("positive", "Positive")) }, stories, h("div", { class: "state" }, more));
  more.hidden = true;
  read(false);
  const incidents = h("div");
  into(incidents, signal, async () => {
    const found = await api.incidents({ state: "all", scope, value, limit: 8 }, signal);
    return found.items.length ? h("ul", { class: "incidents" }, found.items.map(incidentRow)) : empty("No incidents so far", "You will see here when bad news surges.");
  }, 3);
  const facets = h("div");
  into(facets, signal, async () => {
    const found = await api.facets(filter, signal);
    const top = Math.max(...found.sources.map((item) => item.count), 1);
    const other = scope === "topic" ? found.entities : found.topics;
    return [h("ul", { class: "rank" }, found.sources.slice(0, 8).map((item) => h("li", {}, h("a", { href: `/search?${scope}=${encodeURIComponent(value)}&source=${encodeURIComponent(item.value)}` }, foreign(item.value, { limit: 60 })), h("span", { class: "bar neutral", "aria-hidden": "true" }, h("b", { css: { width: `${(100 * item.count) / top}%`, background: "var(--accent)" } })), h("span", { class: "num small" }, count(item.count))))),
      other.length ? h("div", { class: "in" }, h("h3", { class: "quiet" }, scope === "topic" ? "Entities named" : "Topics"), h("p", { class: "chips" }, other.slice(0, 12).map((item) => h("a", { class: "chip", href: scope === "topic" ? `/entity/${encodeURIComponent(item.value)}` : `/topic/${encodeURIComponent(item.value)}` }, foreign(item.name || item.value, { limit: 40 }), h("span", { class: "n" }, count(item.count)))))) : null,
      found.sampled ? h("p", { class: "in small quiet" }, "Counted over the newest 20,000 articles.") : null];
  }, 4);
  return { title: scope === "topic" ? topicName(value) : value, node: h("div", {}, head, h("div", { class: "cols" }, h("div", { class: "stack" }, bars, storyCard), h("div", { class: "stack" }, card("Incidents", {}, incidents), card("Sources", { sub: "articles in the period" }, facets)))) };
}

export const topic = (place) => build("topic", place);
export const entity = (place) => build("entity", place);
