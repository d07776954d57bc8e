/** Messages between the parts of an extension are JSON: pictures travel in them as data URLs. */

const CHUNK = 0x8000; // as many arguments as every engine takes

/** @param {Blob} blob @returns {Promise<string>} */
export async function asDataUrl(blob) {
    const bytes = new Uint8Array(await blob.arrayBuffer());
    const parts = [];
    for (let at = 0; at < bytes.length; at += CHUNK) parts.push(String.fromCharCode(...bytes.subarray(at, at + CHUNK)));
    return `data:${blob.type};base64,${btoa(parts.join(""))}`;
}

/** @param {string} url @returns {Promise<Blob>} */
export const asBlob = async (url) => (await fetch(url)).blob();
