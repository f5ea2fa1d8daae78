import { api } from "../api.js";
import { fill, h } from "../dom.js";
import { clean, count, decimal, foreign, share1, time, tiny } from "../format.js";
import { chart } from "../parts/chart.js";
import { ask, incidentRow, kindName, severityBadge, stateBadge } from "../parts/incident.js";
import { card, empty, failed, into, pageHead } from "../parts/states.js";
import { evidenceRow } from "../parts/story.js";
import { shortcut } from "../keys.js";
import { may, seriesHref } from "../session.js";
import { onEvent } from "../stream.js";

const STATES = [["open", "Not resolved"], ["acknowledged", "Acknowledged"], ["snoozed", "Snoozed"], ["resolved", "Resolved"], ["all", "All"]];

export function list({ query, signal }) {
  const state = STATES.some(([name]) => name === query.get("state")) ? query.get("state") : "open";
  const tools = h("nav", { class: "seg", "aria-label": "State" }, STATES.map(([name, label]) => h("a", { href: name === "open" ? "/incidents" : `/incidents?state=${name}`, "aria-current": name === state ? "true" : null }, label)));
  const body = h("div");
  const work = async () => {
    const found = await api.incidents({ state, limit: 50 }, signal);
    if (!found.items.length) return empty(state === "open" ? "No open incidents" : "No such incidents", state === "open" ? "Nothing is out of the ordinary now." : "Choose another state above.", state === "open" ? h("a", { class: "button small", href: "/incidents?state=all" }, "Show all") : null);
    const rows = h("ul", { class: "incidents" }, found.items.map(incidentRow));
    let next = found.next;
    const more = h("button", { type: "button", class: "button small", onclick: async () => {
      more.disabled = true;
      try {
        const page = await api.incidents({ state, limit: 50, cursor: next }, signal);
        rows.append(...page.items.map(incidentRow));
        next = page.next;
        more.hidden = !next;
        more.disabled = false;
      } catch (error) { if (!signal.aborted) more.replaceWith(failed(error)); }
    } }, "Older incidents");
    return [rows, next ? h("div", { class: "state" }, more) : null];
  };
  into(body, signal, work);
  const stop = onEvent((kind) => { if (kind === "incident" && !body.contains(document.activeElement)) into(body, signal, work); });
  signal.addEventListener("abort", stop);
  return { title: "Incidents", node: h("div", {}, pageHead("Incidents", { sub: "Surges of bad news beyond what is usual for that hour of that week, and sources that fell silent.", tools }), card(null, { label: "Incidents" }, body)) };
}

const ACTIONS = [["acknowledge", "Acknowledge", "a"], ["snooze", "Snooze", "z"], ["resolve", "Resolve", "r"]];
const VERBS = { acknowledge: "Acknowledge", snooze: "Snooze", resolve: "Resolve" };

function words(evidence) {
  const sums = new Map();
  for (const item of evidence) for (const word of item.words || []) if (word.weight > 0) sums.set(clean(word.word).toLowerCase(), (sums.get(clean(word.word).toLowerCase()) || 0) + word.weight);
  const top = [...sums].sort((a, b) => b[1] - a[1]).slice(0, 12);
  if (!top.length) return null;
  return card("Driving words", { sub: "what made the headlines read negative" }, h("ul", { class: "words" }, top.map(([word, weight]) => h("li", {}, foreign(word, { limit: 40 }), h("span", { class: "bar", "aria-hidden": "true" }, h("b", { css: { width: `${(100 * weight) / top[0][1]}%` } })), h("span", { class: "num small" }, `+${weight.toFixed(2)}`)))));
}

function history(incident) {
  const entries = [{ at: incident.opened_at, by: "riskwire", what: "opened", note: "" }, ...incident.history];
  if (incident.resolved_at && !incident.history.some((entry) => entry.what.startsWith("resolved"))) entries.push({ at: incident.resolved_at, by: "riskwire", what: "resolved", note: "" });
  return card("Timeline", { sub: "oldest first" }, h("ol", { class: "timeline" }, entries.map((entry) => h("li", {}, h("div", {}, h("b", {}, foreign(entry.what, { limit: 200 })), " by ", foreign(entry.by, { limit: 60 })), h("div", { class: "quiet small" }, time(entry.at)), entry.note ? h("div", { class: "note" }, foreign(entry.note, { limit: 500 })) : null))));
}

function figures(incident) {
  const pairs = incident.kind === "silence" ? [["Articles seen", decimal(incident.observed)], ["Usual", decimal(incident.expected)]] : [["Negative stories", decimal(incident.observed)], ["Usual", decimal(incident.expected)], ["Usual range", `${decimal(incident.low)}–${decimal(incident.high)}`], ["Stories in all", count(incident.stories)], ["Sources", count(incident.sources.length)], ["False discovery rate q", tiny(incident.q_value)]];
  return h("dl", { class: "figures-grid" }, pairs.map(([label, value]) => h("div", {}, h("dt", {}, label), h("dd", {}, value))));
}

