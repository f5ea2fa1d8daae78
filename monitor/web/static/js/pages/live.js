import { api } from "../api.js";
import { fill, h } from "../dom.js";
import { count } from "../format.js";
import { incidentRow } from "../parts/incident.js";
import { card, empty, pageHead } from "../parts/states.js";
import { storyRow } from "../parts/story.js";
import { shortcut } from "../keys.js";
import { session } from "../session.js";
import { onEvent, onState } from "../stream.js";

const MOST = 200; // rows on the page
const HELD = 500; // articles held while paused; the oldest go first

export function page({ signal }) {
  const rows = h("ul", { class: "stories", "aria-label": "Articles as they arrive, the newest first" });
  const blank = empty("Waiting for news", "Articles appear here within seconds of being scored. Nothing comes? See the sources' health.");
  const incidents = h("ul", { class: "incidents" });
  const none = empty("No change of incidents yet", "Incidents that open or change while you watch are shown here.");
  const said = h("p", { class: "small quiet", role: "status" });
  const lost = h("p", { class: "pending", hidden: true });
  let paused = false;
  let held = [];
  let filter = { sentiment: "", topic: "" };
  const fits = (article) => (!filter.sentiment || article.sentiment === filter.sentiment) && (!filter.topic || article.topic === filter.topic);
  const pause = h("button", { type: "button", class: "button", "aria-pressed": "false", onclick: () => setPause(!paused) }, "Pause");
  function state() {
    blank.hidden = rows.childElementCount > 0;
    none.hidden = incidents.childElementCount > 0;
    fill(said, paused ? `Paused; ${count(held.length)} waiting${held.length === HELD ? " (the newest are kept)" : ""}` : `The newest ${count(rows.childElementCount)} of at most ${MOST}`);
  }
  function put(article, fresh = true) {
    if (!fits(article)) return;
    for (const row of rows.children) if (row.dataset.article === article.id) { row.remove(); break; }
    rows.prepend(storyRow(article, { fresh }));
    while (rows.childElementCount > MOST) rows.lastElementChild.remove();
  }
  function setPause(on) {
    paused = on;
    pause.setAttribute("aria-pressed", String(on));
    fill(pause, on ? "Go on" : "Pause");
    if (!on) { for (const article of held) put(article); held = []; }
    state();
  }
  async function start() {
    fill(rows);
    try {
      const found = await api.articles({ ...filter, limit: 30 }, signal);
      for (const article of found.items.reverse()) put(article, false);
    } catch { /* the stream goes on without what was before */ }
    state();
  }
  const stop = onEvent((kind, data) => {
    if (kind === "article") {
      if (paused) { held.push(data); if (held.length > HELD) held.shift(); } else put(data);
    } else if (kind === "incident") {
      for (const row of incidents.children) if (row.dataset.incident === data.id) { row.remove(); break; }
      incidents.prepend(incidentRow(data));
      while (incidents.childElementCount > 20) incidents.lastElementChild.remove();
    } else if (kind === "dropped") { lost.hidden = false; fill(lost, `This page was too slow for ${count(data.count)} articles; they are in the search.`); }
    state();
  });
  const link = h("p");
  const watch = onState((now) => fill(link, now === "live" ? "Connected: articles and incidents as they come." : "The connection is being made again; nothing is lost meanwhile but what the search has."));
  const key = shortcut("p", "Pause or go on (live feed)", () => setPause(!paused));
  signal.addEventListener("abort", () => { stop(); watch(); key(); });
  const choose = (label, name, options) => h("label", { class: "small" }, h("span", { class: "vh" }, label), h("select", { class: "button", onchange: (event) => { filter = { ...filter, [name]: event.target.value }; start(); } }, h("option", { value: "" }, `All ${label.toLowerCase()}`), options.map(([value, text]) => h("option", { value }, text))));
  const tools = [choose("Sentiments", "sentiment", [["negative", "Negative"], ["neutral", "Neutral"], ["positive", "Positive"]]), choose("Topics", "topic", [...session.topics.values()].map((topic) => [topic.id, topic.name])), pause];
  const head = pageHead("Live feed", { tools });
  head.querySelector(".titles").append(link);
  start();
  return { title: "Live feed", node: h("div", {}, head, h("div", { class: "cols" }, card("Articles", { end: said }, lost, blank, rows), card("Incidents", { sub: "since you opened this page" }, none, incidents))) };
}
