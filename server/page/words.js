// How the words of the page get into the document. The words themselves: english.js, german.js.

import { ENGLISH } from "./english.js";
import { GERMAN } from "./german.js";

export const language = navigator.language.toLowerCase().startsWith("de") ? "de" : "en";
const words = language === "de" ? GERMAN : ENGLISH;

/** Return a text of the page with its {places} filled. */
export function say(key, values = {}) {
  const text = words[key] ?? key;
  return typeof text === "string" ? text.replace(/\{(\w+)\}/g, (_, name) => values[name]) : text;
}

/** Return what went wrong in the page's language; the server's own English sentence where there is no translation. */
export function explain(problem) {
  return words.trouble[problem.code] ?? problem.message;
}

/** Return at most `most` suggestions [text, adjustment it needs] that the model can carry out. */
export function suggestions(vocabulary, most) {
  return words.suggested.filter(([, needed]) => vocabulary.has(needed)).slice(0, most).map(([text]) => text);
}

/** Put the page's words into the document. */
export function translate() {
  document.documentElement.lang = language;
  for (const node of document.querySelectorAll("[data-text]")) node.textContent = say(node.dataset.text);
  for (const node of document.querySelectorAll("[data-label]")) node.ariaLabel = say(node.dataset.label);
  for (const node of document.querySelectorAll(".icon[data-label]")) node.title = say(node.dataset.label);
  for (const node of document.querySelectorAll("[data-hint]")) node.placeholder = say(node.dataset.hint);
  const narrow = matchMedia("(max-width: 560px)").matches;
  document.getElementById("instruction").placeholder = say(narrow ? "placeholderShort" : "placeholder");
}
