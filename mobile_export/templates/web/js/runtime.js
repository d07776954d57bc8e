/** onnxruntime-web: which build is loaded, on which device and how many threads graphs run. Only this file knows it. */

import { EditError } from "./errors.js";

/** At most, unless more are asked for: graphs are small, and the page has work of its own. */
const USUAL_THREADS = 4;
const BUILDS = { wasm: "ort.wasm.min.mjs", webgpu: "ort.webgpu.min.mjs" };
/**
 * The networks, which most of the time goes to. The others stay on the CPU: they look at little, or (context, render)
 * are arithmetic of which onnxruntime-web 1.30 makes a shader for Pow that WebGPU refuses.
 */
const ON_GPU = ["vision", "restore"];
const ERRORS_ONLY = 3;
const DTYPES = { Float32Array: "float32", Uint8Array: "uint8", Int32Array: "int32" };

/**
 * @param {string} base Address of the folder with onnxruntime-web, with a slash at the end.
 * @param {import("./graphs.js").Options} options
 */
export async function openRuntime(base, { threads, device = "auto" } = {}) {
    const notes = [];
    const chosen = await chooseDevice(device);
    const ort = await import(new URL(BUILDS[chosen], base).href);
    ort.env.wasm.wasmPaths = base;
    ort.env.wasm.numThreads = chooseThreads(threads, notes);
    ort.env.logLevel = "error";
    return new Runtime(ort, chosen, notes);
}

class Runtime {
    #ort;

    constructor(ort, device, notes) {
        this.#ort = ort;
        this.device = device;
        this.threads = ort.env.wasm.numThreads;
        this.notes = notes;
    }

    /** Loads a graph. */
    async open(component, content) {
        const onGpu = this.device === "webgpu" && ON_GPU.includes(component.name);
        // weights in 8 bits with arithmetic in float are unpacked once, at opening, instead of in every run
        const unpacked = !includes(content, "QuantizeLinear");
        try {
            return await this.#ort.InferenceSession.create(content, {
                executionProviders: onGpu ? ["webgpu", "wasm"] : ["wasm"],
                graphOptimizationLevel: "all",
                logSeverityLevel: ERRORS_ONLY,
                extra: unpacked ? { session: { disable_quant_qdq: "1" } } : {},
            });
        } catch (error) {
            throw new EditError("EngineError", `onnxruntime-web can't open ${component.name}`, { got: error.message });
        }
    }

    async run(session, component, feeds) {
        const inputs = {};
        for (const { name, dtype } of component.inputs) {
            const { data, dims } = feeds[name];
            const kind = DTYPES[data.constructor.name];
            if (kind !== dtype) {
                throw new EditError("EngineError", `${component.name} wants another type of ${name}`, {
                    got: kind,
                    allowed: dtype,
                });
            }
            inputs[name] = new this.#ort.Tensor(dtype, data, dims);
        }
        try {
            const found = await session.run(inputs);
            return Object.fromEntries(component.outputs.map(({ name }) => [name, owned(found[name])]));
        } catch (error) {
            throw new EditError("EngineError", `onnxruntime-web can't run ${component.name}`, { got: error.message });
        }
    }
}

const owned = ({ data, dims }) => ({ data, dims: [...dims] });

async function chooseDevice(device) {
    if (!["auto", "wasm", "webgpu"].includes(device)) {
        throw new EditError("EngineError", "there is no such device", { got: device, allowed: "auto, wasm, webgpu" });
    }
    if (device === "wasm") return "wasm";
    const adapter = await navigator.gpu?.requestAdapter();
    if (device === "auto") return adapter && !adapter.info?.isFallbackAdapter ? "webgpu" : "wasm";
    if (adapter) return "webgpu";
    throw new EditError("EngineError", "this browser has no WebGPU device", { hint: "ask for device wasm or auto" });
}

function chooseThreads(wanted, notes) {
    if (wanted !== undefined && !(Number.isInteger(wanted) && wanted >= 1)) {
        throw new EditError("EngineError", "the number of threads is not usable", {
            got: wanted,
            allowed: "1 or more",
        });
    }
    const usual = Math.min(USUAL_THREADS, navigator.hardwareConcurrency || 1);
    if (globalThis.crossOriginIsolated) return wanted ?? usual;
    if ((wanted ?? usual) > 1) {
        notes.push(
            "runs on 1 thread: the page is not cross-origin isolated (send Cross-Origin-Opener-Policy: same-origin, " +
                "Cross-Origin-Embedder-Policy: require-corp)",
        );
    }
    return 1;
}

function includes(content, word) {
    const [first, ...rest] = new TextEncoder().encode(word);
    for (let at = content.indexOf(first); at >= 0; at = content.indexOf(first, at + 1)) {
        if (rest.every((byte, place) => content[at + 1 + place] === byte)) return true;
    }
    return false;
}
