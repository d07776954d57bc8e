// A photo as the user gave it, with a small working copy for live previews.

import * as api from "./api.js";

const WORKING_PIXELS = 1024;
const MOST_BYTES = 32 * 1024 * 1024 - 4096;
const READ_HERE = new Set(["image/jpeg", "image/png", "image/webp", "image/avif", "image/gif", "image/bmp"]);

/**
 * Open a file: {original, name, working, width, height, alpha, full}. `full` says that width and height are those
 * of the original; where the browser can't read the format, the server makes the working copy, and says why it can't.
 */
export async function openPhoto(file) {
  if (file.size > MOST_BYTES) {
    throw new api.Problem("This photo is too large. Allowed: 32 MiB. Send a smaller photo.", "body_too_large");
  }
  const name = (file.name || "photo").replace(/\.[^.]*$/, "");
  const picture = READ_HERE.has(file.type) ? await decoded(file) : null;
  if (picture) return { original: file, name, full: true, ...(await shrunk(picture, file.type)) };
  const copy = await api.edit(file, [], { size: `${WORKING_PIXELS}`, output_format: "png" });
  return { original: file, name, full: false, working: copy.blob, width: copy.width, height: copy.height, alpha: true };
}

async function decoded(file) {
  const picture = new Image();
  picture.src = URL.createObjectURL(file);
  try {
    await picture.decode();
    return picture.naturalWidth ? picture : null;
  } catch {
    return null;
  } finally {
    // The picture keeps its pixels; only the address goes.
    URL.revokeObjectURL(picture.src);
  }
}

async function shrunk(picture, type) {
  const { naturalWidth: width, naturalHeight: height } = picture;
  const scale = Math.min(1, WORKING_PIXELS / Math.max(width, height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  const alpha = type !== "image/jpeg" && seesThrough(context, canvas);
  const working = await new Promise((resolve) => {
    canvas.toBlob(resolve, alpha ? "image/png" : "image/jpeg", 0.93);
  });
  return { working, width, height, alpha };
}

function seesThrough(context, { width, height }) {
  const { data } = context.getImageData(0, 0, width, height);
  for (let i = 3; i < data.length; i += 4) if (data[i] < 255) return true;
  return false;
}
