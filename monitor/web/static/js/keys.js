// Keyboard shortcuts: single letters, never while one writes, never with a modifier. `g` then a letter goes to a page.
import { h } from "./dom.js";
import { go } from "./router.js";
import { openDialog } from "./parts/dialog.js";

const PLACES = { o: ["/", "Overview"], i: ["/incidents", "Incidents"], l: ["/live", "Live feed"], s: ["/search", "Search"], h: ["/sources", "Sources' health"], m: ["/model", "Model"] };
const commands = new Map();
let leading = 0;

/** A shortcut; gives back what takes it away. */
export function shortcut(key, label, run) {
  const entry = { label, run };
  commands.set(key, entry);
  return () => { if (commands.get(key) === entry) commands.delete(key); };
}

export function showHelp() {
  const rows = [];
  const row = (keys, label) => rows.push(h("dt", {}, keys.flatMap((key, index) => [index ? " " : null, h("kbd", {}, key)])), h("dd", {}, label));
  for (const [key, [, label]] of Object.entries(PLACES)) row(["g", key], label);
  for (const [key, { label }] of commands) row([key], label);
  row(["?"], "This help");
  row(["Esc"], "Close");
  openDialog({ title: "Keyboard", body: [h("dl", { class: "helplist" }, rows), h("p", { class: "small" }, "In the heat map the arrow keys go from cell to cell, Enter opens the topic.")], confirm: null });
}

export function startKeys() {
  document.addEventListener("keydown", (event) => {
    if (event.metaKey || event.ctrlKey || event.altKey || event.isComposing) return;
    if (event.target.closest?.("input, textarea, select, [contenteditable]") || document.querySelector("dialog[open]")) return;
    if (Date.now() < leading && PLACES[event.key]) {
      leading = 0;
      event.preventDefault();
      go(PLACES[event.key][0]);
    } else if (event.key === "g") leading = Date.now() + 1500;
    else if (event.key === "?") { event.preventDefault(); showHelp(); }
    else if (commands.has(event.key)) { event.preventDefault(); commands.get(event.key).run(); }
  });
}
