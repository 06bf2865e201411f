// The elements of a session's page: videos, buttons, panels. They show state and call actions; they decide nothing.
import { mediaUrl } from "./api.js";
import { clockText, eventTitle, lengthText, make, parseClock, plain, replace } from "./format.js";
import { helpDialog } from "./keys.js";
import { SPEEDS } from "./player.js";
import { SHAPES } from "./paint.js";
import { personClass } from "./theme.js";

const TABS = [["selection", "Selection"], ["inview", "In view"], ["unit", "Unit"], ["corrections", "Corrections"]];
const MOST_IN_VIEW = 150;

export function buildPage(body, session, about, state) {
  const people = session.participants;
  replace(document.getElementById("title"), make("h1", {}, session.session_id),
    make("span", { class: "quiet" }, [lengthText(session.duration_ms), plain(session.layout), session.language, session.split].filter(Boolean).join(" · ")));

  const stage = make("div", { class: "stage", style: `--people: ${people.length}` });
  const transport = make("div", { class: "transport", role: "toolbar", "aria-label": "Playing" });
  const problem = make("p", { class: "problem", role: "alert", hidden: true });
  const overview = make("div", { class: "overview" });
  const timeline = make("div", { class: "timeline" });
  const status = make("p", { class: "hidden", role: "status" });
  const panels = Object.fromEntries(TABS.map(([name]) => [name, make("div", { id: `panel-${name}`, role: "tabpanel", "aria-labelledby": `tab-${name}`, hidden: true })]));
  replace(panels.unit, make("p", { class: "hint" }, "Click a cell in the lanes “units”, or press ", make("kbd", {}, "u"), ", to see what the model sees of 160 ms."));
  const tabs = make("div", { class: "tabs", role: "tablist" }, ...TABS.map(([name, label]) => make("button", {
    type: "button", role: "tab", id: `tab-${name}`, "aria-controls": `panel-${name}`, onclick: () => openTab(name),
  }, label, make("span", { class: "badge", hidden: true }))));
  tabs.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.stopPropagation();
    const all = [...tabs.children];
    const next = all[(all.indexOf(document.activeElement) + step + all.length) % all.length];
    next.click();
    next.focus();
  });
  const help = helpDialog();
  replace(body, make("div", { class: "session" },
    session.banner ? make("p", { class: "session-banner", role: "note" }, session.banner) : null,
    make("div", { class: "work" }, stage, transport, problem, overview, timeline),
    make("aside", { "aria-label": "Details" }, tabs, ...Object.values(panels)), status, help));

  function openTab(name) {
    for (const [each] of TABS) {
      panels[each].hidden = each !== name;
      const tab = document.getElementById(`tab-${each}`);
      tab.setAttribute("aria-selected", String(each === name));
      tab.tabIndex = each === name ? 0 : -1;
    }
  }
  openTab("selection");

  function tabCount(name, count) {
    const badge = document.getElementById(`tab-${name}`).querySelector(".badge");
    badge.hidden = !count;
    badge.textContent = String(count);
  }

  /** Fills the stage with a video or a placeholder for each person, and the model's beside them; returns the videos. */
  function videos(run) {
    const elements = [];
    const figure = (participant, place, caption, src, why, extra = "") => {
      const video = src ? make("video", { src, playsinline: true, "aria-label": caption, tabindex: "-1" }) : null;
      if (video) {
        video.style.aspectRatio = `${people[place].width ?? 4} / ${people[place].height ?? 3}`;
        elements.push({ participant: extra ? `${participant} ${extra}` : participant, video });
        video.addEventListener("error", () => video.replaceWith(placeholder(participant, place, "the video cannot be read")));
      }
      return make("figure", { class: personClass(place) }, video ?? placeholder(participant, place, why),
        make("figcaption", {}, make("span", { class: `person ${personClass(place)}` }, participant), ` ${caption}`));
    };
    const query = { session: session.session_id };
    const figures = people.map((person, place) => figure(person.participant, place, person.speaker_id ?? "",
      person.video && person.shown !== false ? mediaUrl("video", { ...query, participant: person.participant }) : null,
      person.shown === false ? person.why ?? "no consent to show" : "no video"));
    if (run) {
      const place = Math.max(0, people.findIndex(({ participant }) => participant === run.agent));
      figures.push(figure(run.agent, place, `model: ${run.label}`, run.video === false ? null : mediaUrl("video", { ...query, participant: run.agent, run: run.run }), "no video of this run", "model"));
    }
    stage.style.setProperty("--people", figures.length);
    replace(stage, ...figures);
    return elements;
  }

  const time = make("button", { type: "button", class: "time", title: "Go to a time (g)", onclick: () => askTime() });
  const ask = make("input", { type: "text", class: "time", "aria-label": "Go to time", placeholder: "1:15.3", hidden: true });
  const follow = make("input", { type: "checkbox", checked: true, id: "follow" });
  let goTo = () => {};

  function askTime() {
    ask.hidden = false;
    time.hidden = true;
    ask.value = time.firstChild?.textContent ?? "";
    ask.focus();
    ask.select();
  }
  const endAsking = () => {
    ask.hidden = true;
    time.hidden = false;
  };
  ask.addEventListener("blur", endAsking);
  ask.addEventListener("keydown", (event) => {
    if (event.key === "Escape") endAsking();
    if (event.key !== "Enter") return;
    const at = parseClock(ask.value);
    ask.setAttribute("aria-invalid", String(at === null));
    if (at !== null) {
      endAsking();
      goTo(Math.min(at, session.duration_ms));
    }
  });
  const now = document.createTextNode("0:00.00");
  time.append(now, make("small", {}, ` / ${clockText(session.duration_ms, 1)}`));

  const kinds = make("select", { id: "kind", "aria-label": "Kind of event for next and previous", title: "What next and previous look for" },
    make("option", { value: "" }, "any event"),
    ...Object.entries(about.kinds ?? {}).map(([kind, { labels, outcomes }]) => make("optgroup", { label: plain(kind) },
      make("option", { value: kind }, `any ${plain(kind)}`),
      ...labels.flatMap((label) => [make("option", { value: `${kind} ${label}` }, `${SHAPES[label] ?? ""} ${plain(label)}`.trim()),
        ...(outcomes?.[label] ?? []).map((outcome) => make("option", { value: `${kind} ${label} ${outcome}` }, `\u00a0\u00a0${plain(label)}, ${plain(outcome)}`))]))));
  const button = (name, text, title, more = {}) => make("button", { type: "button", name, title, "aria-label": title, ...more }, text);
  const play = button("play", "▶", "Play (Space)", { class: "play" });
  const speed = make("select", { "aria-label": "Speed (< and >)", title: "Speed (< and >)" }, ...SPEEDS.map((value) => make("option", { value: String(value) }, `${value}×`)));
  const hear = make("div", { class: "segments", role: "group", "aria-label": "Voices" });
  const loop = button("loop", "⟲", "Repeat the marked range (L)");
  const runs = session.runs?.length ? make("select", { "aria-label": "A model's run", title: "A model's run beside the truth" },
    make("option", { value: "" }, "no model's run"), ...session.runs.map(({ run, label }) => make("option", { value: run }, label))) : null;

  function connect(actions) {
    goTo = actions.goTo;
    const on = (name, text, title, action, more) => {
      const element = button(name, text, title, more);
      element.addEventListener("click", action);
      return element;
    };
    play.addEventListener("click", actions.toggle);
    loop.addEventListener("click", actions.loop);
    speed.addEventListener("change", () => actions.setSpeed(Number(speed.value)));
    kinds.addEventListener("change", () => actions.setKind(kinds.value));
    runs?.addEventListener("change", () => actions.setRun(runs.value));
    replace(transport, play, time, ask, speed, hear, loop,
      make("span", { class: "group" }, on("previous", "◂", "Previous event (p)", () => actions.next("previous")), kinds, on("next", "▸", "Next event (n)", () => actions.next("next"))),
      make("span", { class: "group" }, on("nearer", "+", "Zoom in (↑)", () => actions.zoom(0.6)), on("farther", "−", "Zoom out (↓)", () => actions.zoom(1 / 0.6)), on("fit", "↔", "Whole session (f)", actions.fit)),
      make("label", { class: "follow", title: "The timeline follows the time" }, follow, " follow"), runs);
    document.getElementById("title").append(make("span", { class: "spring" }),
      on("link", "Copy link", "Copy a link to this moment", actions.copyLink), on("help", "Keys  ?", "Keys (?)", actions.help));
  }

  function drawTransport(player, actions, current) {
    play.textContent = player.playing ? "❚❚" : "▶";
    play.title = play.ariaLabel = player.playing ? "Pause (Space)" : "Play (Space)";
    speed.value = String(player.speed);
    loop.setAttribute("aria-pressed", String(Boolean(player.loop)));
    if (runs) runs.value = current.run?.run ?? "";
    const choice = (key, text, title, place) => make("button", { type: "button", title, "aria-pressed": String(player.heard === key),
      class: place === undefined ? null : personClass(place), onclick: () => actions.hear(key) }, text);
    replace(hear, choice(null, "all", "All voices (0)"), ...player.voices.map((voice, index) => choice(voice.key, voice.run ? "model" : voice.participant,
      `Only ${voice.run ? "the model" : voice.participant} (${index + 1})`, people.findIndex(({ participant }) => participant === voice.participant))));
  }

  const showTime = (ms) => {
    const text = clockText(ms, 2);
    if (now.data !== text) now.data = text;
  };
  const announce = (text) => { status.textContent = text; };

  return { timeline, overview, problem, help, follow, selection: panels.selection, inView: panels.inview, unit: panels.unit,
    corrections: panels.corrections, openTab, tabCount, videos, connect, drawTransport, showTime, askTime, announce };
}

