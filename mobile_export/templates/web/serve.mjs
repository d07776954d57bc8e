/** Serves this folder for trying it out: `node serve.mjs [port]`. The two Cross-Origin headers are what threads need. */

import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize, sep } from "node:path";
import { fileURLToPath } from "node:url";

const FOLDER = fileURLToPath(new URL(".", import.meta.url));
const TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".json": "application/json",
    ".wasm": "application/wasm",
    ".png": "image/png",
    ".svg": "image/svg+xml",
};
const HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cache-Control": "no-cache",
};

const server = createServer(async ({ url }, answer) => {
    const path = decodeURIComponent(new URL(url, "http://localhost").pathname);
    const file = normalize(join(FOLDER, path === "/" ? "demo.html" : path));
    const found = file.startsWith(FOLDER.endsWith(sep) ? FOLDER : FOLDER + sep) && (await stat(file).catch(() => null));
    if (!found?.isFile()) return answer.writeHead(404, HEADERS).end("There is nothing here.");
    const type = TYPES[extname(file)] ?? "application/octet-stream";
    answer.writeHead(200, { ...HEADERS, "Content-Type": type, "Content-Length": found.size });
    return createReadStream(file).pipe(answer);
});

server.listen(Number(process.argv[2] ?? 8000), "127.0.0.1", () => {
    console.log(`http://127.0.0.1:${server.address().port}/demo.html`);
});
