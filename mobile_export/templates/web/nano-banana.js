/**
 * nano-banana in the browser: edits photos by instruction, on this device.
 *
 *     const editor = await NanoBanana.load();
 *     const result = await editor.edit(photo, "a bit warmer, blur the background");
 *     document.querySelector("img").src = URL.createObjectURL(await result.toBlob());
 *
 * Types are in nano-banana.d.ts. The work is done in a worker (js/worker.js).
 */

import { EditError, cancelled } from "./js/errors.js";

export { EditError };

export class NanoBanana {
    #worker;
    #waiting = new Map();
    #last = 0;

    constructor(worker) {
        this.#worker = worker;
        worker.addEventListener("message", ({ data }) => this.#arrived(data));
        worker.addEventListener("error", (event) => this.#failed(event.message || "the worker can't be started"));
    }

    static async load(base = new URL("./", import.meta.url), { threads, device } = {}) {
        const folder = new URL(String(base).replace(/\/?$/, "/"), globalThis.document?.baseURI ?? location.href);
        const editor = new NanoBanana(new Worker(new URL("./js/worker.js", import.meta.url), { type: "module" }));
        const [model, runtime] = ["model/", "ort/"].map((name) => new URL(name, folder).href);
        try {
            const facts = await editor.#ask("load", {
                base: model,
                runtimeBase: runtime,
                options: { threads, device },
            });
            return Object.assign(editor, facts);
        } catch (error) {
            editor.#worker.terminate();
            throw error;
        }
    }

    async plan(instruction) {
        return this.#ask("plan", { instruction });
    }

    async edit(image, wish, { mask, signal, onProgress } = {}) {
        signal?.throwIfAborted();
        const request = { image: await sendable(image), mask: mask && (await sendable(mask)), wish };
        const found = await this.#ask("edit", request, { signal, onProgress });
        return new EditResult(found);
    }

    async close() {
        await this.#ask("close", {});
        this.#worker.terminate();
    }

    #ask(kind, details, { signal, onProgress } = {}) {
        const id = ++this.#last;
        return new Promise((resolve, reject) => {
            const stop = () => {
                this.#worker.postMessage({ id, kind: "cancel" });
                this.#settle(id, (waiting) => waiting.reject(signal.reason ?? cancelled()));
            };
            this.#waiting.set(id, {
                resolve,
                reject,
                onProgress,
                done: () => signal?.removeEventListener("abort", stop),
            });
            signal?.addEventListener("abort", stop, { once: true });
            this.#worker.postMessage({ id, kind, ...details });
            if (signal?.aborted) stop();
        });
    }

    #arrived({ id, progress, result, error }) {
        if (progress) this.#waiting.get(id)?.onProgress?.(progress);
        else this.#settle(id, ({ resolve, reject }) => (error ? reject(EditError.fromData(error)) : resolve(result)));
    }

    #failed(message) {
        for (const id of [...this.#waiting.keys()]) {
            this.#settle(id, ({ reject }) =>
                reject(new EditError("EngineError", "the worker stopped", { got: message })),
            );
        }
    }

    #settle(id, act) {
        const waiting = this.#waiting.get(id);
        if (!waiting) return; // it was cancelled before
        this.#waiting.delete(id);
        waiting.done();
        act(waiting);
    }
}

class EditResult {
    constructor({ pixels, opaque, plan, warnings, seconds }) {
        const { data, width, height } = pixels;
        this.imageData = new ImageData(new Uint8ClampedArray(data.buffer), width, height);
        Object.assign(this, { width, height, opaque, plan, warnings, seconds });
    }

    async toBlob({ type = "image/png", quality = 0.9 } = {}) {
        const canvas = new OffscreenCanvas(this.width, this.height);
        const context = canvas.getContext("2d");
        context.putImageData(this.imageData, 0, 0);
        if (type === "image/jpeg" && !this.opaque) {
            context.globalCompositeOperation = "destination-over"; // JPEG has no transparency: on white
            context.fillStyle = "white";
            context.fillRect(0, 0, this.width, this.height);
        }
        return canvas.convertToBlob({ type, quality });
    }
}

/** What a worker can be sent: elements of the page become bitmaps. */
async function sendable(picture) {
    if (picture instanceof Blob || picture instanceof ImageData) return picture;
    try {
        return await createImageBitmap(picture, { premultiplyAlpha: "none" });
    } catch (error) {
        throw new EditError("ImageError", "the picture can't be read", {
            got: error.message,
            allowed: "a Blob, ImageData, ImageBitmap, or an image of the page that has loaded",
            param: "image",
        });
    }
}
