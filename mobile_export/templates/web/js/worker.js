/**
 * The editor in a worker, so that the page stays fluid. Messages in: {id, kind, ...}; out: {id, progress} any number of
 * times, then {id, result} or {id, error}. Edits run one after another; {id, kind: "cancel"} stops the edit of that id.
 */

import { Editor } from "./editor.js";
import { EditError, cancelled } from "./errors.js";

let editor = null;
let queue = Promise.resolve();
const stopped = new Set();

const jobs = {
    async load({ base, runtimeBase, options }) {
        editor = await Editor.open(base, runtimeBase, options);
        return editor.facts;
    },
    plan: ({ instruction }) => editor.plan(instruction),
    edit: ({ id, ...request }) =>
        editor.edit(request, async (stage, fraction) => {
            postMessage({ id, progress: { stage, fraction } });
            await turn(); // lets a cancelling message in
            if (stopped.has(id)) throw cancelled();
        }),
    close: () => editor?.close(),
};

addEventListener("message", ({ data }) => {
    if (data.kind === "cancel") stopped.add(data.id);
    else queue = queue.then(() => answer(data));
});

async function answer({ kind, ...job }) {
    const { id } = job;
    try {
        if (stopped.has(id)) throw cancelled();
        const result = await jobs[kind](job);
        postMessage({ id, result }, result?.pixels ? [result.pixels.data.buffer] : []);
    } catch (error) {
        postMessage({ id, error: asData(error) });
    }
    stopped.delete(id);
}

function asData(error) {
    if (error instanceof EditError) return error.toData();
    return { kind: error.name, message: error.message, param: null };
}

function turn() {
    return new Promise((resolve) => {
        const { port1, port2 } = new MessageChannel();
        port1.onmessage = () => resolve();
        port2.postMessage(null);
    });
}
