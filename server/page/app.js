// The page: what is open, what is planned, and what happens when something changes.

import * as api from "./api.js";
import { describe, drawChips, drawPalette } from "./chips.js";
import { showPhoto, showResult, wireCompare } from "./compare.js";
import { Latest } from "./latest.js";
import { imageIn, openPhoto } from "./photo.js";
import { added, replan, toServer } from "./plan.js";
import { explain, say, translate } from "./words.js";

const $ = (id) => document.getElementById(id);
const DEBOUNCE_MILLISECONDS = 60;
const BEYOND = 0.5;

const state = { photo: null, edits: [], vocabulary: new Map(), asked: null, opening: null };
const preview = new Latest(render, DEBOUNCE_MILLISECONDS);

function tell(text) {
  $("status").textContent = text;
}

function complain(problem) {
  if (problem.name === "AbortError") return;
  if (!(problem instanceof api.Problem)) console.error(problem);
  tell("");
  $("trouble").textContent = explain(problem);
  $("trouble").hidden = false;
}

function settle() {
  $("trouble").hidden = true;
  $("trouble").textContent = "";
}

function busy(yes) {
  document.body.classList.toggle("busy", yes);
  $("stage").ariaBusy = yes;
}

/** Run a job with the progress bar on, and say what went wrong. */
async function during(text, job) {
  settle();
  tell(text);
  busy(true);
  try {
    return await job();
  } catch (problem) {
    complain(problem);
    return undefined;
  } finally {
    busy(false);
  }
}

async function openFile(file) {
  if (!file) {
    complain(new api.Problem("There is no photo in what you dropped or pasted.", "no_photo"));
    return;
  }
  preview.stop();
  state.opening = file;
  const opened = await during(say("opening"), async () => {
    const photo = await openPhoto(file);
    if (state.opening !== file) return undefined;
    await showPhoto(photo);
    return photo;
  });
  if (!opened) return;
  state.photo = opened;
  document.body.dataset.state = "working";
  $("another").hidden = false;
  $("panel").hidden = false;
  $("full-size").textContent = opened.full ? say("fullSize", opened) : "";
  $("take").hidden = true;
  tell(say("opened"));
  if (state.edits.length) preview.ask();
  else $("instruction").focus({ preventScroll: true });
}

async function submit() {
  const prompt = $("instruction").value;
  state.asked?.abort();
  const asked = new AbortController();
  state.asked = asked;
  const plan = await during(say("thinking"), () => api.plan(prompt, asked.signal, () => tell(say("waiting"))));
  if (!plan || state.asked !== asked) return;
  preview.stop();
  state.edits = replan(state.edits, plan.edits);
  $("panel").hidden = false;
  const lost = plan.beyond > BEYOND;
  $("beyond").hidden = !lost && plan.edits.length > 0;
  $("beyond").textContent = lost ? say("beyond") : say("nothingFound");
  redraw();
}

/** Draw the chips anew and have the picture follow. */
function redraw() {
  drawChips($("chips"), state.edits, state.vocabulary, { changed: follow, moved: redraw, removed: removeEdit });
  $("nothing").hidden = state.edits.length > 0 || !$("beyond").hidden;
  $("clear").hidden = state.edits.length === 0;
  follow();
}

function follow() {
  if (state.photo) preview.ask();
  else tell(state.edits.length ? say("choosePhoto") : "");
}

function removeEdit(edit) {
  const position = state.edits.indexOf(edit);
  state.edits = state.edits.filter((one) => one !== edit);
  redraw();
  // The button that had the focus is gone: give it to its neighbour instead of the document's start.
  const buttons = $("chips").querySelectorAll(".remove");
  (buttons[Math.min(position, buttons.length - 1)] ?? $("instruction")).focus();
}

function addEdit(adjustment) {
  const edit = added(adjustment, state.edits);
  if (edit) state.edits = [...state.edits, edit];
  redraw();
  const last = state.edits.findLastIndex((one) => one.adjust === adjustment.name);
  $("chips").children[last].querySelector(".amount").focus();
}

