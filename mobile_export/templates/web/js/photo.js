/**
 * What a browser can decode -> pixels, upright and in sRGB; and masks.
 *
 * @typedef {Blob | ImageBitmap | ImageData} Picture What can be sent to a worker.
 */

import { EditError } from "./errors.js";
import { isOpaque } from "./pixels.js";
import { resizedPlane } from "./resize.js";

/** @param {Picture} picture @returns {Promise<import("./pixels.js").Pixels>} */
export async function decoded(picture) {
    if (picture instanceof ImageData) {
        const { data, width, height } = picture;
        return { data: new Uint8Array(data.buffer, data.byteOffset, data.length).slice(), width, height };
    }
    const bitmap = picture instanceof Blob ? await bitmapOf(picture) : picture;
    const { width, height } = bitmap;
    const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
    if (!context)
        throw new EditError("ImageSizeError", "the picture has too many pixels", {
            got: `${width} x ${height}`,
            hint: "send a smaller picture",
        });
    context.drawImage(bitmap, 0, 0);
    bitmap.close();
    const { data } = context.getImageData(0, 0, width, height);
    return { data: new Uint8Array(data.buffer), width, height };
}

async function bitmapOf(blob) {
    if (!blob.size) throw new EditError("ImageError", "the picture is empty", { got: "0 bytes", param: "image" });
    try {
        return await createImageBitmap(blob, { premultiplyAlpha: "none" });
    } catch (error) {
        throw new EditError("ImageError", "the picture can't be decoded by this browser", {
            got: blob.type || "bytes of unknown type",
            hint: "send a JPEG, PNG or WebP",
            param: "image",
        });
    }
}

/**
 * A mask for a photo of width x height: 1 where the edit belongs. A picture with transparent pixels marks by
 * transparency, another one by white.
 *
 * @returns {import("./pixels.js").Plane}
 */
export function maskOf(picture, width, height, { proportions_tolerance: tolerance, least_marked: least }) {
    const [wide, tall] = [picture.width, picture.height];
    if (Math.abs(wide * height - tall * width) > Math.max(wide * height, tall * width) * tolerance) {
        throw new EditError("ImageError", "the mask has other proportions than the photo", {
            got: `${wide} x ${tall}`,
            allowed: `${width} x ${height}`,
            hint: "send a mask of the photo's size",
            param: "mask",
        });
    }
    const marked = { data: isOpaque(picture) ? lightness(picture) : transparency(picture), width: wide, height: tall };
    const { data } = resizedPlane(marked, width, height, "bilinear");
    if (data.every((value) => value < least)) {
        throw new EditError("ImageError", "the mask marks nothing", {
            hint: "make the area to edit transparent, or white on black",
            param: "mask",
        });
    }
    return { data: Float32Array.from(data, (value) => value / 255), width, height };
}

const transparency = ({ data }) =>
    Uint8Array.from({ length: data.length / 4 }, (_, place) => 255 - data[4 * place + 3]);

/** Rec. 601 luma in 16 bits, as Pillow converts to grey. */
const lightness = ({ data }) =>
    Uint8Array.from({ length: data.length / 4 }, (_, place) => {
        const [red, green, blue] = data.subarray(4 * place, 4 * place + 3);
        return (19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16;
    });
