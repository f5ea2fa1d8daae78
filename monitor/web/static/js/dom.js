// Makes elements. Text only ever becomes text: nothing here parses markup.

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "path", "circle", "line", "rect", "text", "g", "title", "polyline"]);

/** A link that may be followed: of this site, or http(s). Anything else (javascript:, data:) gives null. */
export function safeHref(value) {
  if (typeof value !== "string" || value === "") return null;
  if (value.startsWith("/") && !value.startsWith("//")) return value;
  if (value.startsWith("#")) return value;
  try {
    const url = new URL(value);
    return url.protocol === "https:" || url.protocol === "http:" ? url.href : null;
  } catch {
    return null;
  }
}

/** One element. `props`: attributes; `on…` listeners; `class`; `text`; `data` (dataset); `css` (CSSOM properties). */
export function h(tag, props, ...children) {
  const node = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(props || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "class") node.setAttribute("class", value);
    else if (name === "text") node.textContent = value;
    else if (name === "data") Object.assign(node.dataset, value);
    else if (name === "css") for (const [key, part] of Object.entries(value)) node.style.setProperty(key, part);
    else if (name === "value") node.value = value;
    else if (name === "href") {
      const href = safeHref(value);
      if (href !== null) node.setAttribute("href", href);
    } else node.setAttribute(name, value === true ? "" : String(value));
  }
  add(node, children);
  return node;
}

function add(node, children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    if (Array.isArray(child)) add(node, child);
    else node.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

/** Puts `children` in place of what `node` holds. */
export function fill(node, ...children) {
  node.replaceChildren();
  add(node, children);
  return node;
}

const ICONS = {
  overview: "M4 4h7v7H4zM13 4h7v4h-7zM13 11h7v9h-7zM4 14h7v6H4z",
  incidents: "M12 3 2.5 20h19zM12 10v4M12 17.2v.1",
  live: "M3 12h4l3-8 4 16 3-8h4",
  search: "M11 4a7 7 0 1 1 0 14 7 7 0 0 1 0-14zM16.2 16.2 21 21",
  sources: "M5 19a1.3 1.3 0 1 0 0-.1M4 11a9 9 0 0 1 9 9M4 4a16 16 0 0 1 16 16",
  model: "M4 20V10M10 20V4M16 20v-8M22 20H2",
  theme: "M12 4a8 8 0 1 0 8 8 6.5 6.5 0 0 1-8-8z",
  out: "M10 4H5v16h5M14 8l4 4-4 4M18 12H9",
};

/** One of the interface's own drawings; for the eye only. */
export function icon(name) {
  return h("svg", { viewBox: "0 0 24 24", "aria-hidden": "true", focusable: "false" }, h("path", { d: ICONS[name] }));
}

/** The product's sign. */
export function sign() {
  return h("svg", { viewBox: "0 0 32 32", "aria-hidden": "true", focusable: "false" },
    h("rect", { width: 32, height: 32, rx: 7, fill: "#1d3a63" }),
    h("path", { d: "M5 19h5l3-6 4 11 4-16 3 11h3", fill: "none", stroke: "#ffb454", "stroke-width": 2.6, "stroke-linecap": "round", "stroke-linejoin": "round" }));
}
