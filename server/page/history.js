// The strip of what the photo looked like before: every version that stood still for a moment, to go back to and go on
// from. Versions are plans over the same photo, so going back loses no quality, and nothing is stored on the server.

import { say } from "./words.js";

const STILL_MILLISECONDS = 700;
const MOST_VERSIONS = 24;
const STEPS = { ArrowLeft: -1, ArrowRight: 1 };

const sameArea = (one, other) => one === other
  || Boolean(one && other && one.length === other.length && one.every((value, at) => value === other[at]));

const same = (one, other) => one.plan === other.plan && sameArea(one.area, other.area);

export class History {
  #list;
  #chosen;
  #versions = [];
  #current = null;
  #timer = 0;

  /** `list` is the element; `chosen(version)` is called when the user goes back to one. */
  constructor(list, chosen) {
    this.#list = list;
    this.#chosen = chosen;
    list.addEventListener("keydown", (event) => this.#step(event));
  }

  /** Begin with a photo as it came. */
  begin(blob) {
    this.hold();
    for (const version of this.#versions) URL.revokeObjectURL(version.address);
    this.#versions = [];
    this.#add({ edits: [], area: null, blob, text: say("original") });
  }

  /** Something changes: what was about to be noted was no version. */
  hold() {
    clearTimeout(this.#timer);
  }

  /** Note a version {edits, area, blob, text} if it stands for a moment. */
  note(version) {
    this.hold();
    const kept = { ...version, edits: structuredClone(version.edits) };
    this.#timer = setTimeout(() => this.#add(kept), STILL_MILLISECONDS);
  }

  /** The photo stands there as it came. */
  noteOriginal() {
    this.hold();
    this.#current = this.#versions[0] ?? null;
    this.#draw();
  }

  #add(version) {
    const whole = { ...version, plan: JSON.stringify(version.edits) };
    const known = this.#versions.find((one) => same(one, whole));
    this.#current = known ?? { ...whole, address: URL.createObjectURL(version.blob) };
    if (!known) this.#versions.push(this.#current);
    // The original stays; of the others the oldest goes.
    if (this.#versions.length > MOST_VERSIONS) URL.revokeObjectURL(this.#versions.splice(1, 1)[0].address);
    this.#draw();
  }

  #draw() {
    this.#list.hidden = this.#versions.length < 2;
    const focused = [...this.#list.querySelectorAll("button")].indexOf(document.activeElement);
    this.#list.replaceChildren(...this.#versions.map((version, at) => this.#item(version, at + 1)));
    this.#list.querySelectorAll("button")[focused]?.focus({ preventScroll: true });
    const current = this.#list.querySelector("[aria-current]");
    if (current) this.#list.scrollLeft = current.offsetLeft - this.#list.clientWidth / 2;
  }

  #item(version, number) {
    const picture = Object.assign(document.createElement("img"), { src: version.address, alt: version.text });
    const button = Object.assign(document.createElement("button"), { type: "button", title: version.text });
    button.ariaLabel = say("version", { number, list: version.text });
    if (version === this.#current) button.ariaCurrent = "step";
    button.append(picture);
    button.addEventListener("click", () => {
      this.hold();
      this.#current = version;
      this.#draw();
      this.#chosen(version);
    });
    const item = document.createElement("li");
    item.append(button);
    return item;
  }

  #step(event) {
    const buttons = [...this.#list.querySelectorAll("button")];
    const next = buttons[buttons.indexOf(document.activeElement) + (STEPS[event.key] ?? NaN)];
    if (!next) return;
    event.preventDefault();
    next.focus();
  }
}
