// Painting the marked area over the photo: pointer, keyboard and tools. The pixels themselves: mask.js.

import { Mask, overlay, png } from "./mask.js";
import { say } from "./words.js";

const COLOUR = [255, 40, 130];
const OPACITY = 0.58;
const PEN_ERASER = 32;
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

const $ = (id) => document.getElementById(id);

export class Brush {
  #on;
  #mask = new Mask(1, 1);
  #marked = false;
  #picture = null;
  #cursor = { x: 0, y: 0 };
  #pointer = null;
  #pressed = false;

  /** `on`: began(), ended() and said(text). */
  constructor(on) {
    this.#on = on;
    this.#wirePointer();
    this.#wireKeys();
    this.#wireTools();
  }

  /** Whether anything is marked. */
  get marked() {
    return this.#marked;
  }

  get painting() {
    return !$("brush").hidden;
  }

  /** Begin with a photo of this size, with nothing marked. */
  open(width, height) {
    this.end();
    this.#mask = new Mask(width, height);
    this.#cursor = { x: width / 2, y: height / 2 };
    Object.assign($("paint"), { width, height });
    this.#settle();
  }

  start() {
    if (this.painting) return;
    $("brush").hidden = false;
    this.#on.began();
    $("paint").tabIndex = 0;
    $("paint").focus({ preventScroll: true });
    this.#moveRing(this.#cursor);
  }

  end() {
    if (!this.painting) return;
    this.#pointer = null;
    this.#pressed = false;
    this.#settle();
    $("brush").hidden = true;
    $("ring").hidden = true;
    $("paint").tabIndex = -1;
    this.#on.ended();
  }

  /** Mark nothing any more; undo brings it back. */
  forget() {
    if (!this.#marked) return;
    this.#mask.keep();
    this.#mask.clear();
    this.#drawAll();
    this.#settle();
  }

  /** What is marked, for `restore`; null when nothing is. */
  get area() {
    return this.#marked ? this.#mask.values.slice() : null;
  }

  /** Mark what was marked when `area` was taken; undo brings back what is marked now. */
  restore(area) {
    this.end();
    this.#mask.keep();
    if (area) this.#mask.put(area);
    else this.#mask.clear();
    this.#drawAll();
    this.#settle();
  }

  /** Return the marked area as a PNG, or null when nothing is marked. */
  async png() {
    if (!this.#marked) return null;
    this.#picture ??= png(this.#mask);
    return this.#picture;
  }

  get #erasing() {
    return $("eraser").ariaPressed === "true";
  }

  /** The radius in pixels of the mask: every step of the slider is the same factor. */
  get #radius() {
    return (this.#percent / 200) * Math.max(this.#mask.width, this.#mask.height);
  }

  get #percent() {
    return 40 ** (Number($("size").value) / 100);
  }

  #wirePointer() {
    const paint = $("paint");
    paint.addEventListener("pointerdown", (event) => {
      if (!this.painting || !event.isPrimary || event.button > 0 && !(event.buttons & PEN_ERASER)) return;
      paint.setPointerCapture(event.pointerId);
      this.#pointer = event.pointerId;
      this.#mask.keep();
      this.#cursor = this.#place(event);
      this.#dab(this.#cursor, event);
    });
    paint.addEventListener("pointermove", (event) => {
      if (!this.painting || !event.isPrimary) return;
      if (event.pointerId === this.#pointer) {
        const between = event.getCoalescedEvents?.() ?? [];
        for (const one of between.length ? between : [event]) this.#dab(this.#place(one), event);
      } else {
        this.#cursor = this.#place(event);
      }
      this.#moveRing(this.#cursor);
    });
    for (const name of ["pointerup", "pointercancel"]) paint.addEventListener(name, () => this.#lift());
    paint.addEventListener("pointerleave", () => { $("ring").hidden = true; });
  }

