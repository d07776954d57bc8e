/**
 * One pass of `context` and `render`: everything that is done to the whole photo, or to what a mask shows and the rest.
 *
 * @typedef {import("./pixels.js").Pixels} Pixels
 * @typedef {{edits: import("./plan.js").Edit[], rows: string[], extra: Float32Array}} Pass
 *     `rows` are the regions of the amounts' rows; `extra` counts in all of them.
 */

import { colorOf } from "./canvas.js";
import { ceilDivided } from "./numbers.js";
import { blank, cut, filledBlocks, paste, plane, withoutAlpha } from "./pixels.js";
import { reduced, resizedPlane } from "./resize.js";
import { strips } from "./tiles.js";

/**
 * @param {import("./procedure.js").Model} model
 * @param {Pixels} pixels
 * @param {Pass} pass
 * @param {Record<string, import("./pixels.js").Plane>} masks
 * @param {import("./procedure.js").Step} step
 */
export async function rendered(model, pixels, pass, masks, step) {
    const { settings } = model;
    const regional = pass.rows.length === 2;
    const names = pass.edits.map((edit) => edit.adjust);
    const uses = (list) => names.some((name) => list.includes(name));
    const full = uses(settings.full_adjustments) || (regional && uses(settings.cutting_adjustments));
    const suffix = full ? "_full" : "";
    const rows = rowsOf(model.vocabulary, pass);
    const factor = Math.max(1, ceilDivided(Math.max(pixels.width, pixels.height), settings.context_pixels));
    let layers = neutral(pass.rows.length, full);
    if (regional || uses(settings.local_adjustments)) {
        await step("context", 0.45);
        const mask = regional ? masks[pass.rows[0]] : plane(2, 2, 1);
        layers = await context(model, `context${suffix}`, pixels, factor, mask, rows.amounts);
    }
    const result = blank(pixels.width, pixels.height);
    const planes = pixels.width * pass.rows.length;
    for (const [top, bottom] of strips(pixels.height, planes, settings.strip_pixels, factor)) {
        await step("render", 0.5 + (0.4 * top) / pixels.height);
        await strip(model, `render${suffix}`, { pixels, layers, factor, top, bottom, rows, result });
    }
    return result;
}

/** Amounts (R, A) and colours (R, 3) of each region row; edits of `all` count in every row. */
function rowsOf(vocabulary, { edits, rows, extra }) {
    const count = vocabulary.adjustments.length;
    const amounts = new Float32Array(rows.length * count);
    const colors = new Float32Array(3 * rows.length).fill(1);
    rows.forEach((region, row) => {
        amounts.set(extra, row * count);
        for (const edit of edits) {
            if (edit.region !== "all" && edit.region !== region) continue;
            amounts[row * count + vocabulary.index(edit.adjust)] += edit.amount;
            if (edit.color)
                colors.set(
                    colorOf(edit.color).map((value) => value / 255),
                    3 * row,
                );
        }
        vocabulary.adjustments.forEach(({ low, high }, place) => {
            amounts[row * count + place] = Math.min(Math.max(amounts[row * count + place], low), high);
        });
    });
    return { amounts: tensor(amounts, rows.length, count), color: tensor(colors, rows.length, 3) };
}

/** What `context` gives for the photo reduced by `factor`, partial blocks included. */
async function context(model, name, pixels, factor, mask, amounts) {
    const side = model.settings.mask_pixels;
    const fitted = mask.width === side && mask.height === side ? mask : resizedPlane(mask, side, side, "bilinear");
    const small = reduced(pixels, factor);
    const photo = tensor(withoutAlpha(small), 1, small.height, small.width, 3);
    return model.graphs.run(name, { photo, mask: tensor(fitted.data, 1, 1, side, side), amounts });
}

/** Renders rows top..bottom, with a margin above and below so that no seam shows. */
async function strip(model, name, { pixels, layers, factor, top, bottom, rows, result }) {
    const { width, height } = pixels;
    const halo = ceilDivided(model.settings.halo_rows, factor);
    const first = Math.max(0, Math.floor(top / factor) - halo);
    const last = Math.min(ceilDivided(height, factor), ceilDivided(bottom, factor) + halo);
    const seen = { top: first * factor, bottom: Math.min(height, last * factor), left: 0, right: width };
    const wide = layers.layers.dims[2] > 1;
    const image = wide ? filledBlocks(cut(pixels, seen), factor) : cut(pixels, seen);
    const kept = wide
        ? Object.fromEntries(Object.entries(layers).map(([key, one]) => [key, rowsCut(one, first, last)]))
        : layers;
    const { edited } = await model.graphs.run(name, {
        ...rows,
        ...kept,
        image: tensor(image.data, 1, image.height, image.width, 4),
        window: tensor(Float32Array.of(seen.top, 0, height, width), 4),
    });
    const found = { data: edited.data, width: image.width, height: image.height };
    paste(result, found, { top, bottom, left: 0, right: width }, seen.top, 0);
}

/** Layers that change nothing and a matte that is subject everywhere, as single pixels. */
function neutral(rows, full) {
    const layers = new Float32Array(4 * rows);
    for (let row = 0; row < rows; row++) layers[4 * row] = 1;
    const found = { layers: tensor(layers, rows, 4, 1, 1), matte: tensor(Float32Array.of(0, 0, 0, 1), 1, 4, 1, 1) };
    return full ? { ...found, colors: tensor(new Float32Array(6), 1, 6, 1, 1) } : found;
}

/** Rows first..last of layers (N, C, H, W). */
function rowsCut({ data, dims: [count, channels, height, width] }, first, last) {
    const kept = new Float32Array(count * channels * (last - first) * width);
    for (let one = 0; one < count * channels; one++) {
        const part = data.subarray((one * height + first) * width, (one * height + last) * width);
        kept.set(part, one * (last - first) * width);
    }
    return tensor(kept, count, channels, last - first, width);
}

/** @returns {{data: Float32Array | Uint8Array | Int32Array, dims: number[]}} */
export const tensor = (data, ...dims) => ({ data, dims });