export function one({ values, signal }) {
  const body = h("div");
  let undo = [];
  let shown = null;
  const off = () => { for (const remove of undo) remove(); undo = []; };
  const work = async () => {
    const incident = await api.incident(values.id, signal);
    shown = incident;
    document.title = `${clean(incident.title)} · Riskwire`;
    off();
    const over = incident.state === "resolved";
    const acts = ACTIONS.map(([verb, label, key]) => {
      if (over || !may("operator")) return null;
      const off = verb === "acknowledge" && incident.state === "acknowledged";
      const run = () => ask[verb](incident, again);
      if (!off) undo.push(shortcut(key, `${label} the incident`, run));
      return h("button", { type: "button", class: verb === "acknowledge" ? "button main" : "button", disabled: off, onclick: run, "aria-keyshortcuts": key }, label, verb === "snooze" ? "…" : null);
    });
    const href = seriesHref(incident.scope, incident.value);
    const head = pageHead(foreign(incident.title || incident.value, { limit: 160 }), { crumbs: [h("a", { href: "/incidents" }, "Incidents"), ` / ${kindName(incident.kind)}`], tools: acts });
    head.querySelector(".titles").append(h("p", { class: "chips" }, severityBadge(incident.severity), stateBadge(incident), h("span", { class: "small" }, "opened ", time(incident.opened_at), incident.resolved_at ? [", over ", time(incident.resolved_at)] : null), href ? h("a", { class: "small", href }, incident.scope === "source" ? "Its articles" : "See the series") : null));
    const pending = incident.pending.length ? h("p", { class: "pending", role: "status" }, incident.pending.map((command) => `${VERBS[command.verb]} by ${clean(command.by)} is on its way: the detector takes it up within about 15 seconds. `)) : null;
    if (incident.pending.length) later(3000);
    const summary = card("Why", { level: "h2" }, h("p", { class: "reason" }, foreign(incident.reason || "No reason was recorded.", { limit: 2000 })), pending, figures(incident));
    const trend = incident.trend.length ? card("What led to it", { sub: "negative stories an hour" }, h("div", { class: "in" }, chart({ points: incident.trend.map((point) => ({ ...point, value: point.observed })), unit: "negative stories", signal }))) : null;
    const evidence = incident.kind === "silence" ? null : card("Driving stories", { sub: `${incident.evidence.length} of ${count(incident.stories)}` }, incident.evidence.length ? h("ul", { class: "stories" }, incident.evidence.map(evidenceRow)) : empty("No headlines were kept", "Look at the series' articles around that time.", href ? h("a", { class: "button small", href }, "Open the series") : null));
    const names = incident.entity_names || {};
    const about = card("About", {}, h("div", { class: "in stack" }, incident.entities.length ? h("div", {}, h("h3", { class: "quiet" }, "Entities"), h("p", { class: "chips" }, incident.entities.slice(0, 20).map((id) => h("a", { class: "chip", href: `/entity/${encodeURIComponent(id)}` }, foreign(names[id] || id, { limit: 60 }))))) : null,
      incident.related.length ? h("div", {}, h("h3", { class: "quiet" }, "Surging with it"), h("p", { class: "chips" }, incident.related.map((key) => h("a", { class: "chip", href: seriesHref(key.scope, key.value) }, foreign(key.name || key.value, { limit: 60 }))))) : null,
      h("div", {}, h("h3", { class: "quiet" }, "Sources"), h("p", { class: "chips" }, incident.sources.length ? incident.sources.slice(0, 20).map((name) => h("a", { class: "chip", href: `/search?source=${encodeURIComponent(name)}` }, foreign(name, { limit: 60 }))) : "None")),
      h("p", { class: "small quiet" }, "Chance under the usual (p): ", tiny(incident.p_value), ". Id ", h("span", { class: "mono" }, foreign(incident.id, { limit: 40 })), incident.model ? [". Model ", h("span", { class: "mono" }, foreign(incident.model, { limit: 60 }))] : null, ".")));
    return [head, h("div", { class: "cols" }, h("div", { class: "stack" }, summary, trend, evidence), h("div", { class: "stack" }, history(incident), words(incident.evidence), about))];
  };
  const again = () => into(body, signal, work);
  let timer = 0;
  const later = (wait) => { clearTimeout(timer); timer = setTimeout(() => { if (!document.querySelector("dialog[open]")) again(); else later(wait); }, wait); };
  again();
  const stop = onEvent((kind, data) => { if (kind === "incident" && data.id === values.id && (!shown || data.revision !== shown.revision)) later(200); });
  signal.addEventListener("abort", () => { stop(); off(); clearTimeout(timer); });
  return { title: "Incident", node: body };
}
