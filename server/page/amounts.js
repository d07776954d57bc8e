// Amounts for people: percent, degrees for turning, on or off for mirroring.

import { isOn, isSwitch, quarterTurns } from "./plan.js";
import { say } from "./words.js";

/** Return the distance between two amounts of the slider. */
export function stepOf(adjustment) {
  if (isSwitch(adjustment.name)) return 1;
  return adjustment.name === "rotate" ? 0.5 : 0.01;
}

function signed(number, adjustment) {
  if (number < 0) return `−${-number}`;
  return adjustment.low < 0 && number > 0 ? `+${number}` : `${number}`;
}

/** Return an amount as it stands on a chip: "+40", "−25", "90°", "on"; no sign where there is only one direction. */
export function amountText(adjustment, amount) {
  if (isSwitch(adjustment.name)) return say(isOn(amount) ? "on" : "off");
  // Clockwise is what people mean by turning, so it has no sign.
  if (adjustment.name === "rotate") return `${90 * quarterTurns(amount)}°`.replace("-", "−");
  return signed(Math.round(amount * 100), adjustment);
}

/** Return an amount as a screen reader should say it. */
export function spokenAmount(adjustment, amount) {
  const text = amountText(adjustment, amount);
  return isSwitch(adjustment.name) || adjustment.name === "rotate" ? text : say("value", { amount: text });
}
