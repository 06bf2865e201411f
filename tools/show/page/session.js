// A session: videos, sound, timeline and panels, put together; keys and buttons call the same actions.
import { getJson } from "./api.js";
import { drawCorrections, drawSelection } from "./correct.js";
import { createData } from "./data.js";
import { author, createEdits } from "./edits.js";
import { FRAME_MS, UNIT_MS, clockText, eventTitle, make, parseClock, replace } from "./format.js";
import { bindKeys } from "./keys.js";
import { createOverview } from "./overview.js";
import { createPlayer, SPEEDS } from "./player.js";
import { buildPage, showInView } from "./sessionpage.js";
import { onTheme } from "./theme.js";
import { createTimeline } from "./timeline.js";
import { drawUnit } from "./unit.js";

const FIRST_VIEW_MS = 30_000;
const NUDGE_MS = 10;
const ADDED_MS = 400; // length of what is added without a marked range

export async function openSession(body, about, id, query) {
  const session = await getJson("/api/session", { session: id });
  document.title = `${id}: WanStreamer`;
  const state = { choice: null, unit: null, run: null, problem: "", sending: false, kind: "" };
  const voices = session.participants.filter((person) => person.audio && person.shown !== false).map((person, place, all) => ({
    key: person.participant, participant: person.participant, rateHz: person.rate_hz, pan: all.length > 1 ? (place % 2 ? 0.6 : -0.6) : 0,
  }));
  const page = buildPage(body, session, about, state);
  const problem = (text) => {
    page.problem.hidden = !text;
    page.problem.textContent = text ?? "";
  };

  let player;
  const edits = createEdits(id, () => {
    timeline?.redraw();
    drawPanels();
  });
  const data = createData(id, () => {
    timeline?.redraw();
    overview?.redraw();
    panelsSoon();
  }, problem);
  const model = { session, data, edits, get voices() { return player.voices; }, run: () => state.run };
  player = newPlayer();
  const timeline = createTimeline(page.timeline, model, {
    seek: (ms) => actions.seek(ms),
    select: (choice) => {
      state.choice = choice;
      if (choice) page.openTab("selection");
      drawPanels();
    },
    drag: (choice, changes) => {
      state.choice = choice;
      for (const [name, ms] of Object.entries(changes)) moveEdge(name, ms);
    },
    unit: (participant, unit) => actions.unit(participant, unit),
    range: () => drawPanels(),
    view: () => {
      overview?.redraw();
      panelsSoon();
    },
  });
  const overview = createOverview(page.overview, session, data, timeline, (ms) => actions.seek(ms));

  function newPlayer() {
    const run = state.run;
    const elements = page.videos(run);
    const all = run?.audio === false || !run ? voices : [...voices, { key: `run ${run.run}`, participant: run.agent, run: run.run, rateHz: run.rate_hz ?? 16_000, pan: 0 }];
    return createPlayer(session, all, elements, () => page.drawTransport(player, actions, state), problem);
  }

  let panelTimer = 0;
  function panelsSoon() {
    clearTimeout(panelTimer);
    panelTimer = setTimeout(() => showInView(page.inView, session, data, timeline.view, actions), 150);
  }

  /** After a correction the item is another object. */
  function keepChosen() {
    const item = state.choice && edits.again(state.choice.item);
    state.choice = item ? { kind: item.kind, item } : null;
    drawPanels();
  }

  function drawPanels() {
    if (!page) return;
    drawSelection(page.selection, state.choice, { session, about, edits, range: timeline?.range, actions });
    drawCorrections(page.corrections, { edits, problem: state.problem, sending: state.sending, actions });
    page.tabCount("corrections", edits.pending.length);
  }

  const correct = (action, changes) => {
    if (!state.choice) return;
    edits.correct(state.choice.kind, action, state.choice.item, changes);
    keepChosen();
  };
  /** Moves an edge and keeps the interval one: an instant moves as a whole, an edge stops before the other. */
  function moveEdge(name, ms) {
    const span = state.choice?.item.span;
    if (!span) return;
    const at = Math.round(Math.min(Math.max(0, ms), session.duration_ms));
    if (span.start_ms === span.end_ms) correct("change", { start_ms: at, end_ms: at });
    else if (name === "start_ms") correct("change", { start_ms: Math.min(at, span.end_ms - 1) });
    else correct("change", { end_ms: Math.max(at, span.start_ms + 1) });
  }
  const nudge = (name, by) => state.choice && moveEdge(name, state.choice.item.span[name] + by);

  const actions = {
    seek(ms) {
      player.seek(ms);
      timeline.setPlayhead(ms);
      overview.setPlayhead(ms);
      rememberSoon();
    },
    goTo(ms, line) {
      actions.seek(ms);
      timeline.reveal(ms);
      if (line) selectAt(line.kind, line.participant, line.start_ms, line.id);
    },
    step: (by) => actions.goTo(player.positionMs() + by),
    toggle: () => player.toggle(),
    speed(by) {
      const place = SPEEDS.indexOf(player.speed) + by;
      if (SPEEDS[place]) player.setSpeed(SPEEDS[place]);
    },
    setSpeed: (value) => player.setSpeed(value),
    hear: (key) => player.hear(key),
    loop: () => player.setLoop(player.loop || !timeline.range ? null : { startMs: timeline.range.start_ms, endMs: timeline.range.end_ms }),
    async next(direction) {
      const [kind, label, outcome] = state.kind.split(" ");
      const fromMs = Math.round(state.choice?.kind === "event" ? state.choice.item.before?.start_ms ?? player.positionMs() : player.positionMs());
      try {
        const { event } = await getJson("/api/next", { session: id, from_ms: fromMs, direction, kind, label, outcome });
        problem(null);
        if (!event) page.announce(`no ${direction} event of this kind`);
        else await actions.showEvent(event);
      } catch (error) {
        problem(error.message);
      }
    },
    /** Selects an event; it plays from there if it was playing. */
    async showEvent(event) {
      actions.seek(event.start_ms);
      timeline.reveal(event.start_ms);
      page.announce(`${clockText(event.start_ms, 1)} ${event.participant ?? ""} ${eventTitle(event)}`);
      const [item] = edits.items("event", [event], () => false);
      timeline.choose({ kind: "event", item });
    },
    nearest() {
      const at = player.positionMs();
      const items = timeline.items("event").filter(({ row }) => row.kind !== "state");
      const item = items.toSorted((one, two) => Math.abs(one.span.start_ms - at) - Math.abs(two.span.start_ms - at))[0];
      if (item) timeline.choose({ kind: "event", item });
      else page.announce("no event in view");
    },
    zoom: (factor) => timeline.zoom(factor),
    fit: () => timeline.show(0, session.duration_ms),
    zoomTo() {
      const span = state.choice?.item.span ?? timeline.range;
      if (!span) return;
      const margin = Math.max(300, (span.end_ms - span.start_ms) * 0.7);
      timeline.show(span.start_ms - margin, span.end_ms + margin);
    },
    async unit(participant, unit) {
      state.unit = { participant, unit };
      page.openTab("unit");
      actions.seek(unit * UNIT_MS);
      timeline.reveal(unit * UNIT_MS);
      await drawUnit(page.unit, session, participant, unit, { goTo: actions.unit });
    },
    change: (changes) => correct("change", changes),
    moveEdge,
    judge: (verdict) => correct(verdict, {}),
    remove: () => correct("delete", {}),
    add(what, participant) {
      const [kind, eventKind, label] = what.split(" ");
      const at = Math.round(player.positionMs());
      const span = timeline.range ?? { start_ms: at, end_ms: Math.min(session.duration_ms, at + ADDED_MS) };
      const other = session.participants.find((person) => person.participant !== participant)?.participant ?? null;
      const value = kind === "event" ? { kind: eventKind, label, outcome: null, other: eventKind === "non_speech" ? null : other } : kind === "word" ? { word: "…" } : {};
      const lineId = edits.add(kind, participant, span.start_ms, span.end_ms, value);
      timeline.setRange(null);
      selectAt(kind, participant, span.start_ms, lineId);
    },
    undo() {
      edits.undo();
      keepChosen();
    },
    async send() {
      if (!edits.pending.length || state.sending) return;
      if (!author()) {
        page.openTab("corrections");
        document.getElementById("author").focus();
        state.problem = "Say who you are first: a name or initials, so that others can ask.";
        drawPanels();
        document.getElementById("author").focus();
        return;
      }
      state.sending = true;
      try {
        await edits.send();
        state.problem = "";
        page.announce("corrections are saved");
      } catch (error) {
        state.problem = error.message;
      }
      state.sending = false;
      page.openTab("corrections");
      keepChosen();
      drawPanels();
    },
    copy: (text) => navigator.clipboard.writeText(text).then(() => page.announce("copied"), () => problem("the browser did not allow copying; select the text and copy it")),
    copyLink() {
      remember();
      actions.copy(location.href);
    },
    async reload() {
      data.reload();
      await edits.load().catch((error) => problem(error.message));
    },
    setKind(value) {
      state.kind = value;
    },
    setRun(name) {
      const at = player.positionMs();
      const heard = player.heard;
      player.close();
      state.run = session.runs.find(({ run }) => run === name) ?? null;
      player = newPlayer();
      player.hear(heard);
      timeline.resize();
      actions.seek(at);
      remember();
    },
    help: () => page.help.showModal(),
  };

  function selectAt(kind, participant, startMs, lineId) {
    const item = timeline.items(kind).find(({ pending, saved, span, row }) =>
      (lineId && (pending?.id === lineId || saved?.id === lineId)) || (!lineId && row.participant === participant && span.start_ms === startMs));
    if (item) timeline.choose({ kind, item });
  }

  let rememberTimer = 0;
  const rememberSoon = () => {
    clearTimeout(rememberTimer);
    rememberTimer = setTimeout(remember, 400);
  };
  function remember() {
    const next = new URLSearchParams({ session: id, t: (player.positionMs() / 1000).toFixed(3).replace(/\.?0+$/, "") || "0" });
    if (state.run) next.set("run", state.run.run);
    history.replaceState(null, "", `#${next}`);
  }

  /** The time of a link; the view around it is `FIRST_VIEW_MS` long if it is not seen yet. */
  function goToQuery(asked) {
    const at = parseClock(asked.get("t") ?? "0") ?? 0;
    if (asked.get("run") && asked.get("run") !== state.run?.run) actions.setRun(asked.get("run"));
    if (asked.get("show")) player.hear(asked.get("show"));
    actions.seek(Math.min(at, session.duration_ms));
    timeline.reveal(at);
  }

  const next = (direction) => () => actions.next(direction);
  const move = (name, by) => () => nudge(name, by);
  const unbind = bindKeys({
    " ": actions.toggle, ArrowLeft: () => actions.step(-1000), ArrowRight: () => actions.step(1000),
    "Shift+ArrowLeft": () => actions.step(-5000), "Shift+ArrowRight": () => actions.step(5000),
    ",": () => actions.step(-FRAME_MS), ".": () => actions.step(FRAME_MS), "<": () => actions.speed(-1), ">": () => actions.speed(1),
    ArrowUp: () => actions.zoom(0.6), ArrowDown: () => actions.zoom(1 / 0.6), PageUp: () => timeline.pan(-0.9), PageDown: () => timeline.pan(0.9),
    "+": () => actions.zoom(0.6), "=": () => actions.zoom(0.6), "-": () => actions.zoom(1 / 0.6),
    n: next("next"), p: next("previous"), f: actions.fit, z: actions.zoomTo, e: actions.nearest, l: actions.loop, g: page.askTime,
    u: () => actions.unit(state.unit?.participant ?? session.participants[0].participant, Math.min(session.num_units - 1, Math.floor(player.positionMs() / UNIT_MS))),
    0: () => actions.hear(null), ...Object.fromEntries(voices.slice(0, 9).map((voice, place) => [place + 1, () => actions.hear(voice.key)])),
    "[": move("start_ms", -NUDGE_MS), "]": move("start_ms", NUDGE_MS), "{": move("end_ms", -NUDGE_MS), "}": move("end_ms", NUDGE_MS),
    r: () => actions.judge("right"), w: () => actions.judge("wrong"), Delete: actions.remove,
    a: () => { timeline.choose(null); page.openTab("selection"); document.getElementById("add-what")?.focus(); },
    "Ctrl+z": actions.undo, "Ctrl+Enter": actions.send, t: () => document.getElementById("theme").click(), "?": actions.help,
    Escape: () => { page.help.close(); timeline.choose(null); timeline.setRange(null); }, Backspace: () => { location.hash = ""; },
  });

  page.connect(actions);
  page.drawTransport(player, actions, state);
  timeline.show(0, Math.min(FIRST_VIEW_MS, session.duration_ms));
  drawPanels();
  goToQuery(query);
  edits.load().catch((error) => problem(error.message));

  let frame = requestAnimationFrame(function follow() {
    if (player.playing) {
      player.tick();
      const at = player.positionMs();
      timeline.setPlayhead(at);
      if (page.follow.checked) timeline.reveal(at, 0.05);
      overview.setPlayhead(at);
    }
    page.showTime(player.positionMs());
    frame = requestAnimationFrame(follow);
  });
  const endTheme = onTheme(() => {
    timeline.redraw();
    overview.redraw();
  });

  // For people who script the page in a browser, and for tests: the parts, and how far pictures and sound are apart.
  window.show = { session, timeline, actions, edits, data, get player() { return player; } };
  return {
    id,
    goTo: goToQuery,
    close() {
      cancelAnimationFrame(frame);
      clearTimeout(rememberTimer);
      clearTimeout(panelTimer);
      unbind();
      endTheme();
      player.close();
      data.close();
      timeline.close();
      overview.close();
      page.help.remove();
      replace(document.getElementById("title"));
      delete window.show;
    },
  };
}
