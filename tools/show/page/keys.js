// Keys of a session, and the overlay that lists them.
import { make, replace } from "./format.js";

export const HELP = [
  ["Play", [
    ["Space", "play, pause"], ["← →", "1 s back, on (with Shift: 5 s)"], [", .", "one frame (40 ms) back, on"],
    ["< >", "slower, faster"], ["1 2 … 0", "only the first, second … voice; all voices"], ["L", "repeat the marked range"],
    ["g", "go to a time"],
  ]],
  ["Find", [
    ["n p", "next, previous event of the chosen kind"], ["↑ ↓", "zoom in, out (or the wheel, or pinch)"],
    ["PgUp PgDn", "a view back, on"], ["f", "the whole session"], ["z", "zoom to the selection or marked range"],
    ["u", "what the model sees of the unit here"],
  ]],
  ["Correct", [
    ["click", "select an event, a word or speech"], ["e", "select the event nearest to the time"],
    ["drag an edge", "move the start or end of the selection"], ["[ ]", "move its start 10 ms earlier, later"],
    ["{ }", "move its end 10 ms earlier, later"], ["r w", "mark it right, wrong"], ["Del", "delete it"],
    ["a", "add something at the marked range (Shift + drag marks one)"], ["Ctrl Z", "undo, before sending"],
    ["Ctrl Enter", "send all corrections"],
  ]],
  ["Page", [["t", "light, dark"], ["?", "this help"], ["Esc", "close, unmark"], ["Backspace", "back to the list"]]],
];

export function helpDialog() {
  const groups = HELP.map(([title, keys]) => make("section", {}, make("h3", {}, title), make("dl", {},
    ...keys.flatMap(([key, meaning]) => [make("dt", {}, ...key.split(" ").map((part) => make("kbd", {}, part))), make("dd", {}, meaning)]))));
  const dialog = make("dialog", { id: "help", "aria-label": "Keys" });
  replace(dialog, make("form", { method: "dialog" }, make("h2", {}, "Keys"), make("div", { class: "keys" }, ...groups),
    make("button", { type: "submit", autofocus: true }, "Close")));
  return dialog;
}

/** Calls the action of a key: `actions` maps a name of `keyName` to a function. Returns a function that ends this. */
export function bindKeys(actions) {
  const listener = (event) => {
    if (document.querySelector("dialog[open]") && event.key !== "Escape") return;
    const isText = event.target.closest?.("input, textarea, select");
    const name = keyName(event);
    if (isText && !["Ctrl+Enter", "Escape"].includes(name)) return;
    // Space and Enter on a button press it.
    if (event.target.closest?.("button, a, summary") && [" ", "Enter"].includes(name)) return;
    const action = actions[name];
    if (!action) return;
    event.preventDefault();
    if (isText) event.target.blur();
    action(event);
  };
  window.addEventListener("keydown", listener);
  return () => window.removeEventListener("keydown", listener);
}

function keyName(event) {
  if (event.altKey) return "";
  const key = event.key.length === 1 && !event.shiftKey ? event.key.toLowerCase() : event.key;
  const arrows = event.key.length > 1 && event.shiftKey ? "Shift+" : "";
  return `${event.ctrlKey || event.metaKey ? "Ctrl+" : ""}${arrows}${key}`;
}
