// All adjustments to choose from, under headings, with a field that finds one by its name.

import { nameOf } from "./chips.js";
import { grouped } from "./groups.js";
import { say } from "./words.js";

const $ = (id) => document.getElementById(id);

function pill(adjustment, add) {
  const button = Object.assign(document.createElement("button"), {
    type: "button", className: "pill", textContent: nameOf(adjustment),
  });
  // Whoever knows the other language's word or the plan's own finds it too.
  button.dataset.find = [...Object.values(adjustment.label), adjustment.name.replaceAll("_", " ")].join("\n").toLowerCase();
  button.addEventListener("click", () => add(adjustment));
  return button;
}

function section(heading, adjustments, add) {
  const title = Object.assign(document.createElement("h3"), { textContent: say(heading) });
  const count = Object.assign(document.createElement("span"), {
    className: "count", ariaHidden: true, textContent: adjustments.length,
  });
  const summary = document.createElement("summary");
  summary.append(title, count);
  const buttons = Object.assign(document.createElement("div"), { className: "pills" });
  buttons.append(...adjustments.map((adjustment) => pill(adjustment, add)));
  const group = Object.assign(document.createElement("details"), { className: "group" });
  group.append(summary, buttons);
  return group;
}

/** Draw a button for every adjustment, its group closed: nine headings are an overview, sixty buttons are not. */
export function drawPalette(vocabulary, add) {
  $("palette").replaceChildren(...grouped(vocabulary).map(([heading, list]) => section(heading, list, add)));
}

/** Let the field show only what it names; a heading's own words show its whole group. */
export function wireFinding() {
  const field = $("find");
  field.addEventListener("input", () => find(field.value.trim().toLowerCase()));
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter") $("palette").querySelector(".pill:not([hidden])")?.click();
    if (event.key !== "Escape" || !field.value) return;
    event.preventDefault();
    field.value = "";
    find("");
  });
}

function find(words) {
  let count = 0;
  for (const group of $("palette").children) {
    const whole = group.querySelector("h3").textContent.toLowerCase().includes(words);
    const buttons = [...group.querySelectorAll(".pill")];
    for (const button of buttons) button.hidden = !whole && !button.dataset.find.includes(words);
    const shown = buttons.filter((button) => !button.hidden).length;
    group.querySelector(".count").textContent = shown;
    group.hidden = shown === 0;
    group.open = words !== "" && shown > 0;
    count += shown;
  }
  $("found").textContent = !words ? "" : say(count ? "someFound" : "noneFound", { count });
}
