/**
 * Resampling that agrees with Pillow's to the last bit: antialiased filters with 22-bit coefficients, box means in 32
 * bits. (Pillow's src/libImaging/Resample.c and Reduce.c; colours are premultiplied around them as Image.resize does.)
 */

const PRECISION_BITS = 22;
const REDUCING_GAP = 2;
const triangle = (x) => Math.max(0, 1 - Math.abs(x));
const cubic = (x) => {
    const [a, d] = [-0.5, Math.abs(x)];
    if (d < 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
    return d < 2 ? (((d - 5) * d + 8) * d - 4) * a : 0;
};
const FILTERS = {
    box: { support: 0.5, weight: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) },
    bilinear: { support: 1, weight: triangle },
    bicubic: { support: 2, weight: cubic },
};

/**
 * Resamples RGBA to width x height.
 *
 * @param {import("./pixels.js").Pixels} picture
 * @param {"box" | "bilinear" | "bicubic"} filter
 * @param {boolean} alpha Whether the fourth channel is opacity: without it, it is resampled like a colour.
 */
export function resized(picture, width, height, filter, alpha = true) {
    const source = alpha ? premultiplied(picture) : picture;
    const result = resampled(source, width, height, filter, whole(source));
    return alpha ? unmultiplied(result) : result;
}

/** For the inputs of models: antialiased, large steps by way of box means. Without `alpha` it comes back opaque. */
export function resizedForModel(picture, width, height, alpha = false) {
    let source = alpha ? premultiplied(picture) : picture;
    let box = whole(source);
    const [x, y] = [source.width / width, source.height / height].map((by) => Math.trunc(by / REDUCING_GAP) || 1);
    if (x > 1 || y > 1) {
        box = [source.width / x, source.height / y].map(Math.fround); // floats of 32 bits, as in Pillow
        source = reduced(source, x, y);
    }
    const result = resampled(source, width, height, "bilinear", box);
    if (alpha) return unmultiplied(result);
    const opaque = { ...result, data: result.data === picture.data ? result.data.slice() : result.data };
    for (let place = 3; place < opaque.data.length; place += 4) opaque.data[place] = 255;
    return opaque;
}

/** Resamples one plane of floats, or of bytes, which are rounded after each direction. */
export function resizedPlane(plane, width, height, filter) {
    return resampled(plane, width, height, filter, whole(plane));
}

/** Means of blocks of x by y pixels; blocks at the right and lower edge may be partial. */
export function reduced(picture, x, y = x) {
    const channels = picture.data.length / (picture.width * picture.height);
    const [width, height] = [Math.ceil(picture.width / x), Math.ceil(picture.height / y)];
    const data = new Uint8Array(channels * width * height);
    for (let row = 0; row < height; row++) {
        const last = Math.min(picture.height, (row + 1) * y);
        for (let column = 0; column < width; column++) {
            const right = Math.min(picture.width, (column + 1) * x);
            const count = (last - row * y) * (right - column * x);
            const multiplier = Math.trunc(Math.fround(2 ** 32 / (256 * count)));
            for (let channel = 0; channel < channels; channel++) {
                let sum = count >> 1;
                for (let line = row * y; line < last; line++) {
                    for (let at = column * x; at < right; at++) {
                        sum += picture.data[channels * (line * picture.width + at) + channel];
                    }
                }
                data[channels * (row * width + column) + channel] = Math.floor((sum * multiplier) / 2 ** 24);
            }
        }
    }
    return { data, width, height };
}

const whole = ({ width, height }) => [width, height];

/** `box` is the part of the source that counts, from its corner. Values are rounded between the two directions. */
function resampled(source, width, height, filter, box) {
    const rows = (one) => scaledRows(one, width, box[0], FILTERS[filter]);
    const columns = (one) => scaledColumns(one, height, box[1], FILTERS[filter]);
    // as Pillow does from version 13 on: the direction that takes much more away goes first
    const less = [source.width - width, source.height - height];
    return less[1] > 0 && less[1] > 2 * less[0] ? rows(columns(source)) : columns(rows(source));
}

