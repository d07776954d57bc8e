// What the page says while it works: one line of status, one of trouble, and the bar that moves.

import { Problem } from "./api.js";
import { explain } from "./words.js";

const $ = (id) => document.getElementById(id);

export function tell(text) {
  $("status").textContent = text;
}

export function complain(problem) {
  if (problem.name === "AbortError") return;
  if (!(problem instanceof Problem)) console.error(problem);
  tell("");
  $("trouble").textContent = explain(problem);
  $("trouble").hidden = false;
}

function settle() {
  $("trouble").hidden = true;
  $("trouble").textContent = "";
}

function busy(yes) {
  document.body.classList.toggle("busy", yes);
  $("stage").ariaBusy = yes;
}

/** Run a job with the progress bar on, and say what went wrong. */
export async function during(text, job) {
  settle();
  tell(text);
  busy(true);
  try {
    return await job();
  } catch (problem) {
    complain(problem);
    return undefined;
  } finally {
    busy(false);
  }
}
