/** The model, open while it is used. Each port named "compute" is one edit; closing the port stops it. */

import { NanoBanana } from "./nano-banana.js";
import { asBlob, asDataUrl } from "./transport.js";

const QUALITY = 0.95;
const IDLE_MILLISECONDS = 5 * 60 * 1000;
let editor = null;
let idle = 0;

chrome.runtime.onConnect.addListener((port) => {
    if (port.name !== "compute") return;
    const stopping = new AbortController();
    port.onDisconnect.addListener(() => stopping.abort());
    port.onMessage.addListener((request) => compute(port, request, stopping.signal));
});

async function compute(port, { photo, instruction }, signal) {
    clearTimeout(idle);
    const tell = (message) => !signal.aborted && port.postMessage(message);
    try {
        editor ??= await NanoBanana.load(chrome.runtime.getURL(""), { device: "wasm" });
        const onProgress = ({ stage, fraction }) => tell({ kind: "progress", stage, fraction });
        const result = await editor.edit(await asBlob(photo), instruction, { signal, onProgress });
        // a message holds 64 MiB: transparency needs PNG, all else is small as JPEG
        const type = result.opaque ? "image/jpeg" : "image/png";
        const picture = await asDataUrl(await result.toBlob({ type, quality: QUALITY }));
        tell({ kind: "result", picture, warnings: result.warnings, plan: result.plan });
    } catch (error) {
        tell({ kind: "error", text: error.message });
    }
    idle = setTimeout(() => window.close(), IDLE_MILLISECONDS); // frees the model's memory
}
