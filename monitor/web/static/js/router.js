// Client-side routes over the history API. A page is `render(place) → {title, node, leave?}`.
const routes = [];
let show = () => {};

/** `pattern`: `/topic/:value`; `load` gives the module that has `page`. */
export function route(pattern, name, load) {
  const names = [];
  const source = pattern.replace(/:(\w+)/g, (_, key) => { names.push(key); return "([^/]+)"; });
  routes.push({ expression: new RegExp(`^${source}/?$`), names, name, load });
}

/** What the address names. */
export function match(url = new URL(location.href)) {
  for (const { expression, names, name, load } of routes) {
    const found = expression.exec(url.pathname);
    if (!found) continue;
    try {
      const values = Object.fromEntries(names.map((key, index) => [key, decodeURIComponent(found[index + 1])]));
      return { name, load, values, query: url.searchParams, path: url.pathname };
    } catch { break; } // a broken escape: no such page
  }
  return { name: "none", load: null, values: {}, query: url.searchParams, path: url.pathname };
}

/** Goes to another page. `replace`: in place of this one in the history. */
export function go(href, { replace = false, quiet = false } = {}) {
  history[replace ? "replaceState" : "pushState"](null, "", href);
  show(match(), { quiet });
}

/** Starts: `callback(place, {back, quiet})` for the first page and every later one. */
export function start(callback) {
  show = callback;
  addEventListener("popstate", () => show(match(), { back: true }));
  document.addEventListener("click", (event) => {
    if (event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const link = event.target.closest?.("a[href]");
    if (!link || link.target || link.origin !== location.origin || link.hasAttribute("download")) return;
    if (link.getAttribute("href").startsWith("#") || /^\/(api|healthz|readyz|metrics)/.test(link.pathname)) return;
    event.preventDefault();
    go(link.href);
  });
  show(match(), { first: true });
}
