import { api } from "../api.js";
import { fill, h } from "../dom.js";
import { clean, count, foreign } from "../format.js";
import { go } from "../router.js";
import { card, empty, failed, into, pageHead } from "../parts/states.js";
import { storyRow } from "../parts/story.js";
import { languageName, topicName } from "../session.js";

const FILTERS = ["q", "topic", "sentiment", "entity", "source", "lang", "from", "to"];
const LABELS = { topic: "Topic", sentiment: "Sentiment", entity: "Entity", source: "Source", lang: "Language" };
const NAMES = { topic: (item) => item.name || topicName(item.value), sentiment: (item) => item.value[0].toUpperCase() + item.value.slice(1), lang: (item) => languageName(item.value), entity: (item) => item.name || item.value, source: (item) => item.value };

const hrefOf = (wanted) => {
  const pairs = FILTERS.filter((name) => wanted[name]).map((name) => [name, wanted[name]]);
  return pairs.length ? `/search?${new URLSearchParams(pairs)}` : "/search";
};
/** Days are the reader's; the API speaks UTC. `after`: the day's end. */
const instant = (day, after) => {
  if (!/^\d{4}-\d{2}-\d{2}$/.test(day || "")) return "";
  const date = new Date(`${day}T00:00:00`);
  if (after) date.setDate(date.getDate() + 1);
  return Number.isNaN(date.getTime()) ? "" : date.toISOString();
};

export function page({ query, signal }) {
  const wanted = Object.fromEntries(FILTERS.map((name) => [name, query.get(name) || ""]));
  const asked = { ...wanted, from: instant(wanted.from, false), to: instant(wanted.to, true) };
  const form = h("form", { class: "search-form", role: "search", "aria-label": "Articles", onsubmit: (event) => {
    event.preventDefault();
    const fields = form.elements;
    go(hrefOf({ ...wanted, q: clean(fields.q.value).trim(), from: fields.from.value, to: fields.to.value }));
  } },
    h("label", { class: "field" }, "Words", h("input", { type: "search", name: "q", value: wanted.q, maxlength: 200, placeholder: "bank fine · 银行 罚款", autocomplete: "off" })),
    h("label", { class: "field" }, "From", h("input", { type: "date", name: "from", value: wanted.from })), h("label", { class: "field" }, "To", h("input", { type: "date", name: "to", value: wanted.to })), h("button", { type: "submit", class: "button main" }, "Search"));
  const facets = h("nav", { class: "card facets", "aria-label": "Narrow down", id: "facets" });
  const results = h("div");
  const said = h("p", { class: "small quiet", role: "status" });
  const chips = h("p", { class: "chips" }, Object.keys(LABELS).filter((name) => wanted[name]).map((name) => h("a", { class: "chip", href: hrefOf({ ...wanted, [name]: "" }), "aria-label": `Remove ${LABELS[name]}: ${clean(wanted[name])}` }, `${LABELS[name]}: `, foreign(NAMES[name]({ value: wanted[name] }), { limit: 40 }), " ✕")));
  into(results, signal, async () => {
    const found = await api.articles({ ...asked, limit: 20 }, signal);
    fill(said, `${found.total_is_exact === false ? "More than " : ""}${count(found.total)} ${found.total === 1 ? "article" : "articles"}, newest first`);
    if (!found.items.length) return empty("Nothing found", "Use fewer or other words, or remove a filter. All words must occur; Chinese is found by any part of a word.", h("a", { class: "button small", href: "/search" }, "Start again"));
    const list = h("ul", { class: "stories" }, found.items.map((item) => storyRow(item)));
    let next = found.next;
    const more = h("button", { type: "button", class: "button small", onclick: async () => {
      more.disabled = true;
      try {
        const page = await api.articles({ ...asked, limit: 20, cursor: next }, signal);
        list.append(...page.items.map((item) => storyRow(item)));
        next = page.next;
        more.hidden = !next;
      } catch (error) { if (!signal.aborted) more.after(failed(error)); }
      more.disabled = false;
    } }, "Older articles");
    return [list, next ? h("div", { class: "state" }, more) : null];
  }, 8);
  into(facets, signal, async () => {
    const found = await api.facets(asked, signal);
    const group = (name, items) => (items?.length ? [h("h2", {}, LABELS[name]), h("ul", {}, items.slice(0, 8).map((item) => {
      const on = wanted[name] === item.value;
      return h("li", {}, h("a", { href: hrefOf({ ...wanted, [name]: on ? "" : item.value }), "aria-current": on ? "true" : null }, foreign(NAMES[name](item), { limit: 60 }), h("span", { class: "n" }, count(item.count))));
    }))] : null);
    const made = [group("sentiment", found.sentiments), group("topic", found.topics), group("lang", found.languages), group("entity", found.entities), group("source", found.sources)];
    return made.some(Boolean) ? [...made, found.sampled ? h("p", { class: "in small quiet" }, "Counts of the newest 20,000 hits.") : null] : h("p", { class: "state" }, "Nothing to narrow down.");
  }, 8);
  const toggle = h("button", { type: "button", class: "button small facets-toggle", "aria-expanded": "false", "aria-controls": "facets", onclick: () => toggle.setAttribute("aria-expanded", String(facets.classList.toggle("open"))) }, "Filters");
  return { title: wanted.q ? `Search: ${clean(wanted.q)}` : "Search", node: h("div", {}, pageHead("Search"), h("div", { class: "stack" }, card(null, { label: "Search for articles" }, form), h("div", { class: "search-cols" }, facets, h("div", { class: "stack" }, h("div", { class: "chips" }, toggle, said, chips), card(null, { label: "Articles found" }, results))))) };
}
