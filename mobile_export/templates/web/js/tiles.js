/** Cutting a large picture into pieces that a graph can hold. Sizes only. */

import { ceilDivided } from "./numbers.js";

/**
 * Covers a picture with tiles that see at most `side` pixels, `halo` of them beyond what is kept. Tiles begin at
 * multiples of `multiple`, so that a network with strides sees the same grid in all of them.
 *
 * @returns {{seen: Box, kept: Box}[]} Boxes in pixels of the picture.
 * @typedef {{top: number, bottom: number, left: number, right: number}} Box
 */
export function tiles(height, width, side, halo, multiple) {
    const cover = [];
    for (const [top, bottom] of spans(height, side, halo, multiple)) {
        for (const [left, right] of spans(width, side, halo, multiple)) {
            const kept = { top, bottom, left, right };
            const seen = {
                top: Math.max(0, top - halo),
                bottom: Math.min(height, bottom + halo),
                left: Math.max(0, left - halo),
                right: Math.min(width, right + halo),
            };
            cover.push({ seen, kept });
        }
    }
    return cover;
}

/** Equal strips [top, bottom] of about `pixels` pixels; inner borders are multiples of `multiple`. */
export function strips(height, width, pixels, multiple) {
    const count = ceilDivided(height * width, pixels);
    return stepped(height, Math.max(1, ceilDivided(height, count * multiple)) * multiple);
}

/** Nearly equal spans, so that no tile is a sliver; all but the last end at a multiple. */
function spans(length, side, halo, multiple) {
    if (length <= side) return [[0, length]];
    const count = ceilDivided(length, side - 2 * halo);
    return stepped(length, ceilDivided(length, count * multiple) * multiple);
}

function stepped(length, step) {
    const found = [];
    for (let first = 0; first < length; first += step) found.push([first, Math.min(first + step, length)]);
    return found;
}
