// Headlines: highlighted words, sentiment, entities. All of it is other people's text.
import { h } from "../dom.js";
import { clean, clip, foreign, share, time, TITLE_LIMIT } from "../format.js";
import { topicName } from "../session.js";

const TONES = { negative: ["▼", "Negative"], neutral: ["■", "Neutral"], positive: ["▲", "Positive"], uncertain: ["?", "Uncertain"] };

/** The verdict: word, sign and colour. */
export function tone(sentiment) {
  const [sign, label] = TONES[sentiment] || TONES.uncertain;
  return h("span", { class: `tone ${sentiment in TONES ? sentiment : "uncertain"}` }, h("i", { "aria-hidden": "true" }, sign), label);
}

/** The probability of negative, as a bar and a number. */
export function meter(value) {
  return h("span", { class: "nowrap", title: "How probably it reads negative" }, h("span", { class: "meter", "aria-hidden": "true" }, h("b", { css: { width: `${Math.round(value * 100)}%` } })), " ", h("span", { class: "tnum" }, `${share(value)} negative`));
}

/** Text in which `words` (code point offsets, signed weights) are marked; the heaviest ones most. */
export function highlighted(text, words, { lang = "", limit = TITLE_LIMIT, most = 6 } = {}) {
  if (!words?.length) return foreign(text, { lang, limit });
  const points = Array.from(text);
  const heavy = [...words].filter((word) => Math.abs(word.weight) >= 0.02).sort((a, b) => Math.abs(b.weight) - Math.abs(a.weight)).slice(0, most);
  const top = heavy.length ? Math.abs(heavy[0].weight) : 1;
  const line = h("bdi", { lang: /^[a-z]{2,3}$/.test(lang) && lang !== "und" ? lang : null });
  let at = 0;
  for (const word of heavy.sort((a, b) => a.start - b.start)) {
    if (word.start < at || word.end > Math.min(points.length, limit)) continue;
    line.append(clean(points.slice(at, word.start).join("")));
    const strong = Math.abs(word.weight) >= 0.6 * top;
    const says = `${word.weight > 0 ? "for" : "against"} the verdict: ${word.weight > 0 ? "+" : "−"}${Math.abs(word.weight).toFixed(2)}`;
    line.append(h("mark", { class: word.weight < 0 ? "against" : strong ? "strong" : null, title: says }, clean(points.slice(word.start, word.end).join(""))));
    at = word.end;
  }
  line.append(clip(clean(points.slice(at).join("")), Math.max(1, limit - at)));
  return line;
}

const articleHref = (id) => `/article/${encodeURIComponent(id)}`;

export function entityChips(entities, most = 4) {
  const names = new Map(entities.map((entity) => [entity.id, entity.name]));
  return [...names].slice(0, most).map(([id, name]) => h("a", { class: "chip", href: `/entity/${encodeURIComponent(id)}` }, foreign(name, { limit: 40 })));
}

/** One article of a list. `words`: weights, when known. */
export function storyRow(article, { words = [], fresh = false } = {}) {
  return h("li", { class: fresh ? "live-new" : null, data: { article: article.id } },
    h("div", { class: "story-title" }, h("a", { href: articleHref(article.id) }, highlighted(article.title, words, { lang: article.lang }))),
    h("div", { class: "story-meta" }, tone(article.sentiment), meter(article.negative), h("span", { class: "src" }, foreign(article.source, { limit: 60 })), time(article.published_at),
      h("a", { href: `/topic/${encodeURIComponent(article.topic)}` }, topicName(article.topic)), entityChips(article.entities || [])));
}

/** A driving article of an incident. */
export function evidenceRow(item) {
  const outside = item.url ? h("a", { href: item.url, target: "_blank", rel: "noopener noreferrer" }, "Open at the source ↗") : null;
  return h("li", {},
    h("div", { class: "story-title" }, h("a", { href: articleHref(item.article_id) }, highlighted(item.title, item.words, { lang: item.lang }))),
    h("div", { class: "story-meta" }, meter(item.negative), h("span", { class: "src" }, foreign(item.source, { limit: 60 })), time(item.published_at),
      item.heat > 1 ? h("span", { class: "badge", title: "Articles that tell the same story" }, `${item.heat} copies`) : null, item.topic ? h("span", {}, topicName(item.topic)) : null, outside));
}
