// Light or dark: the system's choice until the reader makes one.
const KEY = "riskwire.theme";
const system = matchMedia("(prefers-color-scheme: dark)");
const watchers = new Set();

const stored = () => { try { return localStorage.getItem(KEY) || ""; } catch { return ""; } };

function apply() {
  const theme = stored() || (system.matches ? "dark" : "light");
  if (document.documentElement.dataset.theme === theme) return;
  document.documentElement.dataset.theme = theme;
  for (const watch of watchers) watch(theme);
}

export const theme = () => document.documentElement.dataset.theme;

export function toggleTheme() {
  const next = theme() === "dark" ? "light" : "dark";
  try {
    // Back at what the system says, the reader's choice is forgotten, so that it follows the system again.
    if ((next === "dark") === system.matches) localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, next);
  } catch { /* the choice lasts as long as the page */ }
  document.documentElement.dataset.theme = next;
  for (const watch of watchers) watch(next);
  return next;
}

export function onTheme(watch) {
  watchers.add(watch);
  return () => watchers.delete(watch);
}

/** A colour of the theme, for what is drawn on a canvas. */
export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

system.addEventListener("change", apply);
addEventListener("storage", (event) => { if (event.key === KEY) apply(); });
