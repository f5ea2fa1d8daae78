import { api } from "../api.js";
import { h } from "../dom.js";
import { clean, count, share1, time } from "../format.js";
import { card, empty, into, pageHead } from "../parts/states.js";

const metric = (label, value, note) => h("div", {}, h("dt", {}, label), h("dd", {}, value), note ? h("dd", { class: "small quiet" }, note) : null);

/** Bins of a reliability diagram, whatever the artefact calls them: [[confidence, accuracy, n]…]. */
function bins(metrics) {
  const list = metrics?.reliability?.bins || metrics?.reliability;
  if (!Array.isArray(list)) return [];
  return list.map((bin) => (Array.isArray(bin) ? bin : [bin.confidence ?? bin.mean_confidence, bin.accuracy, bin.n ?? bin.count])).filter(([confidence, accuracy, n]) => n && Number.isFinite(confidence) && Number.isFinite(accuracy));
}

function reliability(list, ece) {
  const [x, y] = [(value) => 40 + value * 300, (value) => 310 - value * 290];
  const most = Math.max(...list.map((bin) => bin[2]));
  return h("figure", { class: "plot" }, h("svg", { viewBox: "0 0 360 350", role: "img", "aria-label": `Reliability: how often the model is right at each stated probability. Expected calibration error ${share1(ece)}.` },
    [0, 0.25, 0.5, 0.75, 1].map((tick) => [h("line", { class: "grid", x1: x(0), x2: x(1), y1: y(tick), y2: y(tick) }), h("text", { x: 34, y: y(tick) + 4, "text-anchor": "end" }, `${tick * 100}%`), h("text", { x: x(tick), y: 327, "text-anchor": "middle" }, `${tick * 100}%`)]),
    h("line", { class: "ideal", x1: x(0), y1: y(0), x2: x(1), y2: y(1) }), h("polyline", { class: "line", points: list.map((bin) => `${x(bin[0])},${y(bin[1])}`).join(" ") }),
    list.map((bin) => h("circle", { class: "pt", cx: x(bin[0]), cy: y(bin[1]), r: 3 + 5 * Math.sqrt(bin[2] / most) }, h("title", {}, `said ${share1(bin[0])}, right ${share1(bin[1])} of ${count(bin[2])}`))), h("text", { x: 190, y: 346, "text-anchor": "middle" }, "what the model says"), h("text", { x: 44, y: 14 }, "how often it is right")));
}

function confusion(labels, matrix) {
  const short = labels.map((label) => clean(label.name));
  const cell = (value, sum, right) => {
    const part = sum ? value / sum : 0;
    const step = right ? Math.min(4, Math.ceil(part * 4)) : part >= 0.15 ? 3 : part >= 0.06 ? 2 : part >= 0.02 ? 1 : 0;
    return h("td", { class: right ? `c${step}` : step ? `w${step}` : "c0" }, value ? count(value) : h("span", { "aria-label": "0" }, "·"));
  };
  return h("div", { class: "scroll in", tabindex: 0, role: "region", "aria-label": "Confusion matrix" }, h("table", { class: "confusion" }, h("caption", { class: "vh" }, "Rows: the truth; columns: what the model said"),
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "truth ↓ said →"), short.map((name) => h("th", { scope: "col", class: short.length > 6 ? "turned" : null }, h("span", { title: name }, name))))),
    h("tbody", {}, matrix.map((row, at) => { const sum = row.reduce((a, b) => a + b, 0); return h("tr", {}, h("th", { scope: "row" }, short[at]), row.map((value, column) => cell(value, sum, at === column))); }))));
}

