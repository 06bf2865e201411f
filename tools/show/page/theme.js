// Light, dark, or as the system prefers; and the colours that the canvas draws with, which are those of style.css.

const KEY = "show.theme";
const ORDER = ["auto", "light", "dark"];
const listeners = new Set();
let colours = null;

export function applyTheme() {
  const theme = localStorage.getItem(KEY) ?? "auto";
  const dark = theme === "dark" || (theme === "auto" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  const button = document.getElementById("theme");
  button.textContent = { auto: "◐", light: "☀", dark: "☾" }[theme];
  button.title = button.ariaLabel = `Colours: ${theme === "auto" ? "as the system" : theme}. Click to change (t)`;
  colours = null;
  for (const listener of listeners) listener();
}

export function nextTheme() {
  const theme = localStorage.getItem(KEY) ?? "auto";
  localStorage.setItem(KEY, ORDER[(ORDER.indexOf(theme) + 1) % ORDER.length]);
  applyTheme();
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", applyTheme);

/** Calls `listener` when the colours change; returns a function that ends this. */
export function onTheme(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

const NAMES = ["ink", "quiet", "line", "page", "lane", "red", "amber", "grey", "mark", "pending", "saved"];

/** The colours of style.css by name; `people` has one colour per participant. */
export function theme() {
  if (!colours) {
    const style = getComputedStyle(document.documentElement);
    colours = Object.fromEntries(NAMES.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
    colours.people = [0, 1, 2, 3, 4, 5].map((place) => style.getPropertyValue(`--person-${place}`).trim());
  }
  return colours;
}

/** The colour of a participant, the same everywhere; `place` in the session's order of participants. */
export const personClass = (place) => `person-${place % 6}`;
