// Numbers, times and names as people read them, and elements made without a framework.

export const UNIT_MS = 160;
export const FRAME_MS = 40;

/** 75320 -> "1:15.320"; `digits` after the point, 0 to 3. Hours only where there are any. */
export function clockText(ms, digits = 1) {
  const step = 10 ** (3 - digits);
  const rounded = Math.max(0, Math.floor(ms / step) * step);
  const hours = Math.floor(rounded / 3_600_000);
  const minutes = Math.floor(rounded / 60_000) % 60;
  const seconds = Math.floor(rounded / 1000) % 60;
  const fraction = digits ? "." + String(rounded % 1000).padStart(3, "0").slice(0, digits) : "";
  const tail = `${String(seconds).padStart(2, "0")}${fraction}`;
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${tail}` : `${minutes}:${tail}`;
}

/** "1:15.32", "75.32" or "1:02:03" -> ms; null if it is no time. */
export function parseClock(text) {
  const parts = String(text).trim().split(":");
  if (parts.length > 3 || !parts.every((part) => /^\d+(\.\d+)?$/.test(part))) return null;
  return Math.round(parts.reduce((total, part) => total * 60 + Number(part), 0) * 1000);
}

/** A length of time in few letters: "380 ms", "4.2 s", "12 min", "1 h 20 min". */
export function lengthText(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  const minutes = Math.round(ms / 60_000);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** A figure of the list; null is *not known*, which is not 0. */
export function figureText(value, { unit = "", digits = 0 } = {}) {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return String(value);
  if (unit === "ms" && digits === 0) return Math.round(value).toLocaleString("en");
  if (unit === "share") return `${(value * 100).toFixed(Math.max(0, digits - 2))} %`;
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** "pause_interruption" -> "pause interruption". */
export const plain = (name) => String(name ?? "").replaceAll("_", " ");

/** What an event is, in a few words: "interruption, failed". */
export function eventTitle(row) {
  const label = row.kind === "backchannel" ? `backchannel (${plain(row.label)})` : plain(row.label);
  return row.outcome ? `${label}, ${plain(row.outcome)}` : label;
}

/** An element: `make("button", { class: "quiet", onclick }, "text", child)`. Attributes that are null are left out. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value") element.value = value;
    else if (name === "style") element.style.cssText = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const replace = (element, ...children) =>
  element.replaceChildren(...children.filter((child) => child !== null && child !== undefined));
