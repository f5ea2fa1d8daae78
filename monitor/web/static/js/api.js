// The REST API (docs/api.md), from the browser: same origin, the session's cookie, plain errors.

/** What the server, or the way to it, said no with. */
export class ApiError extends Error {
  constructor(status, title, detail, hint, retry) {
    super(detail || title);
    Object.assign(this, { status, title, hint, retry });
  }
}

let onUnauthorised = () => {};
export const whenUnauthorised = (callback) => { onUnauthorised = callback; };

async function call(path, { method = "GET", body, signal } = {}) {
  const headers = { Accept: "application/json" };
  if (method !== "GET") headers["X-Riskwire-Request"] = "1";
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, { method, headers, signal, credentials: "same-origin", body: body === undefined ? undefined : JSON.stringify(body) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "No connection", "Riskwire does not answer.", "Is the daemon running? This page tries again when you reload it.");
  }
  const text = await answer.text();
  let data = null;
  try { data = text ? JSON.parse(text) : null; } catch { /* a proxy's page: the status has to do */ }
  if (!answer.ok) {
    if (answer.status === 401 && path !== "/login") onUnauthorised();
    throw new ApiError(answer.status, data?.title || `Error ${answer.status}`, data?.detail, data?.hint, Number(answer.headers.get("Retry-After")) || 0);
  }
  return data;
}

const query = (values) => {
  const pairs = Object.entries(values).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return pairs.length ? `?${new URLSearchParams(pairs)}` : "";
};
const id = encodeURIComponent;
const base = "/api/v1";

export const api = {
  me: () => call(`${base}/me`),
  login: (token) => call("/login", { method: "POST", body: { token } }),
  logout: () => call("/logout", { method: "POST" }),
  topics: () => call(`${base}/topics`),
  overview: (hours, signal) => call(`${base}/overview${query({ hours })}`, { signal }),
  series: (values, signal) => call(`${base}/series${query(values)}`, { signal }),
  articles: (values, signal) => call(`${base}/articles${query(values)}`, { signal }),
  article: (name, signal) => call(`${base}/articles/${id(name)}`, { signal }),
  explanation: (name, task, signal, label = "") => call(`${base}/articles/${id(name)}/explanation${query({ task, label })}`, { signal }),
  facets: (values, signal) => call(`${base}/facets${query(values)}`, { signal }),
  incidents: (values, signal) => call(`${base}/incidents${query(values)}`, { signal }),
  incident: (name, signal) => call(`${base}/incidents/${id(name)}`, { signal }),
  act: (name, verb, body) => call(`${base}/incidents/${id(name)}/${verb}`, { method: "POST", body }),
  sources: (signal) => call(`${base}/sources`, { signal }),
  watchlist: (values, signal) => call(`${base}/watchlist${query(values)}`, { signal }),
  model: (signal) => call(`${base}/model`, { signal }),
};