function scaledRows({ data, width, height }, wanted, covered, filter) {
    if (width === wanted && width === covered) return { data, width, height };
    const channels = data.length / (width * height);
    const weights = coefficients(width, covered, wanted, filter, isBytes(data));
    return { data: along(data, weights, height, channels), width: wanted, height };
}

function scaledColumns({ data, width, height }, wanted, covered, filter) {
    if (height === wanted && height === covered) return { data, width, height };
    const weights = coefficients(height, covered, wanted, filter, isBytes(data));
    return { data: down(data, weights, data.length / height), width, height: wanted };
}

/** First source place and weights of every result, whole numbers of 22 bits for bytes. */
function coefficients(size, covered, wanted, { support, weight }, bytes) {
    const scale = covered / wanted;
    const spread = Math.max(scale, 1);
    return Array.from({ length: wanted }, (_, place) => {
        const center = (place + 0.5) * scale;
        const first = Math.max(0, Math.trunc(center - support * spread + 0.5));
        const end = Math.min(size, Math.trunc(center + support * spread + 0.5));
        const inverse = 1 / spread;
        const raw = Array.from({ length: end - first }, (_, at) => weight((at + first - center + 0.5) * inverse));
        const sum = raw.reduce((total, one) => total + one, 0);
        const shares = sum ? raw.map((one) => one / sum) : raw;
        return { first, shares: bytes ? Int32Array.from(shares, fixed) : Float64Array.from(shares) };
    });
}

const fixed = (share) => Math.trunc(share * (1 << PRECISION_BITS) + (share < 0 ? -0.5 : 0.5));
const isBytes = (data) => data instanceof Uint8Array;

function along(data, weights, lines, channels) {
    const pitch = data.length / lines;
    const result = new data.constructor(lines * weights.length * channels);
    const finish = finisher(data);
    for (let line = 0, to = 0; line < lines; line++) {
        for (const { first, shares } of weights) {
            for (let channel = 0; channel < channels; channel++) {
                let [sum, from] = [finish.start, line * pitch + first * channels + channel];
                for (let at = 0; at < shares.length; at++, from += channels) sum += data[from] * shares[at];
                result[to++] = finish.end(sum);
            }
        }
    }
    return result;
}

function down(data, weights, pitch) {
    const result = new data.constructor(weights.length * pitch);
    const finish = finisher(data);
    const sums = new Float64Array(pitch);
    weights.forEach(({ first, shares }, line) => {
        sums.fill(finish.start);
        for (let at = 0; at < shares.length; at++) {
            const [share, from] = [shares[at], (first + at) * pitch];
            for (let place = 0; place < pitch; place++) sums[place] += data[from + place] * share;
        }
        for (let place = 0; place < pitch; place++) result[line * pitch + place] = finish.end(sums[place]);
    });
    return result;
}

/** What a sum begins with, and how it becomes a value. */
function finisher(data) {
    if (!isBytes(data)) return { start: 0, end: (sum) => sum };
    return {
        start: 1 << (PRECISION_BITS - 1),
        end: (sum) => Math.min(255, Math.max(0, Math.floor(sum / (1 << PRECISION_BITS)))),
    };
}

function premultiplied({ data, width, height }) {
    const result = data.slice();
    for (let place = 0; place < data.length; place += 4) {
        const alpha = data[place + 3];
        if (alpha === 255) continue;
        for (let at = place; at < place + 3; at++) {
            const product = data[at] * alpha + 128;
            result[at] = ((product >> 8) + product) >> 8;
        }
    }
    return { data: result, width, height };
}

function unmultiplied({ data, width, height }) {
    const result = data.slice();
    for (let place = 0; place < data.length; place += 4) {
        const alpha = data[place + 3];
        if (alpha === 255 || alpha === 0) continue;
        for (let at = place; at < place + 3; at++) result[at] = Math.min(255, Math.trunc((255 * data[at]) / alpha));
    }
    return { data: result, width, height };
}
