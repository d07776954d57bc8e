/**
 * What happens to a whole picture at once: turning, mirroring, cropping, borders, blocks, enlarging, blending.
 * `shares` are the manifest's settings `canvas`: how much an amount of 1 does. Results are new arrays.
 *
 * @typedef {import("./pixels.js").Pixels} Pixels
 * @typedef {import("./pixels.js").Plane} Plane
 */

import { roundHalfEven } from "./numbers.js";
import { blank, copied, cut, filledBlocks } from "./pixels.js";
import { resized, resizedPlane } from "./resize.js";

/** Operations in a fixed order; masks fit the picture until it is cropped or turned. */
export function placed(pixels, edits, masks, shares) {
    const of = (name) => edits.filter((edit) => edit.adjust === name);
    for (const { amount, region } of of("pixelate")) pixels = pixelated(pixels, amount, shares, masks[region]);
    const subjectFirst = of("crop").sort((a, b) => (b.region === "subject") - (a.region === "subject"));
    for (const { amount, region } of subjectFirst) {
        if (region === "subject") pixels = croppedAround(pixels, masks.subject, amount, shares);
        if (region === "all") pixels = croppedMiddle(pixels, amount);
    }
    for (const { amount } of of("rotate")) pixels = turned(pixels, amount);
    for (const name of ["flip_horizontal", "flip_vertical"]) {
        if (of(name).some(({ amount }) => amount > 0.5)) pixels = mirrored(pixels, name === "flip_horizontal");
    }
    for (const { amount, color } of of("frame")) pixels = framed(pixels, amount, color ?? "#ffffff", shares);
    return pixels;
}

/** Turns clockwise by `amount` half turns, -1..1, rounded to quarter turns. */
export function turned(pixels, amount) {
    const quarters = (roundHalfEven(2 * amount) + 4) % 4;
    const { width, height } = pixels;
    const moved = [
        (x, y) => [x, y],
        (x, y) => [height - 1 - y, x],
        (x, y) => [width - 1 - x, height - 1 - y],
        (x, y) => [y, width - 1 - x],
    ][quarters];
    return rearranged(pixels, ...(quarters % 2 ? [height, width] : [width, height]), moved);
}

export function mirrored(pixels, horizontal) {
    const { width, height } = pixels;
    return rearranged(pixels, width, height, horizontal ? (x, y) => [width - 1 - x, y] : (x, y) => [x, height - 1 - y]);
}

/** Cuts `amount`/2 of the width and of the height away, half of it on each side; at least one pixel is left. */
export function croppedMiddle(pixels, amount) {
    const { width, height } = pixels;
    const [rows, columns] = [height, width].map((side) =>
        Math.min(Math.trunc((side * amount) / 4), Math.floor((side - 1) / 2)),
    );
    return cut(pixels, { top: rows, bottom: height - rows, left: columns, right: width - columns });
}

/** Cuts to the box around a mask of any size; unchanged for an empty mask. */
export function croppedAround(pixels, mask, amount, shares) {
    const found = covered(mask, (value) => value > 0.5);
    if (!found) return pixels;
    const bound = (first, end, size, side) => {
        const [from, to] = [first / size, end / size];
        const margin = shares.subject_margin * (1 - amount) * (to - from);
        return [Math.trunc(Math.max(0, from - margin) * side), Math.ceil(Math.min(1, to + margin) * side)];
    };
    const [top, bottom] = bound(found.top, found.bottom, mask.height, pixels.height);
    const [left, right] = bound(found.left, found.right, mask.width, pixels.width);
    return cut(pixels, { top, bottom, left, right });
}

/** The box around all values of a plane that pass; null when none does. */
export function covered({ data, width, height }, passes) {
    const box = { top: height, bottom: 0, left: width, right: 0 };
    for (let y = 0, place = 0; y < height; y++) {
        for (let x = 0; x < width; x++, place++) {
            if (!passes(data[place])) continue;
            box.top = Math.min(box.top, y);
            box.bottom = y + 1;
            box.left = Math.min(box.left, x);
            box.right = Math.max(box.right, x + 1);
        }
    }
    return box.bottom ? box : null;
}

/** Paints a border over the edge; `color` is `#rrggbb`. */
export function framed(pixels, amount, color, shares) {
    const result = copied(pixels);
    const { width, height } = pixels;
    const border = Math.max(1, roundHalfEven(shares.frame * amount * Math.min(width, height)));
    const paint = [...colorOf(color), 255];
    for (let y = 0, place = 0; y < height; y++) {
        for (let x = 0; x < width; x++, place += 4) {
            const inside = x >= border && y >= border && x < width - border && y < height - border;
            if (!inside) result.data.set(paint, place);
        }
    }
    return result;
}

/** @returns {[number, number, number]} 0..255 of `#rrggbb`. */
export const colorOf = (color) => [1, 3, 5].map((from) => parseInt(color.slice(from, from + 2), 16));

/** Square blocks of one colour; with a mask only blocks that it covers enough of. */
export function pixelated(pixels, amount, shares, mask) {
    const share = shares.block_least + (shares.block_most - shares.block_least) * amount;
    const block = Math.max(2, roundHalfEven(share * Math.max(pixels.width, pixels.height)));
    const padded = filledBlocks(pixels, block);
    const coarse = resized(padded, padded.width / block, padded.height / block, "box");
    const chosen = mask && resizedPlane(mask, coarse.width, coarse.height, "box");
    const result = copied(pixels);
    for (let y = 0, place = 0; y < pixels.height; y++) {
        for (let x = 0; x < pixels.width; x++, place += 4) {
            const cell = Math.floor(y / block) * coarse.width + Math.floor(x / block);
            if (chosen && !(chosen.data[cell] > shares.block_covered)) continue;
            result.data.set(coarse.data.subarray(4 * cell, 4 * cell + 4), place);
        }
    }
    return result;
}

/** Bicubic enlargement by a whole factor. */
export const enlarged = (pixels, factor = 2) =>
    resized(pixels, factor * pixels.width, factor * pixels.height, "bicubic");

/** `above` where the mask is 1, `below` where it is 0; a mask of another size is enlarged smoothly. */
export function blended(below, above, mask) {
    const { width, height } = below;
    const fits = mask.width === width && mask.height === height;
    const shares = (fits ? mask : resizedPlane(mask, width, height, "bilinear")).data;
    const result = blank(width, height);
    for (let place = 0; place < result.data.length; place++) {
        const share = shares[place >> 2];
        result.data[place] = Math.floor(below.data[place] * (1 - share) + above.data[place] * share + 0.5);
    }
    return result;
}

function rearranged(pixels, width, height, moved) {
    const result = blank(width, height);
    const [from, to] = [pixels, result].map(
        ({ data }) => new Uint32Array(data.buffer, data.byteOffset, data.length / 4),
    );
    for (let y = 0, place = 0; y < pixels.height; y++) {
        for (let x = 0; x < pixels.width; x++, place++) {
            const [column, row] = moved(x, y);
            to[row * width + column] = from[place];
        }
    }
    return result;
}
