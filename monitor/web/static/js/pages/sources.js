import { api } from "../api.js";
import { h } from "../dom.js";
import { count, foreign, time } from "../format.js";
import { card, empty, into, pageHead } from "../parts/states.js";

const STATES = { ok: ["ok", "● In order"], failing: ["failing", "▲ Failing"], waiting: ["info", "○ Waiting"], listening: ["listening", "● Listening"], unknown: ["", "? Not seen yet"] };
const RANK = { failing: 0, waiting: 2, unknown: 3 };

export function page({ signal }) {
  const body = h("div");
  into(body, signal, async () => {
    const { sources } = await api.sources(signal);
    if (!sources.length) return empty("No sources yet", "Add a [[sources]] table to the configuration and start riskwire again; 'riskwire doctor' tries it first.");
    const rank = (source) => (source.incident ? 1 : RANK[source.state] ?? 4);
    const rows = [...sources].sort((a, b) => rank(a) - rank(b) || a.name.localeCompare(b.name)).map((source) => {
      const [kind, label] = STATES[source.state] || STATES.unknown;
      return h("tr", {},
        h("th", { scope: "row" }, h("a", { href: `/search?source=${encodeURIComponent(source.name)}` }, foreign(source.name, { limit: 80 })), h("div", { class: "small quiet" }, source.configured ? source.kind || "" : "not configured here")),
        h("td", {}, h("span", { class: `badge ${kind}` }, label), source.incident ? [" ", h("a", { class: "badge warning", href: `/incidents/${encodeURIComponent(source.incident.id)}` }, "▲ Silent")] : null, source.failures > 0 ? h("div", { class: "small quiet" }, `${count(source.failures)} failed ${source.failures === 1 ? "poll" : "polls"} in a row`) : null),
        h("td", { class: "num" }, count(source.articles_24h)), h("td", {}, time(source.last_published_at, { relative: true })), h("td", {}, time(source.ok_at, { relative: true })), h("td", {}, source.next_at ? time(source.next_at) : "–"),
        h("td", {}, source.error ? [foreign(source.error, { limit: 240 }), h("div", { class: "small quiet" }, source.error_code ? h("code", {}, source.error_code) : null, " ", time(source.error_at, { relative: true }))] : h("span", { class: "quiet" }, "None")));
    });
    return card(`${count(sources.length)} sources`, { sub: "those that need a look come first" }, h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Sources" }, h("table", { class: "rows" }, h("thead", {}, h("tr", {}, ["Source", "State", "Articles, 24 h", "Last article", "Last good poll", "Next poll", "Last error"].map((label) => h("th", { scope: "col", class: label.startsWith("Articles") ? "num" : null }, label)))), h("tbody", {}, rows))));
  }, 8);
  return { title: "Sources' health", node: h("div", {}, pageHead("Sources' health", { sub: "A quiet market and a broken feed are two things: a source that falls silent is an incident of its own." }), body) };
}
