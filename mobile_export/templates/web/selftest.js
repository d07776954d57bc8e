/** Edits the golden photo as golden/golden.json says, and compares pixels and plans with what is expected. */

import { NanoBanana } from "./nano-banana.js";

const golden = await (await fetch("golden/golden.json")).json();
const file = async (name) => (await fetch(`golden/${name}`)).blob();
const editor = await NanoBanana.load(undefined, Object.fromEntries(new URLSearchParams(location.search)));
const [photo, mask] = [await file(golden.photo), await file(golden.mask)];
const failed = [];

for (const edit of golden.edits) {
    const result = await editor.edit(photo, edit.instruction, { mask: edit.masked ? mask : undefined });
    const decibels = psnr(result.imageData, await pixels(await file(edit.file)));
    const plan = JSON.stringify(await editor.plan(edit.instruction)) === JSON.stringify(sorted(edit.plan));
    const passed = decibels >= golden.least_psnr_db && plan;
    if (!passed) failed.push(edit.name);
    const line = document.createElement("li");
    line.className = passed ? "" : "note";
    const outcome = `${passed ? "passed" : "FAILED"}: ${edit.name}, ${decibels.toFixed(1)} dB`;
    line.textContent = plan ? outcome : `${outcome}, another plan`;
    document.getElementById("plan").append(line);
}
document.getElementById("facts").textContent =
    `${failed.length ? `Failed: ${failed.join(", ")}` : "All passed"} (${editor.device}, ${editor.threads} threads)`;

async function pixels(blob) {
    const bitmap = await createImageBitmap(blob);
    const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d");
    context.drawImage(bitmap, 0, 0);
    return context.getImageData(0, 0, bitmap.width, bitmap.height);
}

/** 99 for equal pixels, 0 for other sizes. */
function psnr(one, other) {
    if (one.width !== other.width || one.height !== other.height) return 0;
    const error = one.data.reduce((sum, value, place) => sum + (value - other.data[place]) ** 2, 0) / one.data.length;
    return error ? 10 * Math.log10(255 ** 2 / error) : 99;
}

/** Members in the order in which the editor writes them. */
function sorted({ edits, beyond }) {
    return {
        edits: edits.map(({ adjust, amount, region, color }) => ({ adjust, amount, region, ...(color && { color }) })),
        beyond,
    };
}
