/**
 * What the user chose, and the origin patterns that permissions are asked for by.
 *
 * @typedef {{route: "browser" | "server", server: string, key: string}} Settings
 */

/** @type {Settings} */
const USUAL = { route: "browser", server: "http://127.0.0.1:8080", key: "" };

/** @returns {Promise<Settings>} */
export const readSettings = () => chrome.storage.local.get(USUAL);

/** @param {Settings} settings */
export const writeSettings = (settings) => chrome.storage.local.set(settings);

/** The pattern of an address for `chrome.permissions`; a port can't be part of it. Null for one that isn't http(s). */
export function originPattern(address) {
    const { protocol, hostname } = new URL(address);
    return protocol === "http:" || protocol === "https:" ? `${protocol}//${hostname}/*` : null;
}
