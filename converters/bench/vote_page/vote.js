// Asks the server for a question, shows its three pictures at once, sends the answer. Keeps nothing itself.

import { show as showRanking } from "./ranking.js";

const KEYS = { ArrowLeft: "left", ArrowRight: "right", ArrowDown: "equal", " ": "equal" };
const SAID = { left: "A", right: "B", equal: "equal" };
const WIDE = 1.2;
const SIDES = ["before", "left", "right"];

const at = (id) => document.getElementById(id);
let question = null;
let busy = true;

async function ask(path, body) {
  const options = body === undefined ? {} : {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  };
  const answer = await fetch(path, options).catch(() => {
    throw new Error("The server doesn't answer. Was it stopped? Start it again, then try again.");
  });
  const told = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(told.error?.message ?? `The server answered ${answer.status}.`);
  return told;
}

// One thing at a time: a key pressed while pictures load must not vote on what isn't there yet.
async function doing(work) {
  if (busy) return;
  busy = true;
  at("trouble").hidden = true;
  document.activeElement?.blur();
  try {
    await work();
  } catch (error) {
    at("trouble").textContent = error.message;
    at("trouble").hidden = false;
  } finally {
    mark(null);
    at("panes").classList.remove("waiting");
    busy = false;
  }
}

async function picture(side) {
  const image = new Image();
  image.alt = { before: "The photo before", left: "Result A", right: "Result B" }[side];
  image.src = `/picture/${question.name}/${side}`;
  await image.decode().catch(() => {
    throw new Error("A picture could not be loaded. Load the page again.");
  });
  return image;
}

async function show(told) {
  const { answered, all } = told.progress;
  at("bar").max = all;
  at("bar").value = answered;
  at("left-over").textContent = `${answered} of ${all}, ${all - answered} left`;
  at("undo").disabled = answered === 0;
  question = told.question;
  if (question === null) return end(told.progress);
  at("end").hidden = true;
  at("voting").hidden = at("zoom").hidden = at("finish").hidden = false;
  at("panes").classList.add("waiting");
  const images = await Promise.all(SIDES.map(picture));
  SIDES.forEach((side, place) => {
    at(side).querySelector("img")?.remove();
    at(side).append(images[place]);
  });
  at("panes").classList.toggle("landscape", images[0].naturalWidth > WIDE * images[0].naturalHeight);
  at("instruction").textContent = question.instruction;
  at("instruction").lang = question.language;
  document.body.dataset.question = question.name;
}

function end({ answered, all, everybody }) {
  at("voting").hidden = at("zoom").hidden = at("finish").hidden = true;
  at("end").hidden = false;
  at("end-title").textContent = answered < all ? "Thank you." : "That was all. Thank you.";
  at("end-text").textContent = `Your votes: ${answered}. From all voters: ${everybody}. They are kept.`;
  at("go-on").hidden = answered >= all;
  at("ranking").hidden = true;
}

function mark(choice) {
  for (const node of document.querySelectorAll(".chosen")) node.classList.remove("chosen");
  if (choice === null) return;
  at(choice)?.classList.add("chosen");
  document.querySelector(`[data-choice="${choice}"]`).classList.add("chosen");
}

const vote = (choice) => !at("voting").hidden && question && doing(async () => {
  mark(choice);
  const told = await ask("/vote", { name: question.name, choice });
  at("status").textContent = `Kept: ${SAID[choice]}. ${told.progress.all - told.progress.answered} left.`;
  await show(told);
});

const undo = () => doing(async () => {
  await show(await ask("/undo", {}));
  at("status").textContent = "Your last vote was taken back.";
});

function zoom() {
  const on = at("panes").classList.toggle("zoomed");
  at("zoom").setAttribute("aria-pressed", String(on));
}

// The same place of all three pictures is under the pointer.
function look(event) {
  const pane = event.target.closest(".pane");
  if (!pane) return;
  const box = pane.getBoundingClientRect();
  at("panes").style.setProperty("--x", `${100 * (event.clientX - box.left) / box.width}%`);
  at("panes").style.setProperty("--y", `${100 * (event.clientY - box.top) / box.height}%`);
}

document.addEventListener("keydown", (event) => {
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === " " && event.target.closest("button")) return; // presses the button that was tabbed to
  if (KEYS[event.key]) vote(KEYS[event.key]);
  else if (event.key === "Backspace" && !at("undo").disabled) undo();
  else if (event.key.toLowerCase() === "z" && !at("voting").hidden) zoom();
  else return;
  event.preventDefault();
});
at("panes").addEventListener("pointermove", look);
for (const side of ["left", "right"]) at(side).addEventListener("click", () => vote(side));
for (const node of document.querySelectorAll("[data-choice]")) {
  node.addEventListener("click", () => vote(node.dataset.choice));
}
at("undo").addEventListener("click", undo);
at("zoom").addEventListener("click", zoom);
at("finish").addEventListener("click", () => doing(async () => end((await ask("/question")).progress)));
at("go-on").addEventListener("click", () => doing(async () => show(await ask("/question"))));
at("show").addEventListener("click", () => doing(async () => showRanking(at("ranking"), await ask("/ranking", {}))));

busy = false;
doing(async () => show(await ask("/question")));
