// The plan as chips: each has a slider, a place where it applies, and a button that takes it away.

import { amountText } from "./plan.js";
import { language, say } from "./words.js";

/** Return the name of an adjustment, or of a region, in the page's language. */
export const nameOf = (adjustment) => adjustment.label[language] ?? adjustment.label.en ?? adjustment.name;
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** Return all edits as one line of text. */
export function describe(edits, vocabulary) {
  return edits.map((edit) => {
    const adjustment = vocabulary.get(edit.adjust);
    const where = edit.region === "all" || adjustment.regions.length === 1 ? "" : ` (${say(edit.region)})`;
    return `${nameOf(adjustment)} ${amountText(adjustment, edit.amount)}${where}`;
  }).join(say("list"));
}

function element(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

/** Fill the slider's track between zero and the amount. */
function paint(slider, adjustment) {
  const share = (value) => ((value - adjustment.low) / (adjustment.high - adjustment.low)) * 100;
  const [zero, value] = [share(Math.max(0, adjustment.low)), share(Number(slider.value))];
  slider.style.setProperty("--from", `${Math.min(zero, value)}%`);
  slider.style.setProperty("--to", `${Math.max(zero, value)}%`);
}

function sliderOf(edit, adjustment, output, changed) {
  const slider = element("input", {
    type: "range", className: "amount", min: adjustment.low, max: adjustment.high, step: 0.01,
  });
  slider.value = edit.amount;
  const show = () => {
    const text = amountText(adjustment, edit.amount);
    output.textContent = text;
    slider.ariaValueText = say("value", { amount: text });
    slider.ariaLabel = say("amount", { name: capital(nameOf(adjustment)), region: say(edit.region) });
    paint(slider, adjustment);
  };
  slider.addEventListener("input", () => {
    edit.amount = Number(slider.value);
    show();
    changed();
  });
  show();
  return { slider, show };
}

function regionOf(edit, adjustment, taken, changed) {
  if (adjustment.regions.length === 1) return "";
  const select = element("select", { className: "where", ariaLabel: say("where", { name: nameOf(adjustment) }) });
  for (const region of adjustment.regions) {
    const option = element("option", { value: region, disabled: taken(region) }, say(region));
    select.append(option);
  }
  select.value = edit.region;
  select.addEventListener("change", () => {
    edit.region = select.value;
    changed();
  });
  return select;
}

function colorOf(edit, adjustment, changed) {
  const input = element("input", { type: "color", value: edit.color });
  input.ariaLabel = say("color", { name: nameOf(adjustment) });
  input.addEventListener("input", () => {
    edit.color = input.value;
    changed();
  });
  return input;
}

function chip(edit, edits, adjustment, on) {
  const name = nameOf(adjustment);
  // Hidden from screen readers: the slider says its value itself.
  const output = element("span", { className: "value", ariaHidden: true });
  const { slider, show } = sliderOf(edit, adjustment, output, on.changed);
  const taken = (region) => edits.some((one) => one !== edit && one.adjust === edit.adjust && one.region === region);
  const remove = element("button", { type: "button", className: "remove", ariaLabel: say("remove", { name }) }, "×");
  remove.addEventListener("click", () => on.removed(edit));
  const where = regionOf(edit, adjustment, taken, () => {
    show();
    on.moved();
  });
  const title = element("div", { className: "title" }, element("span", { className: "name" }, capital(name)), where);
  const head = element("div", { className: "chip-head" }, title);
  if (edit.color !== undefined) head.append(colorOf(edit, adjustment, on.changed));
  head.append(output, remove);
  return element("li", { className: "chip" }, head, slider);
}

/** Draw the chips. `on`: changed() amount or colour, moved() region, removed(edit). */
export function drawChips(list, edits, vocabulary, on) {
  list.replaceChildren(...edits.map((edit) => chip(edit, edits, vocabulary.get(edit.adjust), on)));
}

/** Draw a button for every adjustment. */
export function drawPalette(box, vocabulary, add) {
  const buttons = [...vocabulary.values()].map((adjustment) => {
    const button = element("button", { type: "button", className: "pill" }, nameOf(adjustment));
    button.addEventListener("click", () => add(adjustment));
    return button;
  });
  box.replaceChildren(...buttons);
}
