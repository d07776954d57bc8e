// Calls to the server. Every failure is a Problem; a busy server is asked again, one that wants a key gets it.

import { askForKey, carrying, givenKey } from "./key.js";

const MOST_TRIES = 4;

/** What went wrong, with the server's code; code "offline" when there was no answer. */
export class Problem extends Error {
  constructor(message, code) {
    super(message);
    this.code = code;
  }
}

async function call(path, options = {}, onBusy = () => {}) {
  for (let attempt = 1; ; attempt += 1) {
    const key = givenKey();
    const headers = { ...options.headers, ...carrying(key) };
    const response = await fetch(path, { ...options, headers }).catch((error) => {
      throw error.name === "AbortError" ? error : new Problem(error.message, "offline");
    });
    if (response.ok) return response;
    // Another call may have asked meanwhile; then its key is tried first.
    if (response.status === 401 && (givenKey() !== key || await askForKey())) {
      attempt -= 1;
      continue;
    }
    if (response.status !== 503 || attempt === MOST_TRIES) throw await problemOf(response);
    onBusy();
    await pause(Math.min(5, Number(response.headers.get("Retry-After")) || 1) * 1000, options.signal);
  }
}

async function problemOf(response) {
  const body = await response.json().catch(() => ({}));
  return new Problem(body.detail ?? `${response.status} ${response.statusText}`, body.error?.code ?? "unknown");
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("stale", "AbortError"));
    });
  });
}

/** Return the first model with its vocabulary. */
export async function model() {
  const list = await (await call("/v1/models")).json();
  return (await call(`/v1/models/${encodeURIComponent(list.data[0].id)}`)).json();
}

/** Return the plan that an instruction stands for. */
export async function plan(prompt, signal, onBusy) {
  const body = JSON.stringify({ prompt });
  const headers = { "Content-Type": "application/json" };
  return (await call("/v1/plans", { method: "POST", headers, body, signal }, onBusy)).json();
}

function form(image, edits, options) {
  const data = new FormData();
  data.append("image", image, "photo");
  data.append("plan", JSON.stringify({ edits }));
  for (const [name, value] of Object.entries(options)) if (value) data.append(name, value);
  return data;
}

/** Edit and return {blob, width, height, seconds, warnings}. */
export async function edit(image, edits, options, signal, onBusy) {
  const body = form(image, edits, options);
  const answer = await (await call("/edit", { method: "POST", body, signal }, onBusy)).json();
  const bytes = Uint8Array.from(atob(answer.image_base64), (letter) => letter.charCodeAt(0));
  return { ...answer, blob: new Blob([bytes], { type: answer.media_type }) };
}

/** Edit and return the encoded image alone: the way for large results. */
export async function editFile(image, edits, options) {
  const headers = { Accept: "image/*" };
  return (await call("/edit", { method: "POST", headers, body: form(image, edits, options) })).blob();
}