async function render(signal) {
  const { photo, edits } = state;
  $("notes").hidden = true;
  if (!edits.length) {
    await showResult(null);
    $("take").hidden = true;
    tell(say("unchanged"));
    return;
  }
  await during(say("editing"), async () => {
    const result = await api.edit(photo.working, toServer(edits), { output_format: previewFormat(photo, edits) }, signal,
      () => tell(say("waiting")));
    const list = describe(edits, state.vocabulary);
    if (signal.aborted) return;
    await showResult(result.blob, list);
    const seconds = Object.values(result.seconds).reduce((sum, one) => sum + one, 0);
    tell(say("done", { seconds: seconds.toFixed(seconds < 0.095 ? 2 : 1), list }));
    showWarnings(result.warnings);
    $("take").hidden = false;
  });
}

function previewFormat(photo, edits) {
  return photo.alpha || edits.some((edit) => edit.adjust === "remove") ? "png" : "jpeg";
}

function showWarnings(warnings) {
  $("notes").hidden = warnings.length === 0;
  $("notes").replaceChildren(...warnings.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
}

async function download() {
  const button = $("download");
  button.disabled = true;
  $("download-text").textContent = say("preparing");
  await during(say("preparing"), async () => {
    const options = { output_format: $("format").value };
    const blob = await api.editFile(state.photo.original, toServer(state.edits), options);
    const suffix = { "image/jpeg": "jpg", "image/png": "png", "image/webp": "webp" }[blob.type] ?? "img";
    const name = `${state.photo.name}-edited.${suffix}`;
    const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    tell(say("saved", { name }));
  });
  $("download-text").textContent = say("download");
  button.disabled = false;
}

function suggest(text) {
  const box = $("instruction");
  const written = box.value.trim();
  if (!written.includes(text)) box.value = written ? `${written}, ${text}` : text;
  grow();
  submit();
}

function grow() {
  const box = $("instruction");
  box.style.height = "auto";
  box.style.height = `${Math.min(box.scrollHeight, 160)}px`;
}

function wireChoosing() {
  $("choose").addEventListener("click", () => $("file").click());
  $("another").addEventListener("click", () => $("file").click());
  $("shoot").addEventListener("click", () => $("camera").click());
  for (const input of [$("file"), $("camera")]) {
    input.addEventListener("change", () => {
      if (input.files.length) openFile(input.files[0]);
      input.value = "";
    });
  }
  document.addEventListener("paste", (event) => {
    const file = imageIn(event.clipboardData);
    if (!file) return;
    event.preventDefault();
    openFile(file);
  });
}

function wireDropping() {
  let depth = 0;
  const over = (yes) => document.body.classList.toggle("dropping", yes);
  document.addEventListener("dragenter", (event) => {
    event.preventDefault();
    depth += 1;
    over(true);
  });
  document.addEventListener("dragleave", () => {
    depth -= 1;
    over(depth > 0);
  });
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    depth = 0;
    over(false);
    openFile(imageIn(event.dataTransfer));
  });
}

function wireWriting() {
  $("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
  $("instruction").addEventListener("input", grow);
  $("instruction").addEventListener("keydown", (event) => {
    // Enter that ends a word of an input method belongs to the input method.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    submit();
  });
  for (const text of say("suggested")) {
    const button = Object.assign(document.createElement("button"), { type: "button", className: "pill", textContent: text });
    button.addEventListener("click", () => suggest(text));
    const item = document.createElement("li");
    item.append(button);
    $("suggestions").append(item);
  }
}

function wirePlan() {
  $("download").addEventListener("click", download);
  $("clear").addEventListener("click", () => {
    state.edits = [];
    $("beyond").hidden = true;
    $("instruction").value = "";
    redraw();
    $("instruction").focus();
  });
}

async function start() {
  translate();
  const here = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);
  $("privacy").textContent = say(here ? "local" : "remote");
  wireCompare();
  wireChoosing();
  wireDropping();
  wireWriting();
  wirePlan();
  try {
    const { vocabulary } = await api.model();
    state.vocabulary = new Map(vocabulary.adjustments.map((one) => [one.name, one]));
    drawPalette($("palette"), state.vocabulary, addEdit);
  } catch (problem) {
    complain(problem);
  }
}

start();
