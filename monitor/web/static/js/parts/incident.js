// Incidents in lists, and what people do with them.
import { h } from "../dom.js";
import { api } from "../api.js";
import { clean, decimal, foreign, moment, time } from "../format.js";
import { openDialog, toast } from "./dialog.js";

const SIGNS = { critical: "M6 0l6 11H0z", warning: "M6 0l6 6-6 6-6-6z", info: "M6 0a6 6 0 1 1 0 12A6 6 0 0 1 6 0z" };
const STATES = { open: "Open", acknowledged: "Acknowledged", snoozed: "Snoozed", resolved: "Resolved" };
const KINDS = { surge: "Surge", silence: "Silent source", rule: "Rule" };

export const severityBadge = (severity) => h("span", { class: `badge ${severity}` }, h("svg", { viewBox: "0 0 12 12", "aria-hidden": "true" }, h("path", { d: SIGNS[severity] || SIGNS.info })), severity[0].toUpperCase() + severity.slice(1));

export const stateBadge = (incident) => h("span", { class: `badge ${incident.state}` }, STATES[incident.state] || incident.state, incident.state === "snoozed" && incident.snoozed_until ? ` until ${moment(new Date(incident.snoozed_until))}` : null);

export const kindName = (kind) => KINDS[kind] || kind;

export function incidentRow(incident) {
  const over = incident.state === "resolved";
  return h("li", { data: { incident: incident.id } }, h("a", { class: `incident ${over ? "over" : incident.severity}`, href: `/incidents/${encodeURIComponent(incident.id)}` },
    h("div", { class: "row" }, severityBadge(incident.severity), h("span", { class: "name" }, foreign(incident.title || incident.value, { limit: 90 })), incident.state === "open" ? null : stateBadge(incident), h("span", { class: "when" }, time(incident.opened_at, { relative: true }))),
    incident.headline || incident.reason ? h("div", { class: "head-line" }, foreign(incident.headline || incident.reason, { limit: 240 })) : null,
    incident.kind === "silence" ? h("div", { class: "figures" }, kindName(incident.kind)) : h("div", { class: "figures" }, h("b", {}, decimal(incident.observed)), " negative stories, usual ", h("b", {}, decimal(incident.expected)), ` · ${incident.sources.length} ${incident.sources.length === 1 ? "source" : "sources"}`)));
}

/** Next Monday, eight in the morning of the reader's zone. */
export function nextMonday(now = new Date()) {
  const day = new Date(now.getFullYear(), now.getMonth(), now.getDate() + ((8 - now.getDay()) % 7), 8);
  if (day <= now) day.setDate(day.getDate() + 7);
  return day;
}

const noteField = (label, hint, required) => h("label", { class: "field" }, label, h("textarea", { name: "note", maxlength: 500, required, "aria-describedby": "note-hint" }), h("small", { id: "note-hint" }, hint));

async function give(incident, verb, body, done, said) {
  await api.act(incident.id, verb, body);
  toast(said);
  done();
}

/** Each asks first: there is no undo for what people have been told. */
export const ask = {
  acknowledge(incident, done) {
    openDialog({ title: "Acknowledge this incident?", body: [h("p", {}, "People see that somebody is on it. Only a rise in severity or its end is told from now on."), noteField("Note", "Optional; kept in the history.")],
      confirm: { label: "Acknowledge", run: (form) => give(incident, "acknowledge", { note: clean(form.elements.note.value) }, done, "Acknowledged. The detector takes it up within seconds.") } });
  },
  snooze(incident, done) {
    const monday = nextMonday();
    const option = (value, label, checked) => h("label", {}, h("input", { type: "radio", name: "span", value, checked }), ` ${label}`);
    openDialog({ title: "Snooze this incident?", body: [h("p", {}, "Nothing but its end is told until then; after that it opens again by itself."),
      h("fieldset", { class: "field choices" }, h("legend", {}, "For how long"), option("60", "1 hour", true), option("480", "8 hours"), option("monday", `Until ${moment(monday)} (Monday)`)), noteField("Note", "Optional; kept in the history.")],
      confirm: { label: "Snooze", run: (form) => {
        const span = form.elements.span.value;
        const body = span === "monday" ? { until: monday.toISOString() } : { minutes: Number(span) };
        return give(incident, "snooze", { ...body, note: clean(form.elements.note.value) }, done, "Snoozed. The detector takes it up within seconds.");
      } } });
  },
  resolve(incident, done) {
    openDialog({ title: "Resolve this incident?", body: [h("p", {}, "It is over, whatever the series does, and everybody who was told of it hears so. A new surge makes a new incident."), noteField("Reason", "Needed; it is told and kept in the history.", true)],
      confirm: { label: "Resolve", run: (form) => {
        const reason = clean(form.elements.note.value).trim();
        if (!reason) throw new Error("Say why it is over: the reason is kept.");
        return give(incident, "resolve", { reason }, done, "Resolved. The detector takes it up within seconds.");
      } } });
  },
};
