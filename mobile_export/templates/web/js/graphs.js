/**
 * An artifact over HTTP, and its graphs opened with onnxruntime-web. nanoedge's docs/artifact-format.md has the format.
 *
 * @typedef {{data: Float32Array | Uint8Array | Int32Array, dims: number[]}} Tensor
 * @typedef {{threads?: number, device?: "auto" | "wasm" | "webgpu"}} Options
 */

import { EditError } from "./errors.js";
import { openRuntime } from "./runtime.js";

const FORMAT_VERSION = 2;
const FAMILY = "nano-banana";
const TARGET = "onnx";
const bad = (what, details) => new EditError("ArtifactError", what, details);

export class Graphs {
    #base;
    #runtime;
    #sessions = new Map();

    constructor(base, manifest, runtime) {
        this.#base = base;
        this.#runtime = runtime;
        this.manifest = manifest;
    }

    /**
     * Reads the manifest in a folder; graphs are fetched on first use, and kept.
     *
     * @param {string} base Address of the artifact's folder, with a slash at the end.
     * @param {string} runtimeBase Address of the folder with onnxruntime-web.
     * @param {Options} options
     */
    static async open(base, runtimeBase, options) {
        const encoded = await fetched(new URL("manifest.json", base));
        const manifest = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(encoded));
        for (const [member, wanted] of [
            ["format_version", FORMAT_VERSION],
            ["family", FAMILY],
            ["target", TARGET],
        ]) {
            if (manifest[member] !== wanted) {
                throw bad(`the artifact's ${member} can't be used here`, {
                    got: manifest[member],
                    allowed: wanted,
                    hint: "export the bundle again",
                });
            }
        }
        return new Graphs(base, manifest, await openRuntime(runtimeBase, options));
    }

    /** How the graphs run: device, threads, and sentences about what was wished for and can't be had. */
    get conditions() {
        const { device, threads, notes } = this.#runtime;
        return { device, threads, notes };
    }

    /**
     * @param {string} name
     * @param {Record<string, Tensor>} feeds
     * @returns {Promise<Record<string, Tensor>>} The outputs, owned by the caller.
     */
    async run(name, feeds) {
        const component = this.#component(name);
        if (!this.#sessions.has(name)) this.#sessions.set(name, this.#opened(component));
        const opening = this.#sessions.get(name);
        const session = await opening.catch((error) => {
            this.#sessions.delete(name); // a file that didn't arrive may arrive the next time
            throw error;
        });
        return this.#runtime.run(session, component, feeds);
    }

    async close() {
        const sessions = await Promise.allSettled(this.#sessions.values());
        this.#sessions.clear();
        await Promise.all(sessions.map(({ value }) => value?.release()));
    }

    #component(name) {
        const found = this.manifest.components.find((component) => component.name === name);
        if (!found) throw bad("the artifact has no such component", { got: name });
        return found;
    }

    async #opened(component) {
        const content = await fetched(new URL(component.file, this.#base));
        await check(component, content);
        return this.#runtime.open(component, content);
    }
}

async function fetched(address) {
    let answer;
    try {
        answer = await fetch(address);
    } catch (error) {
        throw bad(`${address} can't be fetched`, { got: error.message });
    }
    if (!answer.ok) throw bad(`${address} can't be fetched`, { got: `${answer.status} ${answer.statusText}` });
    return new Uint8Array(await answer.arrayBuffer());
}

/** Compares size and digest; the digest only where the page is a secure context, as others have no crypto.subtle. */
async function check({ file, bytes, sha256 }, content) {
    if (content.length !== bytes) {
        throw bad(`the file ${file} has the wrong size`, {
            got: `${content.length} bytes`,
            allowed: `${bytes} bytes`,
            hint: "copy the bundle again",
        });
    }
    if (!globalThis.crypto?.subtle) return;
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
    const found = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
    if (found !== sha256) {
        throw bad(`the file ${file} has the wrong SHA-256`, {
            got: found,
            allowed: sha256,
            hint: "it is damaged or was changed: copy the bundle again",
        });
    }
}
