// The API key of a server that wants one: asked for once, kept in this tab and nowhere else.

import { say } from "./words.js";

const PLACE = "nanoedge-key";
const $ = (id) => document.getElementById(id);

let asking = null;

/** Return the key that was given, or null. */
export const givenKey = () => sessionStorage.getItem(PLACE);

/** Return the headers that carry a key. */
export const carrying = (key) => (key ? { Authorization: `Bearer ${key}` } : {});

/** Ask for the key and resolve when there is one, to false when the user would rather not. One dialog for all callers. */
export function askForKey() {
  asking ??= asked().finally(() => { asking = null; });
  return asking;
}

function asked() {
  const dialog = $("key");
  $("key-trouble").hidden = !givenKey();
  $("key-trouble").textContent = say("keyRefused");
  dialog.showModal();
  $("key-text").select();
  return new Promise((resolve) => {
    const done = (given) => {
      $("key-form").onsubmit = dialog.oncancel = null;
      dialog.close();
      resolve(given);
    };
    dialog.oncancel = () => done(false);
    $("key-form").onsubmit = (event) => {
      event.preventDefault();
      const key = $("key-text").value.trim();
      if (!key) return;
      sessionStorage.setItem(PLACE, key);
      $("key-text").value = "";
      done(true);
    };
  });
}