  #wireKeys() {
    const paint = $("paint");
    paint.addEventListener("keydown", (event) => {
      if (!this.painting || event.ctrlKey || event.metaKey || event.altKey) return;
      const arrow = ARROWS[event.key];
      if (!arrow && event.key !== " ") return;
      event.preventDefault();
      if (event.key === " " && !this.#pressed) {
        this.#pressed = true;
        this.#mask.keep();
      }
      this.#step(arrow ?? [0, 0]);
    });
    paint.addEventListener("keyup", (event) => { if (event.key === " ") this.#release(); });
    paint.addEventListener("blur", () => this.#release());
    document.addEventListener("keydown", (event) => {
      if (!this.painting) return;
      if (event.key === "Escape") this.end();
      const typing = event.target.matches("textarea, input[type=search]");
      if (event.key.toLowerCase() === "z" && (event.ctrlKey || event.metaKey) && !typing) this.#undo();
    });
  }

  #wireTools() {
    $("size").addEventListener("input", () => this.#resize());
    $("eraser").addEventListener("click", () => { $("eraser").ariaPressed = !this.#erasing; });
    $("undo").addEventListener("click", () => this.#undo());
    $("wipe").addEventListener("click", () => {
      this.forget();
      this.#on.said(say("wiped"));
    });
    $("ready").addEventListener("click", () => this.end());
    this.#resize();
  }

  #place(event) {
    const frame = $("paint").getBoundingClientRect();
    const { width, height } = this.#mask;
    return {
      x: ((event.clientX - frame.left) / frame.width) * width,
      y: ((event.clientY - frame.top) / frame.height) * height,
    };
  }

  #step([x, y]) {
    const { width, height } = this.#mask;
    const length = Math.max(2, this.#radius / 2);
    const within = (value, most) => Math.min(most, Math.max(0, value));
    const next = { x: within(this.#cursor.x + x * length, width), y: within(this.#cursor.y + y * length, height) };
    if (this.#pressed) this.#dab(next);
    this.#cursor = next;
    this.#moveRing(next);
  }

  /** Paint from the cursor to a place and move the cursor there. */
  #dab(to, event = null) {
    const erasing = this.#erasing || Boolean(event && event.buttons & PEN_ERASER);
    this.#draw(this.#mask.stroke(this.#cursor, to, this.#radius, erasing));
    this.#cursor = to;
  }

  #lift() {
    if (this.#pointer === null) return;
    this.#pointer = null;
    this.#settle();
  }

  #release() {
    if (!this.#pressed) return;
    this.#pressed = false;
    this.#settle();
  }

  #undo() {
    if (!this.#mask.undoable) return;
    this.#mask.undo();
    this.#drawAll();
    this.#settle();
    this.#on.said(say("undone"));
  }

  #draw(box) {
    if (!box.width || !box.height) return;
    const pixels = new ImageData(overlay(this.#mask, box, COLOUR, OPACITY), box.width, box.height);
    $("paint").getContext("2d").putImageData(pixels, box.x, box.y);
  }

  #drawAll() {
    this.#draw({ x: 0, y: 0, width: this.#mask.width, height: this.#mask.height });
  }

  /** A stroke is complete: note what is marked now. */
  #settle() {
    this.#picture = null;
    this.#marked = this.#mask.marked;
    // Not disabled: a button that has the focus must not lose it.
    $("undo").ariaDisabled = !this.#mask.undoable;
    $("wipe").ariaDisabled = !this.#marked;
  }

  #resize() {
    const percent = this.#percent;
    $("size").ariaValueText = say("sizeValue", { percent: percent.toFixed(percent < 10 ? 1 : 0) });
    if (this.painting) this.#moveRing(this.#cursor);
  }

  #moveRing({ x, y }) {
    const { width, height } = this.#mask;
    const ring = $("ring");
    ring.hidden = false;
    ring.style.left = `${(100 * x) / width}%`;
    ring.style.top = `${(100 * y) / height}%`;
    ring.style.width = `${(200 * this.#radius) / width}%`;
  }
}
