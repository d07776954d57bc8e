/** The demo page: a photo, an instruction, the edit over the original. A page of yours needs only what `edit` does. */

import { NanoBanana } from "./nano-banana.js";

const IDEAS = ["warmer", "blur the background", "auto enhance", "black and white", "remove the background", "pixelate"];
const $ = (id) => document.getElementById(id);
let [editor, photo, running] = [null, null, null];

async function load() {
    try {
        // ?device=wasm and ?threads=1 are for comparing
        const wishes = Object.fromEntries(new URLSearchParams(location.search));
        editor = await NanoBanana.load(undefined, { ...wishes, threads: wishes.threads && Number(wishes.threads) });
    } catch (error) {
        $("facts").textContent = "The model can't be loaded.";
        return say(error.message);
    }
    const device = editor.device === "webgpu" ? "WebGPU and WebAssembly" : "WebAssembly";
    $("facts").textContent = `${device}, ${editor.threads} ${editor.threads === 1 ? "thread" : "threads"}`;
    $("facts").title = editor.notes.join("\n");
    if (editor.notes.length) say(editor.notes.join(" "));
    ready();
}

async function edit() {
    say("");
    running = new AbortController();
    busy(true);
    const began = performance.now();
    try {
        const result = await editor.edit(photo, $("instruction").value, {
            signal: running.signal,
            onProgress: ({ fraction }) => ($("progress").value = fraction),
        });
        show(result, performance.now() - began);
    } catch (error) {
        if (error.name !== "AbortError") say(error.message);
    }
    busy(false);
}

function show(result, milliseconds) {
    draw($("after"), result.imageData);
    $("after").hidden = false;
    $("divider").hidden = result.width !== photo.width || result.height !== photo.height;
    $("before").hidden = $("divider").hidden;
    $("divider").value = 0;
    divide();
    const label = (name) => editor.vocabulary.adjustments.find((one) => one.name === name).label.en ?? name;
    const region = (name) => (name === "all" ? "" : ` · ${name}`);
    const edits = result.plan.edits.map(({ adjust, amount, region: where, color }) =>
        item(label(adjust) + region(where), color ?? (amount > 0 ? "+" : "−") + Math.abs(amount).toFixed(2)),
    );
    $("plan").replaceChildren(...edits, ...result.warnings.map((warning) => item(warning, "", "note")));
    $("numbers").textContent = `${result.width} × ${result.height}, ${(milliseconds / 1000).toFixed(2)} s`;
    result.toBlob().then((blob) => {
        URL.revokeObjectURL($("download").href);
        $("download").href = URL.createObjectURL(blob);
    });
    $("outcome").hidden = false;
}

function item(text, value, kind = "") {
    const [line, amount] = [document.createElement("li"), document.createElement("span")];
    line.className = kind;
    amount.textContent = value;
    line.append(text, amount);
    return line;
}

async function open(blob) {
    try {
        const bitmap = await createImageBitmap(blob);
        const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d");
        context.drawImage(bitmap, 0, 0);
        start(context.getImageData(0, 0, bitmap.width, bitmap.height));
    } catch {
        say("This file is not a picture that the browser can open.");
    }
}

function start(pixels) {
    photo = pixels;
    draw($("before"), pixels);
    [$("before").hidden, $("after").hidden, $("divider").hidden, $("outcome").hidden] = [false, true, true, true];
    [$("drop").hidden, $("compare").hidden] = [true, false];
    say("");
    ready();
    $("instruction").focus();
}

function draw(canvas, pixels) {
    [canvas.width, canvas.height] = [pixels.width, pixels.height];
    canvas.getContext("2d").putImageData(pixels, 0, 0);
}

const divide = () => $("after").style.setProperty("--from", `${$("divider").value}%`);
const ready = () => ($("go").disabled = !editor || !photo || !$("instruction").value.trim());

function say(text) {
    $("message").textContent = text;
    $("message").hidden = !text;
}

function busy(yes) {
    [$("progress").hidden, $("progress").value, $("go").hidden, $("stop").hidden] = [!yes, 0, yes, !yes];
}

$("form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (!$("go").disabled && $("stop").hidden) edit();
});
$("instruction").addEventListener("input", ready);
$("stop").addEventListener("click", () => running.abort());
$("divider").addEventListener("input", divide);
$("keep").addEventListener("click", () =>
    start($("after").getContext("2d").getImageData(0, 0, $("after").width, $("after").height)),
);
$("another").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", () => $("file").files[0] && open($("file").files[0]));
for (const name of ["dragover", "dragleave", "drop"]) {
    $("stage").addEventListener(name, (event) => {
        event.preventDefault();
        $("stage").classList.toggle("over", name === "dragover");
        if (name === "drop" && event.dataTransfer.files[0]) open(event.dataTransfer.files[0]);
    });
}
$("ideas").append(
    ...IDEAS.map((idea) => {
        const button = Object.assign(document.createElement("button"), { type: "button", textContent: idea });
        button.addEventListener("click", () => {
            $("instruction").value = idea;
            ready();
            $("form").requestSubmit();
        });
        return button;
    }),
);
load();
