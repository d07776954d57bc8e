/** Editing in this browser: the model lives in an offscreen document, as service workers may not start workers. */

const PAGE = "offscreen.html";
let opening = null;

/**
 * @param {{photo: string, instruction: string, signal: AbortSignal, onProgress: (progress: object) => void}} edit
 * @returns {Promise<{picture: string, warnings: string[]}>} `photo` and `picture` are data URLs.
 */
export async function computeHere({ photo, instruction, signal, onProgress }) {
    await openPage();
    const port = chrome.runtime.connect({ name: "compute" });
    return new Promise((resolve, reject) => {
        signal.addEventListener("abort", () => {
            port.disconnect();
            reject(signal.reason);
        });
        port.onDisconnect.addListener(() => reject(new Error("The editor in the background has stopped. Try again.")));
        port.onMessage.addListener(({ kind, ...message }) => {
            if (kind === "progress") return onProgress(message);
            port.disconnect();
            return kind === "result" ? resolve(message) : reject(new Error(message.text));
        });
        port.postMessage({ photo, instruction });
    });
}

async function openPage() {
    if (await chrome.offscreen.hasDocument()) return;
    opening ??= chrome.offscreen
        .createDocument({ url: PAGE, reasons: ["WORKERS"], justification: "Runs the editing model in a worker." })
        .finally(() => (opening = null));
    await opening;
}
