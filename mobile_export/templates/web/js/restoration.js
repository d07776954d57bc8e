/**
 * Mending pixels with a restoration graph: tile by tile over any size, and inside a marked area. `mending` are the
 * manifest's settings `restoration`.
 *
 * @typedef {import("./pixels.js").Pixels} Pixels
 * @typedef {import("./pixels.js").Plane} Plane
 * @typedef {(image: Pixels, hole: Plane) => Promise<Pixels>} Graph Sides are multiples of `mending.multiple`.
 * @typedef {(share: number) => Promise<void>} Report Gets the share that is done before each tile; may throw to stop.
 */

import { blended, covered } from "./canvas.js";
import { ceilDivided } from "./numbers.js";
import { blank, copied, cut, filledBlocks, paste, plane } from "./pixels.js";
import { resizedForModel } from "./resize.js";
import { tiles } from "./tiles.js";

/** Runs the graph over a whole picture; `hole` marks with 1 what it must fill. */
export async function mended(pixels, graph, mending, report, hole = null) {
    const result = blank(pixels.width, pixels.height);
    const { tile_pixels: side, halo_pixels: halo, multiple } = mending;
    const cover = tiles(pixels.height, pixels.width, side, halo, multiple);
    for (const [done, { seen, kept }] of cover.entries()) {
        await report(done / cover.length);
        const image = filledBlocks(cut(pixels, seen), multiple);
        const marks = hole ? filledBlocks(cut(hole, seen), multiple, 0) : plane(image.width, image.height);
        paste(result, await graph(image, marks), kept, seen.top, seen.left);
    }
    return result;
}

/**
 * Mends the masked area alone, in the box around it. Above 0, `fill` is the opacity with which what the graph puts in
 * place of the marked pixels covers them; at 0 the graph mends what it sees there.
 */
export async function mendedInside(pixels, graph, mending, report, mask, fill) {
    const box = around(mask, mending.around_pixels);
    const [part, marked] = [cut(pixels, box), cut(mask, box)];
    const factor = fill > 0 ? Math.max(1, ceilDivided(thickness(marked), mending.hole_pixels)) : 1;
    const { small, hole } = reducedForFilling(part, marked, factor, mending);
    let whole = await mended(small, graph, mending, report, fill > 0 ? hole : null);
    if (factor > 1) whole = resizedForModel(whole, part.width, part.height, true);
    // what is marked even by half is replaced, or a rim of the old thing would stay
    const share = fill > 0 ? { ...marked, data: marked.data.map((value) => fill * Math.min(1, 2 * value)) } : marked;
    const result = copied(pixels);
    paste(result, blended(part, whole, share), box, box.top, box.left);
    return result;
}

/** The box of what is marked, with half its longer side around it, at least `least` pixels. */
function around(mask, least) {
    const { top, bottom, left, right } = covered(mask, (value) => value > 0);
    const more = Math.max(least, Math.floor(Math.max(bottom - top, right - left) / 2));
    return {
        top: Math.max(0, top - more),
        bottom: Math.min(mask.height, bottom + more),
        left: Math.max(0, left - more),
        right: Math.min(mask.width, right + more),
    };
}

/** Side of the largest square that is marked all over. */
function thickness({ data, width, height }) {
    let [above, largest] = [new Uint32Array(width + 1), 0];
    for (let y = 0; y < height; y++) {
        const here = new Uint32Array(width + 1);
        for (let x = 0; x < width; x++) {
            if (!(data[y * width + x] > 0.5)) continue;
            here[x + 1] = 1 + Math.min(here[x], above[x], above[x + 1]);
            largest = Math.max(largest, here[x + 1]);
        }
        above = here;
    }
    return largest;
}

/** Picture and hole, smaller by a factor. What any part of is marked is hole; colours come from what is not. */
function reducedForFilling(pixels, mask, factor, { marked, known_alpha: known }) {
    if (factor === 1)
        return { small: pixels, hole: { ...mask, data: mask.data.map((value) => Number(value > marked)) } };
    const seen = copied(pixels);
    mask.data.forEach((value, place) => (seen.data[4 * place + 3] = value > marked ? 0 : 255));
    const small = resizedForModel(seen, ceilDivided(pixels.width, factor), ceilDivided(pixels.height, factor), true);
    const hole = plane(small.width, small.height);
    hole.data.forEach((_, place) => {
        hole.data[place] = Number(small.data[4 * place + 3] < known);
        small.data[4 * place + 3] = 255;
    });
    return { small, hole };
}
