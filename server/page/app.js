// The page: what is open, what is planned, and what happens when something changes.

import * as api from "./api.js";
import { wireArrival } from "./arrival.js";
import { Brush } from "./brush.js";
import { describe, drawChips } from "./chips.js";
import { showPainting, showPhoto, showResult, wireCompare } from "./compare.js";
import { drawSuggestions, wireComposer } from "./composer.js";
import { History } from "./history.js";
import { Latest } from "./latest.js";
import { drawPalette, wireFinding } from "./palette.js";
import { openPhoto } from "./photo.js";
import { added, displaces, ERASING, fullSize, MASKED, ready, replan, toServer, waiting } from "./plan.js";
import { complain, during, tell } from "./report.js";
import { say, translate } from "./words.js";

const $ = (id) => document.getElementById(id);
const DEBOUNCE_MILLISECONDS = 60;
const BEYOND = 0.5;

const state = { photo: null, copy: null, edits: [], vocabulary: new Map(), paints: false, asked: null, opening: null };
const preview = new Latest(render, DEBOUNCE_MILLISECONDS);
const history = new History($("strip"), goBack);
const brush = new Brush({ began: paintingBegan, ended: paintingEnded, said: tell });

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
    return [photo, await showPhoto(photo)];
  });
  if (!opened) return;
  [state.photo, state.copy] = opened;
  brush.open(state.copy.width, state.copy.height);
  showSize(state.photo, state.copy);
  history.begin(state.photo.working);
  document.body.dataset.state = "working";
  $("another").hidden = false;
  $("panel").hidden = false;
  $("take").hidden = true;
  tell(say("opened"));
  draw();
  if (state.edits.length) follow();
  else $("instruction").focus({ preventScroll: true });
}

async function submit() {
  const prompt = $("instruction").value;
  if (brush.marked) brush.end();
  state.asked?.abort();
  const asked = new AbortController();
  state.asked = asked;
  const plan = await during(say("thinking"), () => api.plan(prompt, asked.signal, () => tell(say("waiting"))));
  if (!plan || state.asked !== asked) return;
  preview.stop();
  state.edits = replan(state.edits, plan.edits);
  $("panel").hidden = false;
  sayBeyond(plan);
  redraw();
}

function sayBeyond(plan) {
  // What is erased within a marked area isn't beyond the model.
  const lost = plan.beyond > BEYOND && !plan.edits.some((edit) => edit.adjust === ERASING);
  const erases = state.paints && state.vocabulary.has(ERASING);
  $("beyond").hidden = !lost && plan.edits.length > 0;
  $("beyond").textContent = lost ? [say("beyond"), ...erases ? [say("beyondErase")] : []].join(" ") : say("nothingFound");
}

function draw() {
  const on = { changed: follow, moved: moveEdit, removed: removeEdit };
  drawChips($("chips"), state.edits, state.vocabulary, brush.marked, on);
  $("nothing").hidden = state.edits.length > 0 || !$("beyond").hidden;
  $("clear").hidden = state.edits.length === 0;
  drawMarking();
}

/** Draw the chips anew and have the picture follow. */
function redraw() {
  draw();
  follow();
}

function follow() {
  if (state.photo) preview.ask();
  else tell(state.edits.length ? say("choosePhoto") : "");
}

function moveEdit(edit) {
  redraw();
  $("chips").children[state.edits.indexOf(edit)].querySelector("select").focus();
  paintFor(edit);
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
  const edit = added(adjustment, state.edits, brush.marked);
  if (edit) state.edits = [...state.edits, edit];
  redraw();
  const last = state.edits.findLastIndex((one) => one.adjust === adjustment.name);
  $("chips").children[last].querySelector(".amount").focus();
  paintFor(state.edits[last]);
}

/** Start the brush where the user chose the marked area and there is none. */
function paintFor(edit) {
  if (state.photo && state.paints && edit.region === MASKED && !brush.marked) brush.start();
}

/** What the edits that wait for a marked area ask the user to do, or "". */
function invitation() {
  const missing = waiting(state.edits, brush.marked);
  if (!missing.length) return "";
  return missing.some((edit) => edit.adjust === ERASING) ? say("paintErase")
    : say("paintFor", { list: describe(missing, state.vocabulary, false) });
}

