// Before and after in one frame, with a seam that a range input moves.

import { say } from "./words.js";

const $ = (id) => document.getElementById(id);

/** Let the slider move the seam. */
export function wireCompare() {
  $("split").addEventListener("input", moveSeam);
  moveSeam();
}

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

/** Show a photo that has no edit yet. */
export async function showPhoto(photo) {
  showResult(null);
  $("compare").style.setProperty("--ratio", photo.width / photo.height);
  $("before").alt = say("beforeAlt");
  await swap($("before"), photo.working);
  $("drop").hidden = true;
  $("compare").hidden = false;
}

/** Show the result beside the photo; null takes it away. */
export async function showResult(blob, description = "") {
  const after = $("after");
  if (blob) {
    // Decoded before it is shown, so that the picture never blinks while a slider is dragged.
    const next = new Image();
    await swap(next, blob);
    URL.revokeObjectURL(after.src);
    after.src = next.src;
    after.alt = say("afterAlt", { list: description });
  }
  for (const node of [after, $("split"), $("seam"), ...document.querySelectorAll(".tag")]) node.hidden = !blob;
  $("compare").classList.toggle("compared", Boolean(blob));
}