/** A drawn person in place of one who is not shown. */
function placeholder(participant, place, why) {
  const box = make("div", { class: `placeholder ${personClass(place)}`, role: "img", "aria-label": `${participant}: ${why}` });
  box.innerHTML = '<svg viewBox="0 0 160 120" aria-hidden="true"><circle cx="80" cy="46" r="24"/><path d="M32 120c0-30 22-44 48-44s48 14 48 44z"/></svg>';
  box.append(make("span", {}, why));
  return box;
}

/** Events in view as a list of buttons: for those who do not use a pointer, and to read. */
export function showInView(box, session, data, view, actions) {
  const places = new Map(session.participants.map(({ participant }, place) => [participant, place]));
  const rows = data.rows("events", view.startMs, view.endMs).filter(({ kind }) => kind !== "state")
    .toSorted((one, two) => one.start_ms - two.start_ms);
  replace(box, make("p", { class: "hint" }, `${rows.length} event${rows.length === 1 ? "" : "s"} from ${clockText(view.startMs, 1)} to ${clockText(view.endMs, 1)}`),
    make("ol", { class: "inview" }, ...rows.slice(0, MOST_IN_VIEW).map((row) => make("li", {}, make("button", { type: "button", onclick: () => actions.showEvent(row) },
      make("span", { class: "quiet" }, clockText(row.start_ms, 1)), make("span", { class: `person ${personClass(places.get(row.participant) ?? 0)}` }, row.participant),
      make("span", {}, `${SHAPES[row.label] ?? ""} ${eventTitle(row)}`), make("small", { class: "quiet" }, row.confidence == null ? "" : row.confidence.toFixed(2)))))),
    rows.length > MOST_IN_VIEW ? make("p", { class: "quiet" }, `${rows.length - MOST_IN_VIEW} more: zoom in`) : null);
}
