/** The options: where pictures are edited. Saving a server asks for access to its address, and tries it. */

import { originPattern, readSettings, writeSettings } from "./settings.js";

const form = document.getElementById("form");
const said = document.getElementById("said");
const fields = form.elements;

const settings = await readSettings();
for (const [name, value] of Object.entries(settings)) fields[name].value = value;
document.getElementById("command").textContent = `nanoedge serve --allow-origin ${location.origin}`;
fitFields();

form.addEventListener("change", fitFields);
form.addEventListener("submit", (event) => {
    event.preventDefault();
    save().catch((error) => (said.textContent = error.message));
});
document
    .getElementById("copy")
    .addEventListener("click", () => navigator.clipboard.writeText(document.getElementById("command").textContent));

async function save() {
    const [route, server, key] = [fields.route.value, fields.server.value.trim(), fields.key.value.trim()];
    if (route === "server") {
        const pattern = originPattern(server);
        if (!pattern) throw new Error("The address must begin with http:// or https://");
        // asked first of all: only the press of the button allows asking
        if (!(await chrome.permissions.request({ origins: [pattern] }))) {
            throw new Error("Not saved: without access to the server, pictures can't be sent to it.");
        }
    }
    await writeSettings({ route, server, key });
    said.textContent = route === "server" ? `Saved. ${await tried(server)}` : "Saved.";
}

async function tried(server) {
    const answer = await fetch(new URL("healthz", server.replace(/\/?$/, "/"))).catch(() => null);
    return answer?.ok ? "The server answers." : "The server doesn't answer yet.";
}

function fitFields() {
    document.getElementById("server-fields").disabled = fields.route.value !== "server";
}
