// Edits, streaming, errors and retries by OpenAI's own client against a running server. Prints what it saw as JSON.
//
//     node openai_client.mjs <base URL> <key> <key with one request a second> <photo>

import { readFile } from "node:fs/promises";
import OpenAI, { toFile } from "openai";

const [baseURL, key, slowKey, photoPath] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: key, maxRetries: 0 });
const photo = async () => toFile(await readFile(photoPath), "photo.jpg", { type: "image/jpeg" });
const signature = (base64) => Buffer.from(base64, "base64").subarray(0, 4).toString("hex");
const seen = {};

const edit = await client.images.edit({ image: await photo(), prompt: "warmer", size: "128x128" });
seen.edit = { signature: signature(edit.data[0].b64_json), size: edit.size, adjust: edit.plan.edits[0].adjust };
const listed = await client.images.edit({ image: [await photo()], prompt: "black and white", output_format: "png" });
seen.listed = { signature: signature(listed.data[0].b64_json), tokens: listed.usage.total_tokens > 0 };

seen.events = [];
const stream = await client.images.edit({
  image: await photo(), prompt: "warmer, and put a hat on the cup", size: "128x128", stream: true, partial_images: 1,
  fallback: "allow", model: "auto",
});
for await (const event of stream) seen.events.push({ type: event.type, signature: signature(event.b64_json) });

seen.models = [];
for await (const model of client.models.list()) seen.models.push(model.id);
seen.model = (await client.models.retrieve("nano-banana")).owned_by;

async function failure(call) {
  try {
    await call();
    return null;
  } catch (error) {
    return { kind: error.constructor.name, status: error.status, code: error.code, param: error.param, id: Boolean(error.requestID) };
  }
}
const asked = async (options, more = {}) => client.images.edit({ image: await photo(), prompt: "warmer", ...options }, more);
seen.failures = {
  model: await failure(() => asked({ model: "gpt-image-1" })),
  n: await failure(() => asked({ n: 2 })),
  image: await failure(async () => client.images.edit({ image: await toFile(Buffer.from("hello"), "p.jpg"), prompt: "x" })),
  key: await failure(() => new OpenAI({ baseURL, apiKey: "none", maxRetries: 0 }).models.list()),
  egress: await failure(() => asked({ model: "central", fallback: "only" }, { headers: { Authorization: `Bearer ${slowKey}` } })),
};

// Twice at once under one key: one of them is told 409 until the other has its answer, and then gets the same one.
seen.once = { statuses: [], answers: [], replayed: [] };
const noted = async (...call) => {
  const response = await fetch(...call);
  seen.once.statuses.push(response.status);
  return response;
};
const patient = new OpenAI({ baseURL, apiKey: key, maxRetries: 9, fetch: noted });
const wish = { prompt: "replace the cup with a slow cat", model: "central", fallback: "only" };
const twice = [1, 2].map(async () => patient.images
  .edit({ image: await photo(), ...wish }, { headers: { "Idempotency-Key": "one" } }).withResponse());
for (const { data, response } of await Promise.all(twice)) {
  seen.once.answers.push(data.data[0].b64_json);
  seen.once.replayed.push(response.headers.get("idempotency-replayed"));
}
seen.once.answers = new Set(seen.once.answers).size;

// One a second: the second and third are refused with 429 first, and come through as the client waits as it is told.
const slow = new OpenAI({ baseURL, apiKey: slowKey, maxRetries: 3 });
await new Promise((resolve) => setTimeout(resolve, 1100));
const began = Date.now();
for (let turn = 0; turn < 3; turn += 1) await slow.images.edit({ image: await photo(), prompt: "warmer", size: "64x64" });
seen.seconds = (Date.now() - began) / 1000;
const hasty = new OpenAI({ baseURL, apiKey: slowKey, maxRetries: 0 });
seen.failures.rate = await failure(async () => hasty.images.edit({ image: await photo(), prompt: "warmer", size: "64x64" }));

console.log(JSON.stringify(seen));
