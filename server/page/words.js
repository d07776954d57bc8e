// The words of the page in English and German, and how they get into the document.

const EN = {
  title: "nanoedge: edit a photo with words",
  skip: "Skip to the instruction",
  another: "Another photo",
  headline: "Say what to change.",
  lead: "Choose a photo, describe the edit in your own words, and see it happen.",
  stage: "Photo",
  drop: "Drop a photo here",
  paste: "or paste one, or choose",
  choose: "Choose a photo",
  shoot: "Take a photo",
  local: "Your photo stays on this computer.",
  remote: "Your photo goes to this server and nowhere else.",
  before: "Before",
  after: "After",
  beforeAlt: "The photo before the edit",
  afterAlt: "The photo after the edit: {list}",
  split: "Compare before and after",
  splitValue: "{percent} % shown as before",
  instruction: "What should change?",
  placeholder: "warmer, and blur the background",
  placeholderShort: "e.g. a bit warmer",
  go: "Edit",
  suggestions: "Suggestions",
  suggested: [
    "a bit warmer", "brighter, more contrast", "blur the background", "black and white", "remove the background",
    "faded film look",
  ],
  plan: "What changes",
  clear: "Clear",
  nothing: "Nothing yet. Type what to change, or add an adjustment.",
  nothingFound: "I found nothing in these words that I can change.",
  beyond: "Part of this is beyond the model: it adjusts light, colour, sharpness and the background, "
    + "but it can't add, move or redraw things.",
  add: "Add an adjustment",
  amount: "{name}, {region}",
  value: "{amount} percent",
  where: "Where {name} applies",
  color: "Colour of {name}",
  remove: "Remove {name}",
  all: "whole picture",
  subject: "subject",
  background: "background",
  format: "Format",
  same: "Automatic",
  download: "Download",
  preparing: "Preparing…",
  saved: "Saved as {name}.",
  fullSize: "{width} × {height} pixels, the photo's full size",
  opening: "Opening the photo…",
  opened: "The photo is open. Say what to change.",
  thinking: "Reading your words…",
  editing: "Editing…",
  done: "Done in {seconds} s: {list}.",
  unchanged: "The photo is as it was.",
  choosePhoto: "Now choose a photo to see it.",
  waiting: "The server is busy. Trying again…",
  release: "Let go to open the photo",
  list: ", ",
  trouble: {
    offline: "The server doesn't answer. Is it still running?",
    no_photo: "There is no photo in what you dropped or pasted.",
  },
};

const DE = {
  title: "nanoedge: Fotos mit Worten bearbeiten",
  skip: "Zur Anweisung springen",
  another: "Anderes Foto",
  headline: "Sag, was anders werden soll.",
  lead: "Wähle ein Foto, beschreibe die Änderung mit deinen Worten und sieh zu, wie sie entsteht.",
  stage: "Foto",
  drop: "Foto hier ablegen",
  paste: "oder einfügen, oder auswählen",
  choose: "Foto auswählen",
  shoot: "Foto aufnehmen",
  local: "Dein Foto bleibt auf diesem Rechner.",
  remote: "Dein Foto geht an diesen Server und nirgendwohin sonst.",
  before: "Vorher",
  after: "Nachher",
  beforeAlt: "Das Foto vor der Bearbeitung",
  afterAlt: "Das Foto nach der Bearbeitung: {list}",
  split: "Vorher und nachher vergleichen",
  splitValue: "{percent} % zeigen vorher",
  instruction: "Was soll sich ändern?",
  placeholder: "wärmer, und den Hintergrund unscharf",
  placeholderShort: "z. B. wärmer",
  go: "Bearbeiten",
  suggestions: "Vorschläge",
  suggested: [
    "etwas wärmer", "heller, mehr Kontrast", "Hintergrund unscharf", "schwarzweiß", "Hintergrund entfernen",
    "verblasster Filmlook",
  ],
  plan: "Was sich ändert",
  clear: "Leeren",
  nothing: "Noch nichts. Schreib, was sich ändern soll, oder füge eine Anpassung hinzu.",
  nothingFound: "In diesen Worten habe ich nichts gefunden, was ich ändern kann.",
  beyond: "Ein Teil davon geht über das Modell hinaus: Es ändert Licht, Farbe, Schärfe und den Hintergrund, "
    + "kann aber nichts hinzufügen, verschieben oder neu zeichnen.",
  add: "Anpassung hinzufügen",
  amount: "{name}, {region}",
  value: "{amount} Prozent",
  where: "Wo {name} wirkt",
  color: "Farbe für {name}",
  remove: "{name} entfernen",
  all: "ganzes Bild",
  subject: "Motiv",
  background: "Hintergrund",
  format: "Format",
  same: "Automatisch",
  download: "Herunterladen",
  preparing: "Wird vorbereitet…",
  saved: "Gespeichert als {name}.",
  fullSize: "{width} × {height} Pixel, volle Größe des Fotos",
  opening: "Foto wird geöffnet…",
  opened: "Das Foto ist offen. Sag, was anders werden soll.",
  thinking: "Deine Worte werden gelesen…",
  editing: "Wird bearbeitet…",
  done: "Fertig in {seconds} s: {list}.",
  unchanged: "Das Foto ist, wie es war.",
  choosePhoto: "Wähle jetzt ein Foto, um es zu sehen.",
  waiting: "Der Server ist beschäftigt. Neuer Versuch…",
  release: "Loslassen, um das Foto zu öffnen",
  list: ", ",
  trouble: {
    offline: "Der Server antwortet nicht. Läuft er noch?",
    no_photo: "Darin ist kein Foto.",
    unsupported_image: "Das ist kein Bild, oder ein Format, das hier nicht gelesen wird. Am besten als JPEG oder PNG.",
    bad_image: "Dieses Bild ist beschädigt oder unvollständig.",
    image_too_large: "Dieses Bild ist zu groß. Bitte ein kleineres nehmen.",
    body_too_large: "Dieses Foto ist zu groß: Mehr als 32 MiB nimmt der Server nicht an.",
    bad_instruction: "Die Anweisung ist leer oder zu lang: 1 bis 500 Zeichen.",
    busy: "Der Server hat gerade zu viel zu tun. Bitte gleich noch einmal versuchen.",
    internal_error: "Im Server ist etwas schiefgegangen.",
  },
};

export const language = navigator.language.toLowerCase().startsWith("de") ? "de" : "en";
const words = language === "de" ? DE : EN;

/** Return a text of the page with its {places} filled. */
export function say(key, values = {}) {
  const text = words[key] ?? key;
  return typeof text === "string" ? text.replace(/\{(\w+)\}/g, (_, name) => values[name]) : text;
}

/** Return what went wrong in the page's language; the server's own English sentence where there is no translation. */
export function explain(problem) {
  return words.trouble[problem.code] ?? problem.message;
}

/** Put the page's words into the document. */
export function translate() {
  document.documentElement.lang = language;
  for (const node of document.querySelectorAll("[data-text]")) node.textContent = say(node.dataset.text);
  for (const node of document.querySelectorAll("[data-label]")) node.ariaLabel = say(node.dataset.label);
  const narrow = matchMedia("(max-width: 560px)").matches;
  document.getElementById("instruction").placeholder = say(narrow ? "placeholderShort" : "placeholder");
}
