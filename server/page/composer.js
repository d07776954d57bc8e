// The field for the words, and the suggestions below it.

import { suggestions } from "./words.js";

const MOST_SUGGESTIONS = 8;
const $ = (id) => document.getElementById(id);

/** Call submit() when the words are to be carried out. */
export function wireComposer(submit) {
  $("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
  $("instruction").addEventListener("input", grow);
  $("instruction").addEventListener("keydown", (event) => {
    // Enter that ends a word of an input method belongs to the input method.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    submit();
  });
}

/** Draw the suggestions that a model with this vocabulary can carry out. */
export function drawSuggestions(vocabulary, submit) {
  $("suggestions").replaceChildren(...suggestions(vocabulary, MOST_SUGGESTIONS).map((text) => {
    const button = Object.assign(document.createElement("button"), { type: "button", className: "pill", textContent: text });
    button.addEventListener("click", () => {
      suggest(text);
      submit();
    });
    const item = document.createElement("li");
    item.append(button);
    return item;
  }));
}

function suggest(text) {
  const box = $("instruction");
  const written = box.value.trim();
  if (!written.includes(text)) box.value = written ? `${written}, ${text}` : text;
  grow();
}

function grow() {
  const box = $("instruction");
  box.style.height = "auto";
  box.style.height = `${Math.min(box.scrollHeight, 160)}px`;
}
