/**
 * The extension's service worker: the menu entry, and the way of an edit.
 *
 *     menu -> content.js at the picture asks for the instruction -> port "edit" -> here
 *          -> offscreen.js (this browser) or server.js -> back through the port
 */

import { computeHere } from "./local.js";
import { computeThere } from "./server.js";
import { originPattern, readSettings } from "./settings.js";
import { asDataUrl } from "./transport.js";

const MENU = "edit-picture";

chrome.runtime.onInstalled.addListener(() => {
    chrome.contextMenus.create({ id: MENU, title: "Edit with nanoedge", contexts: ["image"] });
});

chrome.contextMenus.onClicked.addListener((click, tab) => {
    // Asked at once, as only the click itself allows asking: pictures of other sites can't be read without it.
    const asked = isForeign(click) ? chrome.permissions.request({ origins: [originPattern(click.srcUrl)] }) : true;
    Promise.resolve(asked)
        .catch(() => false)
        .then(() => begin({ tab: tab.id, frame: click.frameId ?? 0, picture: click.srcUrl }));
});

chrome.runtime.onConnect.addListener((port) => {
    if (port.name !== "edit") return;
    const stopping = new AbortController();
    port.onDisconnect.addListener(() => stopping.abort());
    port.onMessage.addListener((request) => answer(port, request, stopping.signal));
});

/** Shows the dialog at a picture. */
async function begin({ tab, frame, picture }) {
    const target = { tabId: tab, frameIds: [frame] };
    const { route, server } = await readSettings();
    await chrome.scripting.executeScript({ target, files: ["card.js", "content.js"] });
    const place = route === "server" ? `by ${new URL(server).host}` : "in this browser";
    await chrome.tabs.sendMessage(tab, { kind: "ask", picture, place }, { frameId: frame });
}

async function answer(port, { picture, data, instruction }, signal) {
    const tell = (message) => !signal.aborted && port.postMessage(message);
    try {
        const settings = await readSettings();
        const photo = data ?? (await asDataUrl(await fetched(picture)));
        const compute = settings.route === "server" ? computeThere : computeHere;
        const onProgress = (progress) => tell({ kind: "progress", ...progress });
        tell({ kind: "result", ...(await compute({ photo, instruction, settings, signal, onProgress })) });
    } catch (error) {
        tell({ kind: "error", text: error.message });
    }
}

/** A picture that the page itself may not read. */
async function fetched(picture) {
    const host = new URL(picture).host;
    const answered = await fetch(picture, { credentials: "omit" }).catch(() => {
        throw new Error(
            `The picture is on ${host}, which doesn't let it be read. Click it again and allow access to ${host}.`,
        );
    });
    if (!answered.ok) throw new Error(`The picture can't be fetched: ${host} answered ${answered.status}.`);
    return answered.blob();
}

function isForeign({ srcUrl, frameUrl, pageUrl }) {
    return originPattern(srcUrl) !== null && new URL(srcUrl).origin !== new URL(frameUrl ?? pageUrl).origin;
}
