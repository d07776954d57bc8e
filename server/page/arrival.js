// The ways a photo comes in: chosen, taken with the camera, pasted or dropped.

const $ = (id) => document.getElementById(id);

/** Call open(file) for every photo that comes in, with null where there is none. */
export function wireArrival(open) {
  wireChoosing(open);
  wireDropping(open);
  document.addEventListener("paste", (event) => {
    const file = imageIn(event.clipboardData);
    if (!file) return;
    event.preventDefault();
    open(file);
  });
}

/** Return the first image file of a drop or a paste, or null. */
function imageIn(transfer) {
  const files = [...(transfer?.files ?? [])];
  return files.find((file) => file.type.startsWith("image/")) ?? files[0] ?? null;
}

function wireChoosing(open) {
  $("choose").addEventListener("click", () => $("file").click());
  $("another").addEventListener("click", () => $("file").click());
  $("shoot").addEventListener("click", () => $("camera").click());
  for (const input of [$("file"), $("camera")]) {
    input.addEventListener("change", () => {
      if (input.files.length) open(input.files[0]);
      input.value = "";
    });
  }
}

function wireDropping(open) {
  let depth = 0;
  const over = (yes) => document.body.classList.toggle("dropping", yes);
  document.addEventListener("dragenter", (event) => {
    event.preventDefault();
    depth += 1;
    over(true);
  });
  document.addEventListener("dragleave", () => {
    depth -= 1;
    over(depth > 0);
  });
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    depth = 0;
    over(false);
    open(imageIn(event.dataTransfer));
  });
}
