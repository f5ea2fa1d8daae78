import { api } from "../api.js";
import { fill, h } from "../dom.js";
import { clean, clip, foreign, share1, time } from "../format.js";
import { card, into, loading } from "../parts/states.js";
import { entityChips, highlighted, tone } from "../parts/story.js";
import { topicName } from "../session.js";

const BODY_LIMIT = 20000;
const bars = (pairs, name, kind) => h("ul", { class: "bars" }, pairs.map(([id, value]) => h("li", {}, h("span", {}, name(id)), h("span", { class: `bar ${kind ? id : ""}`, "aria-hidden": "true" }, h("b", { css: { width: `${value * 100}%` } })), h("span", { class: "num small" }, share1(value)))));

export function page({ values, signal }) {
  const body = h("div");
  into(body, signal, async () => {
    const article = await api.article(values.id, signal);
    document.title = `${clip(clean(article.title), 80)} · Riskwire`;
    const title = h("h1", { class: "article-title", tabindex: article.title.length > 400 ? 0 : null }, foreign(article.title, { lang: article.lang, limit: 12000 }));
    const why = h("div", { class: "in" }, loading(2));
    const explain = async () => {
      try {
        const found = await api.explanation(values.id, "sentiment", signal);
        fill(why, h("p", {}, "Verdict ", tone(found.label), ". Marked words speak for it, dotted ones against."), h("p", { class: "article-body" }, highlighted(found.text, found.words, { lang: article.lang, limit: 2000, most: 12 })));
      } catch (error) { if (!signal.aborted) fill(why, h("p", { class: "quiet" }, error.status === 409 ? "It came with scores of its own: what moved them is not known here." : `${error.message} ${error.hint || ""}`)); }
    };
    explain();
    const topics = Object.entries(article.topics).sort((a, b) => b[1] - a[1]).slice(0, 6);
    return h("div", { class: "cols" }, h("div", { class: "stack" },
      card(null, { label: "Article" }, title, h("div", { class: "in story-meta" }, tone(article.sentiment), h("a", { href: `/search?source=${encodeURIComponent(article.source)}` }, foreign(article.source, { limit: 60 })), time(article.published_at), h("a", { href: `/topic/${encodeURIComponent(article.topic)}` }, topicName(article.topic)), article.url ? h("a", { href: article.url, target: "_blank", rel: "noopener noreferrer" }, "Open at the source ↗") : null),
        article.body ? h("div", { class: "article-body" }, foreign(article.body, { lang: article.lang, limit: BODY_LIMIT })) : null), card("Why this verdict", {}, why)),
    h("div", { class: "stack" }, card("Sentiment", {}, bars(Object.entries(article.sentiments), (id) => id[0].toUpperCase() + id.slice(1), true)), card("Topics", {}, bars(topics, topicName)),
      card("Entities", {}, h("p", { class: "in chips" }, article.entities.length ? entityChips(article.entities, 20) : "None of the watch list.")),
      card("Record", {}, h("p", { class: "in small quiet" }, "Fetched ", time(article.fetched_at), ", scored ", time(article.scored_at), " by ", h("span", { class: "mono" }, clean(article.model)), article.doubts.length ? `. In doubt: ${article.doubts.join(", ")}` : null, "."))));
  }, 6);
  return { title: "Article", node: h("div", {}, h("nav", { class: "crumbs", "aria-label": "Breadcrumb" }, h("a", { href: "/search" }, "Search"), " / Article"), body) };
}
