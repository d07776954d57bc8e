// The plan as chips: each has a slider, a place where it applies, and a button that takes it away.

import { amountText, spokenAmount, stepOf } from "./amounts.js";
import { MASKED, placeOf, takesColor } from "./plan.js";
import { language, say } from "./words.js";

/** Return the name of an adjustment, or of a region, in the page's language. */
export const nameOf = (adjustment) => adjustment.label[language] ?? adjustment.label.en ?? adjustment.name;
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** Return all edits as one line of text; `marked` says whether there is a marked area. */
export function describe(edits, vocabulary, marked) {
  return edits.map((edit) => {
    const adjustment = vocabulary.get(edit.adjust);
    const place = placeOf(edit, adjustment, marked);
    const where = place === "all" || adjustment.regions.length === 1 ? "" : ` (${say(place)})`;
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

function sliderOf(edit, adjustment, output, place, changed) {
  const slider = element("input", {
    type: "range", className: "amount", min: adjustment.low, max: adjustment.high, step: stepOf(adjustment),
  });
  slider.value = edit.amount;
  const show = () => {
    output.textContent = amountText(adjustment, edit.amount);
    slider.ariaValueText = spokenAmount(adjustment, edit.amount);
    slider.ariaLabel = say("amount", { name: capital(nameOf(adjustment)), region: say(place) });
    paint(slider, adjustment);
  };
  slider.addEventListener("input", () => {
    edit.amount = Number(slider.value);
    show();
    changed();
  });
  show();
  return slider;
}

function regionOf(edit, adjustment, marked, taken, changed) {
  if (adjustment.regions.length === 1) return "";
  const select = element("select", { className: "where", ariaLabel: say("where", { name: nameOf(adjustment) }) });
  for (const region of adjustment.regions) {
    // With a marked area, the whole picture means that area wherever it can.
    const confined = placeOf({ region }, adjustment, marked) !== region;
    select.append(element("option", { value: region, disabled: confined || taken(region) }, say(region)));
  }
  select.value = placeOf(edit, adjustment, marked);
  select.addEventListener("change", () => {
    edit.region = select.value;
    changed();
  });
  return select;
}

function colorOf(edit, adjustment, changed) {
  const input = element("input", { type: "color", value: edit.color ?? "#ffffff" });
  input.ariaLabel = say("color", { name: nameOf(adjustment) });
  input.addEventListener("input", () => {
    edit.color = input.value;
    changed();
  });
  return input;
}

function chip(edit, edits, adjustment, marked, on) {
  const name = nameOf(adjustment);
  const place = placeOf(edit, adjustment, marked);
  // Hidden from screen readers: the slider says its value itself.
  const output = element("span", { className: "value", ariaHidden: true });
  const slider = sliderOf(edit, adjustment, output, place, on.changed);
  const others = edits.filter((one) => one !== edit && one.adjust === edit.adjust);
  const taken = (region) => others.some((one) => placeOf(one, adjustment, marked) === region);
  const remove = element("button", { type: "button", className: "remove", ariaLabel: say("remove", { name }) }, "×");
  remove.addEventListener("click", () => on.removed(edit));
  const where = regionOf(edit, adjustment, marked, taken, () => on.moved(edit));
  const title = element("div", { className: "title" }, element("span", { className: "name" }, capital(name)), where);
  const head = element("div", { className: "chip-head" }, title);
  if (takesColor(adjustment)) head.append(colorOf(edit, adjustment, on.changed));
  head.append(output, remove);
  const box = element("li", { className: "chip" }, head, slider);
  if (place === MASKED && !marked) box.append(element("p", { className: "needs" }, say("needsMark")));
  return box;
}

/** Draw the chips. `on`: changed() amount or colour, moved(edit) to another region, removed(edit). */
export function drawChips(list, edits, vocabulary, marked, on) {
  list.replaceChildren(...edits.map((edit) => chip(edit, edits, vocabulary.get(edit.adjust), marked, on)));
}
