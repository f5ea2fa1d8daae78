// Puts the frame up and shows the page that the address names.
import { api, whenUnauthorised } from "./api.js";
import { fill, h, icon, sign } from "./dom.js";
import { clean } from "./format.js";
import { shortcut, showHelp, startKeys } from "./keys.js";
import { card, failed, pageHead } from "./parts/states.js";
import { go, route, start } from "./router.js";
import { begin, session } from "./session.js";
import { connect, disconnect, onEvent, onState } from "./stream.js";
import { toggleTheme } from "./theme.js";

const NAV = [["overview", "/", "Overview"], ["incidents", "/incidents", "Incidents"], ["live", "/live", "Live"], ["search", "/search", "Search"], ["sources", "/sources", "Sources"], ["model", "/model", "Model"]];
route("/", "overview", async () => (await import("./pages/overview.js")).page);
route("/topic/:value", "overview", async () => (await import("./pages/series.js")).topic);
route("/entity/:value", "overview", async () => (await import("./pages/series.js")).entity);
route("/incidents", "incidents", async () => (await import("./pages/incidents.js")).list);
route("/incidents/:id", "incidents", async () => (await import("./pages/incidents.js")).one);
route("/live", "live", async () => (await import("./pages/live.js")).page);
route("/search", "search", async () => (await import("./pages/search.js")).page);
route("/article/:id", "search", async () => (await import("./pages/article.js")).page);
route("/sources", "sources", async () => (await import("./pages/sources.js")).page);
route("/model", "model", async () => (await import("./pages/model.js")).page);

const app = document.getElementById("app");
let main = null;
let leaving = new AbortController();
let links = new Map();
let routing = false;

function login(message = "") {
  disconnect();
  leaving.abort();
  const wrong = h("p", { class: "wrong", role: "alert" }, message);
  const field = h("input", { type: "password", name: "token", required: true, autocomplete: "current-password", spellcheck: "false" });
  const button = h("button", { type: "submit", class: "button main" }, "Sign in");
  const form = h("form", { class: "card", onsubmit: async (event) => {
    event.preventDefault();
    button.disabled = true;
    fill(wrong);
    try {
      await api.login(field.value);
      await boot();
    } catch (error) {
      fill(wrong, error.status === 401 ? "This token is not known. Ask whoever runs Riskwire for one." : `${error.message} ${error.hint || ""}`);
      button.disabled = false;
      field.select();
    }
  } }, h("div", { class: "brand" }, sign(), h("span", {}, "Riskwire")), h("h1", {}, "Sign in"), h("label", { class: "field" }, "Access token", field, h("small", {}, "Whoever runs Riskwire gives tokens out ([[web.tokens]] in its configuration).")), wrong, button);
  main = h("main", { id: "main", tabindex: "-1" }, form);
  fill(app, h("div", { class: "login" }, main));
  document.title = "Sign in · Riskwire";
  field.focus();
}

function frame() {
  links = new Map(NAV.map(([name, href, label]) => [name, h("a", { href, title: label }, icon(name), h("span", {}, label))]));
  const bell = h("span", { class: "count", hidden: true });
  links.get("incidents").append(bell);
  const pulse = h("span", { class: "pulse", role: "status" }, h("span", { class: "pulse-text" }));
  onState((state) => {
    pulse.dataset.state = state;
    const label = state === "live" ? "Live" : state === "retry" ? "Reconnecting…" : "Offline";
    pulse.title = label;
    fill(pulse.firstChild, label);
  });
  const field = h("input", { type: "search", name: "q", placeholder: "Search articles", "aria-label": "Search articles", maxlength: 200, autocomplete: "off" });
  const search = h("form", { role: "search", "aria-label": "Everywhere", onsubmit: (event) => { event.preventDefault(); const words = clean(field.value).trim(); field.value = ""; field.blur(); go(words ? `/search?${new URLSearchParams({ q: words })}` : "/search"); } }, icon("search"), field, h("kbd", { "aria-hidden": "true" }, "/"));
  const me = session.me;
  const out = me.name === "local" ? null : h("button", { type: "button", onclick: async () => { await api.logout().catch(() => {}); session.me = null; login("You are signed out."); } }, "Sign out");
  main = h("main", { id: "main", tabindex: "-1" });
  fill(app, h("div", { class: "frame" },
    h("header", { class: "side" }, h("a", { class: "brand", href: "/", "aria-label": "Riskwire" }, sign(), h("span", {}, "Riskwire")), h("nav", { class: "nav", "aria-label": "Main" }, [...links.values()]), h("div", { class: "side-foot" }, h("span", { class: "who" }, `${clean(me.name || "")} · ${me.role || ""}`), h("button", { type: "button", onclick: showHelp }, "Keyboard help (?)"), out, h("span", {}, `Riskwire ${clean(me.version)}`))),
    h("div", { class: "body" }, h("div", { class: "top" }, search, h("div", { class: "top-right" }, pulse, h("button", { type: "button", class: "icon-button", "aria-label": "Light or dark", title: "Light or dark (t)", onclick: toggleTheme }, icon("theme")), h("button", { type: "button", class: "icon-button", "aria-label": "Keyboard help", title: "Keyboard help (?)", onclick: showHelp }, "?"))), main)));
  shortcut("/", "Search", () => field.focus());
  shortcut("t", "Light or dark", toggleTheme);
  const tally = () => api.incidents({ state: "open", limit: 1 }).then((found) => { bell.hidden = !found.total; fill(bell, String(found.total), h("span", { class: "vh" }, " not resolved")); }, () => {});
  tally();
  let due = 0;
  onEvent((kind) => { if (kind === "incident" && !due) due = setTimeout(() => { due = 0; tally(); }, 500); });
}

async function show(place, { back = false, first = false, quiet = false } = {}) {
  if (!session.me?.role) return;
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  for (const [name, link] of links) if (name === place.name) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
  let made;
  try {
    made = place.load ? (await place.load())({ ...place, signal }) : { title: "Not found", node: h("div", {}, pageHead("There is no such page"), card(null, { label: "Not found" }, failed({ title: "Not found", message: "The address names nothing here.", hint: "Go to the overview, or search.", status: 404 }))) };
  } catch (error) {
    if (signal.aborted) return;
    console.error(error);
    made = { title: "Error", node: failed({ title: "This page could not be shown", message: "Part of the dashboard could not be loaded.", hint: "Reload the page." }, () => location.reload()) };
  }
  if (signal.aborted) return;
  document.title = `${clean(made.title)} · Riskwire`;
  fill(main, made.node);
  if (!back) scrollTo(0, 0);
  if (!first && !quiet) main.focus({ preventScroll: true }); // so that the keyboard and screen readers go on in the new page
}

async function boot() {
  try {
    if (!(await begin())) { login(); return; }
  } catch (error) {
    if (error.status === 401) { login(); return; }
    fill(app, h("main", { id: "main", tabindex: "-1" }, failed(error, boot)));
    return;
  }
  frame();
  if (!routing) { routing = true; startKeys(); start(show); } else go(location.pathname + location.search, { replace: true });
  connect();
}

whenUnauthorised(() => { if (session.me?.role) { session.me = null; login("Your session has ended. Sign in again."); } });
boot();
