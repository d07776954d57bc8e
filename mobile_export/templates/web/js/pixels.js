/**
 * Pictures and masks as plain arrays, and moving whole rows of them.
 *
 * @typedef {{data: Uint8Array, width: number, height: number}} Pixels RGBA, sRGB, straight alpha.
 * @typedef {{data: Float32Array, width: number, height: number}} Plane One number a pixel; a mask has 0 to 1.
 */

/** @returns {Pixels} */
export const blank = (width, height) => ({ data: new Uint8Array(4 * width * height), width, height });

/** @returns {Plane} */
export const plane = (width, height, value = 0) => ({
    data: new Float32Array(width * height).fill(value),
    width,
    height,
});

/** @returns {Pixels} A copy. */
export const copied = ({ data, width, height }) => ({ data: data.slice(), width, height });

/** The part of a picture or plane inside a box, as a copy. */
export function cut(picture, { top, bottom, left, right }) {
    const [channels, width, height] = [channelsOf(picture), right - left, bottom - top];
    const data = new picture.data.constructor(channels * width * height);
    for (let row = 0; row < height; row++) {
        const from = channels * ((top + row) * picture.width + left);
        data.set(picture.data.subarray(from, from + channels * width), channels * row * width);
    }
    return { data, width, height };
}

/** Writes the part `box` of `source`, whose corner lies at (offsetTop, offsetLeft), into `target` at the same place. */
export function paste(target, source, box, offsetTop = 0, offsetLeft = 0) {
    const channels = channelsOf(target);
    for (let row = box.top; row < box.bottom; row++) {
        const from = channels * ((row - offsetTop) * source.width + box.left - offsetLeft);
        const part = source.data.subarray(from, from + channels * (box.right - box.left));
        target.data.set(part, channels * (row * target.width + box.left));
    }
}

/** Repeats the last row and column until both sides are multiples of `multiple`; `beyond` fills a plane instead. */
export function filledBlocks(picture, multiple, beyond = null) {
    const [width, height] = [picture.width, picture.height].map((side) => Math.ceil(side / multiple) * multiple);
    if (width === picture.width && height === picture.height) return picture;
    const channels = channelsOf(picture);
    const data = new picture.data.constructor(channels * width * height);
    if (beyond !== null) data.fill(beyond);
    for (let row = 0; row < (beyond === null ? height : picture.height); row++) {
        const from = channels * Math.min(row, picture.height - 1) * picture.width;
        const line = picture.data.subarray(from, from + channels * picture.width);
        const to = channels * row * width;
        data.set(line, to);
        if (beyond !== null) continue;
        for (let at = to + line.length; at < to + channels * width; at += channels)
            data.set(line.subarray(-channels), at);
    }
    return { data, width, height };
}

/** RGB alone, as a plain array: what graphs that look at a small copy take. */
export function withoutAlpha({ data, width, height }) {
    const rgb = new Uint8Array(3 * width * height);
    for (let from = 0, to = 0; from < data.length; from += 4, to += 3) {
        rgb[to] = data[from];
        rgb[to + 1] = data[from + 1];
        rgb[to + 2] = data[from + 2];
    }
    return rgb;
}

export function isOpaque({ data }) {
    for (let place = 3; place < data.length; place += 4) if (data[place] !== 255) return false;
    return true;
}

const channelsOf = ({ data, width, height }) => data.length / (width * height);
