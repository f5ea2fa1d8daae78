// Dialogs (the browser's own: focus stays inside, Escape closes, focus returns) and short notices.
import { fill, h } from "../dom.js";

/**
 * Asks. `confirm`: `{label, run(form)}`; `run` may be async and may throw: what it says is shown and nothing is lost.
 * Without `confirm` there is a Close button alone.
 */
export function openDialog({ title, body, confirm, wide = false }) {
  const before = document.activeElement;
  const wrong = h("p", { class: "wrong", role: "alert" });
  const cancel = h("button", { type: "button", class: "button", onclick: () => dialog.close() }, confirm ? "Cancel" : "Close");
  const act = confirm && h("button", { type: "submit", class: "button main" }, confirm.label);
  const name = `dialog-${Math.random().toString(36).slice(2)}`;
  const form = h("form", { method: "dialog", onsubmit: submit },
    h("header", {}, h("h2", { id: name }, title)), h("div", { class: "in" }, body, wrong), h("footer", {}, cancel, act));
  const dialog = h("dialog", { "aria-labelledby": name, class: wide ? "wide" : null }, form);
  async function submit(event) {
    event.preventDefault();
    if (!confirm) return;
    act.disabled = true;
    fill(wrong);
    try {
      await confirm.run(form);
      dialog.close();
    } catch (error) {
      fill(wrong, [error.message, error.hint].filter(Boolean).join(" "));
      act.disabled = false;
    }
  }
  dialog.addEventListener("close", () => {
    dialog.remove();
    if (before?.isConnected) before.focus();
  });
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

let box = null;

/** A notice that goes away by itself; read out by screen readers. */
export function toast(text, { bad = false } = {}) {
  if (!box) {
    box = h("div", { class: "toasts", role: "status", "aria-live": "polite" });
    document.body.append(box);
  }
  const note = h("div", { class: bad ? "toast bad" : "toast" }, h("span", {}, text),
    h("button", { type: "button", "aria-label": "Dismiss", onclick: () => note.remove() }, "✕"));
  box.append(note);
  while (box.children.length > 4) box.firstChild.remove();
  setTimeout(() => note.remove(), bad ? 12000 : 6000);
}
