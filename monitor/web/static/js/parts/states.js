// What stands where data is not, or not yet: always with what to do next.
import { fill, h } from "../dom.js";

export function loading(rows = 5) {
  return h("div", { "aria-busy": "true" }, h("p", { class: "vh" }, "Loading…"), Array.from({ length: rows }, () => h("div", { class: "skeleton" })));
}

export function empty(title, next, ...more) {
  return h("div", { class: "state" }, h("strong", {}, title), h("p", {}, next), more);
}

/** `again` is offered where trying again can help. */
export function failed(error, again) {
  const hint = error.hint || (error.status === 404 ? "It may have been removed. Go back, or look for it in the search." : error.status === 403 ? "Ask whoever runs Riskwire for a token with that role." : "Try again; if it stays so, 'riskwire doctor' on the server says what is wrong.");
  return h("div", { class: "state bad", role: "alert" }, h("strong", {}, error.title || "This could not be loaded"), h("p", {}, error.message), error.message === hint ? null : h("p", {}, hint),
    again && error.status !== 404 && error.status !== 403 ? h("button", { type: "button", class: "button small", onclick: again }, "Try again") : null);
}

/** Fills `node` with what `work(signal)` makes; shows loading before, the error and a way on after a failure. */
export async function into(node, signal, work, rows) {
  if (!node.childElementCount) fill(node, loading(rows));
  try {
    const made = await work(signal);
    if (!signal.aborted && made !== undefined) fill(node, made);
  } catch (error) {
    if (signal.aborted || error.name === "AbortError") return;
    if (error.status === undefined) console.error(error);
    fill(node, failed(error, () => { fill(node); into(node, signal, work, rows); }));
  }
}

export function card(title, { sub, end, foot, level = "h2", label } = {}, ...content) {
  return h("section", { class: "card", "aria-label": label || (typeof title === "string" ? title : null) },
    title ? h("header", {}, h(level, {}, title), sub ? h("p", {}, sub) : null, end ? h("div", { class: "end" }, end) : null) : null,
    content, foot ? h("footer", {}, foot) : null);
}

export function pageHead(title, { sub, crumbs, tools } = {}) {
  return h("div", { class: "head" }, h("div", { class: "titles" }, crumbs ? h("nav", { class: "crumbs", "aria-label": "Breadcrumb" }, crumbs) : null, h("h1", {}, title), sub ? h("p", {}, sub) : null), tools ? h("div", { class: "tools" }, tools) : null);
}
