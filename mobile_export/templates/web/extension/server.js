/** Editing by a nanoedge server of the user's choice: `POST /edit`, as its documentation describes. */

import { originPattern } from "./settings.js";
import { asBlob } from "./transport.js";

/**
 * @param {{photo: string, instruction: string, settings: import("./settings.js").Settings, signal: AbortSignal}} edit
 * @returns {Promise<{picture: string, warnings: string[]}>} `photo` and `picture` are data URLs.
 */
export async function computeThere({ photo, instruction, settings: { server, key }, signal }) {
    const form = new FormData();
    form.set("image", await asBlob(photo), "picture");
    form.set("instructions", instruction);
    const headers = { Accept: "application/json", ...(key && { Authorization: `Bearer ${key}` }) };
    const address = new URL("edit", server.replace(/\/?$/, "/"));
    const answer = await fetch(address, { method: "POST", body: form, headers, signal }).catch((error) => {
        if (signal.aborted) throw error;
        throw unreachable(server);
    });
    const body = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Error(body.detail ?? `The server ${address.host} answered ${answer.status}.`);
    return {
        picture: `data:${body.media_type};base64,${body.image_base64}`,
        warnings: body.warnings,
        plan: body.plan ?? null,
    };
}

function unreachable(server) {
    const allow = `nanoedge serve --allow-origin ${location.origin}`;
    return new Error(
        `The server ${server} can't be reached. Start it with: ${allow}. ` +
            `Then press Save in the options, to allow access to ${originPattern(server)}.`,
    );
}
