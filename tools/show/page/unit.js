// What the model sees of one unit: masked streams and why, text slots, and its latents decoded beside the pixels.
import { getJson, mediaUrl } from "./api.js";
import { UNIT_MS, clockText, make, plain, replace } from "./format.js";
import { playOnce } from "./sound.js";
import { personClass } from "./theme.js";

const FRAMES = [0, 1, 2, 3];

export async function drawUnit(box, session, participant, unit, { goTo }) {
  const place = session.participants.findIndex((person) => person.participant === participant);
  const query = { session: session.session_id, participant, unit };
  const step = (by) => goTo(participant, Math.min(Math.max(0, unit + by), session.num_units - 1));
  const head = make("div", { class: "unit-head" },
    make("button", { type: "button", "aria-label": "Previous unit", disabled: unit <= 0, onclick: () => step(-1) }, "‹"),
    make("h3", {}, make("span", { class: `person ${personClass(place)}` }, participant), ` unit ${unit.toLocaleString("en")}`),
    make("button", { type: "button", "aria-label": "Next unit", disabled: unit >= session.num_units - 1, onclick: () => step(1) }, "›"),
    make("small", { class: "quiet" }, `${clockText(unit * UNIT_MS, 2)} to ${clockText((unit + 1) * UNIT_MS, 2)}`),
    ...session.participants.filter((person) => person.participant !== participant).map((person) =>
      make("button", { type: "button", class: "quiet", onclick: () => goTo(person.participant, unit) }, `show ${person.participant}`)));
  replace(box, head, make("p", { class: "loading" }, "Loading …"));
  let answer;
  try {
    answer = await getJson("/api/unit", query);
  } catch (error) {
    replace(box, head, make("p", { class: "problem", role: "alert" }, error.message));
    return;
  }
  const person = session.participants[place];
  replace(box, head, pictures(person, query, unit, answer), labels(answer.labels),
    ...(answer.views?.length ? answer.views.map((view) => roleView(view, session)) :
      [make("p", { class: "hint" }, answer.why ?? "No window holds this unit: the model does not see it.")]));
}

function pictures(person, query, unit, { decoded }) {
  if (person.shown === false) return make("p", { class: "note" }, `Not shown: ${person.why ?? "no consent to show"}`);
  const row = (name, isDecoded, there, why) => make("div", { class: "frames" },
    make("div", { class: "frames-name" }, name, there.audio ? make("button", { type: "button", class: "icon", "aria-label": `Play the sound: ${name}`,
      onclick: () => playOnce(mediaUrl("unit.wav", { ...query, decoded: isDecoded })).catch(() => {}) }, "▶") : null),
    there.video ? make("div", { class: "strip" }, ...FRAMES.map((frame) => make("img", {
      src: mediaUrl("frame", { session: query.session, participant: query.participant, frame: unit * 4 + frame, decoded: isDecoded }),
      alt: `${name}, frame ${frame + 1} of 4`, loading: "lazy" }))) : make("p", { class: "quiet" }, why ?? "no video"));
  return make("div", { class: "pictures" }, row("recorded", 0, { video: person.video, audio: person.audio }),
    row("from latents", 1, decoded ?? {}, decoded?.why));
}

function labels(row) {
  if (!row) return null;
  const shown = Object.entries(row).filter(([name, value]) => !["unit", "participant", "start_ms", "end_ms", "session_id"].includes(name) && value !== null && value !== false);
  return make("details", { class: "labels" }, make("summary", {}, "Labels of the unit"),
    make("dl", { class: "facts" }, ...shown.flatMap(([name, value]) => [make("dt", {}, plain(name)), make("dd", {}, String(typeof value === "number" ? Math.round(value * 100) / 100 : value))])));
}

function roleView(view, session) {
  const colour = (who) => personClass(Math.max(0, session.participants.findIndex(({ participant }) => participant === who)));
  const who = (name) => make("span", { class: `person ${colour(name)}` }, name);
  return make("section", { class: "view", "aria-label": `Role view: ${view.agent} is the agent` },
    make("h4", {}, "agent ", who(view.agent), ", user ", who(view.user)),
    make("ul", { class: "streams" }, ...(view.streams ?? []).map(({ stream, known, reasons }) =>
      make("li", { class: known === false ? "masked" : known ? "known" : "unknown" },
        make("span", { "aria-hidden": "true" }, known === false ? "▨" : known ? "■" : "?"), ` ${plain(stream)}`,
        make("small", {}, known === false ? ` masked: ${(reasons ?? []).map(plain).join(", ") || "reason not known"}` : known ? "" : " not known")))),
    slots("user text", view.user_text), slots("agent text", view.agent_text),
    make("small", { class: "quiet" }, view.windows?.length ? `in ${view.windows.length} window${view.windows.length === 1 ? "" : "s"}: ${view.windows.slice(0, 3).join(", ")}${view.windows.length > 3 ? " …" : ""}` : "in no window"));
}

function slots(name, tokens) {
  return make("div", { class: "slots" }, make("span", {}, name), ...(tokens ?? []).map(({ id, token }) =>
    make("code", { title: `token ${id}` }, token === "" ? "␣" : token)), tokens ? null : make("small", { class: "quiet" }, "not known"));
}
