// Who reads, and what things are called.
import { api } from "./api.js";
import { humanise } from "./format.js";

export const session = { me: null, topics: new Map(), languages: [], model: "" };

export const may = (role) => Boolean(session.me?.roles?.includes(role));

/** Reads who we are and what the topics are called. */
export async function begin() {
  session.me = await api.me();
  if (session.me.login_required && !session.me.role) return false;
  const found = await api.topics();
  session.topics = new Map(found.topics.map((topic) => [topic.id, topic]));
  session.languages = found.languages;
  session.model = found.model;
  return true;
}

export const topicName = (id) => (id === "uncertain" ? "Uncertain" : session.topics.get(id)?.name || humanise(id));
const LANGUAGES = { en: "English", zh: "Chinese", und: "Unknown" };
export const languageName = (tag) => {
  if (LANGUAGES[tag]) return LANGUAGES[tag];
  try { return new Intl.DisplayNames(["en"], { type: "language" }).of(tag) || tag; } catch { return tag; }
};

/** Where a series has its page; null where it has none. */
export function seriesHref(scope, value) {
  if (scope === "topic" || scope === "entity") return `/${scope}/${encodeURIComponent(value)}`;
  if (scope === "source") return `/search?source=${encodeURIComponent(value)}`;
  return scope === "all" ? "/" : null;
}
