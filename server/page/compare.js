// The picture's frame: before and after with a seam that a range input moves, the result alone where the two don't lie
// on each other, or the photo alone while it is painted on.

import { say } from "./words.js";

const $ = (id) => document.getElementById(id);
const SAME_RATIO = 0.01;

const view = { photo: 1, result: null, painting: false, marked: false };

/** Let the slider move the seam, and the button show the original. `said(text)` tells what is shown. */
export function wireCompare(said) {
  $("split").addEventListener("input", moveSeam);
  moveSeam();
  const peek = $("peek");
  const show = (yes) => {
    if (peeks() === yes) return;
    peek.ariaPressed = yes;
    draw();
    said(say(yes ? "peeking" : "peeked"));
  };
  peek.addEventListener("pointerdown", (event) => { if (event.button === 0) show(true); });
  for (const name of ["pointerup", "pointercancel", "pointerleave"]) peek.addEventListener(name, () => show(false));
  // Keyboards and screen readers click without a pointer: holding is not for them, so they switch.
  peek.addEventListener("click", (event) => { if (event.detail === 0) show(!peeks()); });
  peek.addEventListener("contextmenu", (event) => event.preventDefault());
}

const peeks = () => $("peek").ariaPressed === "true";

function moveSeam() {
  const split = $("split");
  $("compare").style.setProperty("--split", `${split.value}%`);
  split.ariaValueText = say("splitValue", { percent: split.value });
}

function swap(picture, blob) {
  URL.revokeObjectURL(picture.src);
  picture.src = URL.createObjectURL(blob);
  return picture.decode();
}

/** Show a photo that has no edit yet. Returns the size of its working copy. */
export async function showPhoto(photo) {
  view.photo = photo.width / photo.height;
  view.result = null;
  const before = $("before");
  before.alt = say("beforeAlt");
  await swap(before, photo.working);
  $("drop").hidden = true;
  $("compare").hidden = false;
  draw();
  return { width: before.naturalWidth, height: before.naturalHeight };
}

/**
 * Show the result beside the photo, or alone if it was `displaced` or has other proportions; null takes it away.
 * Returns whether it stands alone.
 */
export async function showResult(blob, description = "", displaced = false) {
  view.result = null;
  if (blob) {
    // Decoded before it is shown, so that the picture never blinks while a slider is dragged.
    const [after, next] = [$("after"), new Image()];
    await swap(next, blob);
    URL.revokeObjectURL(after.src);
    after.src = next.src;
    after.alt = say("afterAlt", { list: description });
    const ratio = next.naturalWidth / next.naturalHeight;
    view.result = { ratio, alone: displaced || Math.abs(ratio / view.photo - 1) > SAME_RATIO };
  }
  draw();
  return Boolean(view.result?.alone);
}

/** Show the photo alone while it is painted on; the marked area shows on it as long as there is no result. */
export function showPainting(painting, marked) {
  Object.assign(view, { painting, marked });
  draw();
}

function draw() {
  const { result, painting, marked } = view;
  const alone = !painting && Boolean(result?.alone);
  const compared = !painting && Boolean(result) && !alone;
  if (!alone) $("peek").ariaPressed = false;
  const peeking = alone && peeks();
  const frame = $("compare");
  frame.style.setProperty("--ratio", alone ? result.ratio : view.photo);
  frame.classList.toggle("result", Boolean(result));
  frame.classList.toggle("compared", compared);
  frame.classList.toggle("peeking", peeking);
  frame.classList.toggle("painting", painting);
  $("before").hidden = alone && !peeking;
  $("after").hidden = !(compared || alone) || peeking;
  for (const node of [$("split"), $("seam"), $("tag-after")]) node.hidden = !compared;
  $("tag-before").hidden = !compared && !peeking;
  $("peek").hidden = !alone;
  $("paint").hidden = !painting && (Boolean(result) || !marked);
  $("paint").ariaHidden = !painting;
  $("over").hidden = painting;
}
