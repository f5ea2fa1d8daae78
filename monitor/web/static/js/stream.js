// One connection for live articles and incidents, whoever listens. It opens again by itself, later and later.

const LONGEST = 30000;
const listeners = new Set();
const watchers = new Set();
const seen = new Set();
let source = null;
let timer = 0;
let wait = 1000;
let state = "off";
let lastId = "";

function become(next) {
  if (next === state) return;
  state = next;
  for (const watch of watchers) watch(state);
}

function tell(kind, event) {
  if (event.lastEventId) {
    if (event.lastEventId === lastId || seen.has(event.lastEventId)) return;
    lastId = event.lastEventId;
    seen.add(lastId);
    if (seen.size > 1000) seen.delete(seen.values().next().value);
  }
  let data;
  try { data = JSON.parse(event.data); } catch { return; }
  for (const listen of [...listeners]) listen(kind, data);
}

function open() {
  clearTimeout(timer);
  source = new EventSource("/api/v1/live");
  source.onopen = () => { wait = 1000; become("live"); };
  for (const kind of ["article", "incident", "dropped"]) source.addEventListener(kind, (event) => tell(kind, event));
  source.onerror = () => {
    become("retry");
    // A refused connection (503, 401) is closed for good by the browser; a broken one it reopens, with Last-Event-ID.
    if (source && source.readyState === EventSource.CLOSED) {
      timer = setTimeout(open, wait * (0.75 + Math.random() / 2));
      wait = Math.min(wait * 2, LONGEST);
    }
  };
}

/** Begins, when it has not. */
export function connect() {
  if (!source) open();
}

/** Ends, for a logout. */
export function disconnect() {
  clearTimeout(timer);
  source?.close();
  source = null;
  become("off");
}

/** `listen(kind, data)` for every event; gives back what stops it. */
export function onEvent(listen) {
  listeners.add(listen);
  return () => listeners.delete(listen);
}

/** `watch("live" | "retry" | "off")` now and at every change. */
export function onState(watch) {
  watchers.add(watch);
  watch(state);
  return () => watchers.delete(watch);
}

addEventListener("online", () => { if (source && source.readyState === EventSource.CLOSED) open(); });
addEventListener("pagehide", () => source?.close());
addEventListener("pageshow", (event) => { if (event.persisted && source) open(); });