function task(name, { labels, metrics }) {
  const title = name[0].toUpperCase() + name.slice(1);
  if (!metrics) return card(title, {}, empty("No figures", "The artefact carries none for this task. 'riskwire evaluate' measures it on your own labels."));
  const list = bins(metrics);
  const matrix = Array.isArray(metrics.confusion) ? metrics.confusion : metrics.confusion?.table || metrics.confusion?.matrix;
  const per = metrics.per_class || {};
  const of = (id, ...names) => names.map((key) => per[id]?.[key]).find((value) => value !== undefined);
  return h("div", { class: "stack" },
    card(title, { sub: `${count(metrics.n)} held-out texts` }, h("dl", { class: "figures-grid" }, metric("Accuracy", share1(metrics.accuracy)), metric("Macro F1", share1(metrics.macro_f1)), metric("Calibration error", share1(metrics.ece), metrics.ece_uncalibrated !== undefined ? `${share1(metrics.ece_uncalibrated)} before calibration` : null))),
    list.length && Array.isArray(matrix) ? null : card(`${title}: calibration and confusion`, {}, empty("This artefact carries no diagram of them", `Its calibration error is above. 'riskwire evaluate --task ${name} DATA.csv --html report.html' draws the reliability diagram and the confusion matrix of your own labels; artefacts that carry theirs show them here.`)),
    list.length ? card(`${title}: calibration`, { sub: "on the dashed line a stated 80 % is right 80 % of the time" }, h("div", { class: "in" }, reliability(list, metrics.ece))) : null,
    Array.isArray(matrix) ? card(`${title}: confusion`, { sub: "rows: the truth; columns: what the model said" }, confusion(labels, matrix)) : null,
    Object.keys(per).length ? card(`${title}: by label`, {}, h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `${title} by label` }, h("table", { class: "rows" }, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Label"), ["Texts", "Precision", "Recall", "F1"].map((label) => h("th", { scope: "col", class: "num" }, label)))), h("tbody", {}, labels.filter((label) => per[label.id]).map((label) => h("tr", {}, h("th", { scope: "row" }, label.name, label.name_zh ? h("span", { class: "quiet small", lang: "zh" }, ` ${label.name_zh}`) : null), h("td", { class: "num" }, count(of(label.id, "support", "n"))), h("td", { class: "num" }, share1(of(label.id, "precision"))), h("td", { class: "num" }, share1(of(label.id, "recall"))), h("td", { class: "num" }, share1(of(label.id, "f1")))))))) ) : null);
}

export function page({ signal }) {
  const body = h("div");
  into(body, signal, async () => {
    const found = await api.model(signal);
    const drift = found.drift;
    const state = !drift ? [h("strong", {}, "Not looked for yet"), " The first look is a few minutes after the start, then once a day; 'riskwire drift' looks now."] : drift.drifting.length ? [h("span", { class: "badge warning" }, "▲ Drift"), ` ${drift.drifting.join(", ")}: label some articles and retrain when the figures have lost by it. Checked `, time(drift.at, { relative: true })] : [h("span", { class: "badge ok" }, "● No drift"), " The news and the verdicts look as they did. Checked ", time(drift.at, { relative: true })];
    return h("div", { class: "stack" },
      card("In use", { sub: found.packaged ? "the packaged model" : "a model of your own" }, h("dl", { class: "figures-grid" }, metric("Model", h("span", { class: "mono small" }, clean(found.id))), metric("Languages", found.languages.join(", ")), metric("Parameters", found.parameters ? `${(found.parameters / 1e6).toFixed(1)} M` : "–"), metric("Size", found.bytes ? `${(found.bytes / 1e6).toFixed(0)} MB` : "–"))),
      card("Drift", {}, h("p", { class: "in" }, state)), h("div", { class: "halves" }, Object.entries(found.tasks).sort(([a], [b]) => a.localeCompare(b)).map(([name, part]) => task(name, part))),
      found.card ? card("Model card", {}, h("div", { class: "cardtext", tabindex: 0, role: "region", "aria-label": "Text of the model card" }, clean(found.card))) : null);
  }, 10);
  return { title: "Model", node: h("div", {}, pageHead("Model", { sub: "How good it is, how honest its probabilities are, where it errs, and whether the news has changed under it." }), body) };
}
