// Numbers, times and other people's text, as the reader sees them. Times are the reader's; UTC is in the title.
import { h } from "./dom.js";

const LOCALE = navigator.language || "en";
const whole = new Intl.NumberFormat(LOCALE, { maximumFractionDigits: 0 });
const tenth = new Intl.NumberFormat(LOCALE, { maximumFractionDigits: 1 });
const compact = new Intl.NumberFormat(LOCALE, { notation: "compact", maximumFractionDigits: 1 });
const percent = new Intl.NumberFormat(LOCALE, { style: "percent", maximumFractionDigits: 0 });
const percent1 = new Intl.NumberFormat(LOCALE, { style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 });
const clockTime = new Intl.DateTimeFormat(LOCALE, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const dayTime = new Intl.DateTimeFormat(LOCALE, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const fullDay = new Intl.DateTimeFormat(LOCALE, { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const weekday = new Intl.DateTimeFormat(LOCALE, { weekday: "short", day: "numeric" });

export const count = (value) => (value === null || value === undefined ? "–" : value >= 100000 ? compact.format(value) : whole.format(value));
export const decimal = (value) => (value === null || value === undefined ? "–" : tenth.format(value));
export const share = (value) => (value === null || value === undefined ? "–" : percent.format(value));
export const share1 = (value) => (value === null || value === undefined ? "–" : percent1.format(value));
export const clock = (date) => clockTime.format(date);
export const dayOf = (date) => weekday.format(date);

/** A probability so small that percent say nothing. */
export function tiny(value) {
  if (value === null || value === undefined) return "–";
  if (value >= 0.001) return value.toFixed(3);
  if (value === 0) return "< 1e-300";
  return value.toExponential(0).replace("e-", " × 10⁻").replace(/\d+$/, (digits) => [...digits].map((d) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(d)]).join(""));
}

/** `2026-03-02 09:14 UTC`. */
export const utc = (date) => `${date.toISOString().slice(0, 16).replace("T", " ")} UTC`;

/** A point in time in the reader's zone, as short as it can be without doubt. */
export function moment(date, now = new Date()) {
  if (date.toDateString() === now.toDateString()) return clockTime.format(date);
  return date.getFullYear() === now.getFullYear() ? dayTime.format(date) : fullDay.format(date);
}

/** Day and time, whatever day it is. */
export const stamp = (date) => dayTime.format(date);

const STEPS = [[60, "s"], [3600, "min", 60], [86400, "h", 3600], [Infinity, "d", 86400]];

/** `4 min ago`; nothing for the future. */
export function ago(date, now = new Date()) {
  const seconds = Math.max(0, (now - date) / 1000);
  if (seconds < 45) return "just now";
  for (const [below, unit, by] of STEPS.slice(1)) if (seconds < below) return `${Math.round(seconds / by)} ${unit} ago`;
  return "";
}

/** <time>, with UTC on hover. `relative`: how long ago. */
export function time(text, { relative = false } = {}) {
  if (!text) return h("span", { class: "quiet" }, "never");
  const date = new Date(text);
  if (Number.isNaN(date.getTime())) return h("span", { class: "quiet" }, "unknown");
  const old = Date.now() - date.getTime() > 30 * 86400e3;
  const label = relative && !old ? ago(date) : moment(date);
  return h("time", { datetime: date.toISOString(), title: relative ? `${fullDay.format(date)} (${utc(date)})` : utc(date), class: "tnum nowrap" }, label);
}

// C0 and C1 controls, and every bidi control and invisible mark that could make a headline read as something else.
const CONTROLS = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb]|[\u{e0000}-\u{e007f}]/gu;
export const TITLE_LIMIT = 600;

/** Other people's text without controls. */
export const clean = (text) => String(text ?? "").replace(CONTROLS, "");

/** At most `limit` code points; what is cut is marked. */
export function clip(text, limit = TITLE_LIMIT) {
  if (text.length <= limit) return text;
  const points = Array.from(text);
  return points.length <= limit ? text : `${points.slice(0, limit).join("").trimEnd()}…`;
}

/** Other people's text, isolated from the direction of what stands around it. */
export function foreign(text, { lang = "", limit = TITLE_LIMIT } = {}) {
  return h("bdi", { lang: /^[a-z]{2,3}$/.test(lang) && lang !== "und" ? lang : null }, clip(clean(text), limit) || "(without a headline)");
}

/** `fed_central_banks` → `Fed central banks`: for ids without a name. */
export function humanise(id) {
  const words = clean(id).replace(/_/g, " ").trim();
  return words ? words[0].toUpperCase() + words.slice(1) : "–";
}
