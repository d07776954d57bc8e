// The marked area as plain pixels: 0 outside, 255 inside, in the coordinates of the photo's working copy.

const MOST_UNDO = 24;
const SOFT_SHARE = 0.35;
const MARKED = 128;

/** Return 0..255 for a distance from a brush stroke's middle line: 255 inside, a smooth fall at the edge. */
function strength(distance, radius, soft) {
  const share = Math.min(1, Math.max(0, (radius - distance) / soft));
  return Math.round(255 * share * share * (3 - 2 * share));
}

export class Mask {
  #past = [];
  #values;

  constructor(width, height) {
    Object.assign(this, { width, height });
    this.#values = new Uint8Array(width * height);
  }

  get values() {
    return this.#values;
  }

  get undoable() {
    return this.#past.length > 0;
  }

  /** Say whether something is marked: a shadow of an erased stroke doesn't count. */
  get marked() {
    return this.#values.some((value) => value >= MARKED);
  }

  /** Remember what is marked now, as what undo() goes back to. */
  keep() {
    this.#past = [...this.#past.slice(1 - MOST_UNDO), this.#values.slice()];
  }

  undo() {
    this.#values = this.#past.pop() ?? this.#values;
  }

  /** Have other values, as `values` once returned them. */
  put(values) {
    this.#values = values.slice();
  }

  clear() {
    this.#values.fill(0);
  }

  /**
   * Paint, or erase, a straight piece of a stroke between two points {x, y}. Strokes don't add up: a soft edge
   * stays soft under many of them. Returns the box {x, y, width, height} that may have changed.
   */
  stroke(from, to, radius, erasing) {
    const soft = Math.max(1.5, radius * SOFT_SHARE);
    const box = this.#box(from, to, radius);
    const [dx, dy] = [to.x - from.x, to.y - from.y];
    const length = dx * dx + dy * dy;
    for (let y = box.y; y < box.y + box.height; y += 1) {
      for (let x = box.x; x < box.x + box.width; x += 1) {
        const along = length ? ((x + 0.5 - from.x) * dx + (y + 0.5 - from.y) * dy) / length : 0;
        const share = Math.min(1, Math.max(0, along));
        const distance = Math.hypot(x + 0.5 - from.x - share * dx, y + 0.5 - from.y - share * dy);
        if (distance < radius) this.#set(y * this.width + x, strength(distance, radius, soft), erasing);
      }
    }
    return box;
  }

  #set(at, value, erasing) {
    const values = this.#values;
    values[at] = erasing ? Math.min(values[at], 255 - value) : Math.max(values[at], value);
  }

  #box(from, to, radius) {
    const within = (value, most) => Math.min(most, Math.max(0, value));
    const x = within(Math.floor(Math.min(from.x, to.x) - radius), this.width);
    const y = within(Math.floor(Math.min(from.y, to.y) - radius), this.height);
    const right = within(Math.ceil(Math.max(from.x, to.x) + radius), this.width);
    const bottom = within(Math.ceil(Math.max(from.y, to.y) + radius), this.height);
    return { x, y, width: right - x, height: bottom - y };
  }
}

/** Return the mask's box as the pixels of an overlay: one colour, as see-through as the mask says. */
export function overlay(mask, box, [red, green, blue], opacity) {
  const pixels = new Uint8ClampedArray(4 * box.width * box.height);
  for (let y = 0, at = 0; y < box.height; y += 1) {
    const start = (box.y + y) * mask.width + box.x;
    for (let x = 0; x < box.width; x += 1, at += 4) {
      pixels[at] = red;
      pixels[at + 1] = green;
      pixels[at + 2] = blue;
      pixels[at + 3] = mask.values[start + x] * opacity;
    }
  }
  return pixels;
}

/** Return the mask as the server takes it: a PNG, white on black. */
export async function png(mask) {
  const canvas = Object.assign(document.createElement("canvas"), { width: mask.width, height: mask.height });
  const pixels = new Uint8ClampedArray(4 * mask.width * mask.height);
  for (let i = 0; i < mask.values.length; i += 1) {
    pixels.fill(mask.values[i], 4 * i, 4 * i + 3);
    pixels[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(new ImageData(pixels, mask.width, mask.height), 0, 0);
  return new Promise((resolve) => { canvas.toBlob(resolve, "image/png"); });
}