function drawMarking() {
  const invites = state.photo && !brush.painting ? invitation() : "";
  $("invite").hidden = !invites;
  $("invite-text").textContent = invites;
  $("mark").hidden = !state.paints;
  $("mark-text").textContent = say(brush.marked ? "remark" : "mark");
  $("unmark").hidden = !brush.marked;
  $("brush-text").textContent = invitation() || say("paintOver");
  showPainting(brush.painting, brush.marked);
}

function paintingBegan() {
  document.body.classList.add("marking");
  drawMarking();
  tell($("brush-text").textContent);
}

function paintingEnded() {
  document.body.classList.remove("marking");
  marked(brush.marked ? say("marked") : "");
}

/** The marked area is another one: what was planned follows, and `text` says what to do where nothing was. */
function marked(text) {
  draw();
  if (state.edits.length) follow();
  else tell(text);
  if (document.activeElement !== $("instruction")) $("mark").focus({ preventScroll: true });
}

async function render(signal) {
  const { photo } = state;
  const edits = ready(state.edits, brush.marked);
  $("notes").hidden = true;
  history.hold();
  if (!edits.length) {
    history.noteOriginal();
    await showResult(null);
    $("take").hidden = true;
    tell(invitation() || say("unchanged"));
    return;
  }
  await during(say("editing"), async () => {
    const options = { output_format: previewFormat(photo, edits), mask: await brush.png() };
    const result = await api.edit(photo.working, toServer(edits), options, signal, () => tell(say("waiting")));
    if (signal.aborted) return;
    const list = describe(edits, state.vocabulary, brush.marked);
    const alone = await showResult(result.blob, list, displaces(edits));
    const seconds = Object.values(result.seconds).reduce((sum, one) => sum + one, 0);
    const done = say("done", { seconds: seconds.toFixed(seconds < 0.095 ? 2 : 1), list });
    tell([done, ...alone ? [say("alone")] : [], invitation()].join(" ").trim());
    showWarnings(result.warnings);
    showSize(photo, result);
    $("take").hidden = false;
    history.note({ edits: state.edits, area: brush.area, blob: result.blob, text: list });
  });
}

/** Show an earlier version; whatever is changed then goes on from it. */
function goBack({ edits, area, text }) {
  preview.stop();
  state.edits = structuredClone(edits);
  brush.restore(area);
  $("beyond").hidden = true;
  redraw();
  tell(say("back", { list: text }));
}

function previewFormat(photo, edits) {
  return photo.alpha || edits.some((edit) => edit.adjust === "remove") ? "png" : "jpeg";
}

function showWarnings(warnings) {
  $("notes").hidden = warnings.length === 0;
  $("notes").replaceChildren(...warnings.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
}

function showSize(photo, result) {
  const size = fullSize(photo, state.copy, result);
  const words = size.own ? "fullSize" : size.exact ? "otherSize" : "aboutSize";
  $("full-size").textContent = photo.full ? say(words, size) : "";
}

async function download() {
  const button = $("download");
  button.disabled = true;
  $("download-text").textContent = say("preparing");
  await during(say("preparing"), async () => {
    const options = { output_format: $("format").value, mask: await brush.png() };
    const blob = await api.editFile(state.photo.original, toServer(ready(state.edits, brush.marked)), options);
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

function wireMarking() {
  for (const button of [$("mark"), $("invite-mark")]) button.addEventListener("click", () => brush.start());
  $("unmark").addEventListener("click", () => {
    brush.forget();
    marked(say("unmarked"));
  });
}

async function start() {
  translate();
  const here = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);
  $("privacy").textContent = say(here ? "local" : "remote");
  wireCompare(tell);
  wireArrival(openFile);
  wireComposer(submit);
  wirePlan();
  wireMarking();
  wireFinding();
  try {
    const { vocabulary } = await api.model();
    state.vocabulary = new Map(vocabulary.adjustments.map((one) => [one.name, one]));
    state.paints = vocabulary.regions.includes(MASKED);
    drawPalette(state.vocabulary, addEdit);
    drawSuggestions(state.vocabulary, submit);
    drawMarking();
  } catch (problem) {
    complain(problem);
  }
}

start();
