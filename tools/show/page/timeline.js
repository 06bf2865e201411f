// One timeline of a session on a canvas: from the whole session to 40 ms. Only what is seen is fetched and drawn.
import { FRAME_MS, UNIT_MS } from "./format.js";
import { GUTTER_PX, correctable, hit, laneAt, layOut, rowsOf } from "./lanes.js";
import * as paint from "./paint.js";
import { theme } from "./theme.js";

const MIN_VIEW_MS = FRAME_MS;
const DRAG_PX = 4; // less is a click

/**
 * @param box element that gets the canvas
 * @param model {session, data, edits, voices, run()}: what is drawn
 * @param on {seek(ms), select(choice), unit(participant, unit), drag(choice, changes), range(span), view()}
 */
export function createTimeline(box, model, on) {
  const { session, data, edits } = model;
  const canvas = document.createElement("canvas");
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", "Timeline. The panel on the right lists the events in view; press ? for the keys.");
  const cursor = document.createElement("div");
  cursor.className = "cursor";
  box.append(canvas, cursor);
  const ctx = canvas.getContext("2d");
  const places = new Map(session.participants.map(({ participant }, place) => [participant, place]));

  const view = { startMs: 0, msPerPx: 1, widthPx: 100, heightPx: 100, endMs: 0 };
  let lanes = [];
  let playheadMs = 0;
  let chosen = null; // key of the chosen item
  let range = null; // {start_ms, end_ms} that a person has marked
  let dirty = false;
  let pointers = new Map();
  let gesture = null;

  const inner = () => Math.max(50, view.widthPx - GUTTER_PX);
  const msAt = (x) => view.startMs + (x - GUTTER_PX) * view.msPerPx;
  const clip = (ms) => Math.min(Math.max(0, ms), session.duration_ms);

  function resize() {
    const rect = box.getBoundingClientRect();
    const span = inner() * view.msPerPx;
    const laid = layOut(session, model.run(), rect.height - 4);
    lanes = laid.lanes;
    view.widthPx = Math.max(200, Math.floor(box.clientWidth));
    view.heightPx = laid.height;
    const scale = window.devicePixelRatio || 1;
    canvas.width = view.widthPx * scale;
    canvas.height = view.heightPx * scale;
    canvas.style.width = `${view.widthPx}px`;
    canvas.style.height = cursor.style.height = `${view.heightPx}px`;
    ctx.setTransform(scale, 0, 0, scale, 0, 0);
    setView(view.startMs, span / inner());
  }

  function setView(startMs, msPerPx) {
    const widest = session.duration_ms / inner();
    view.msPerPx = Math.min(Math.max(MIN_VIEW_MS / inner(), msPerPx), Math.max(widest, MIN_VIEW_MS / inner()));
    view.startMs = Math.max(0, Math.min(startMs, session.duration_ms - inner() * view.msPerPx));
    view.endMs = view.startMs + inner() * view.msPerPx;
    redraw();
    on.view();
  }

  /** Zooms by a factor (below 1: nearer) around a time. */
  function zoom(factor, aroundMs = playheadMs >= view.startMs && playheadMs <= view.endMs ? playheadMs : (view.startMs + view.endMs) / 2) {
    const share = (aroundMs - view.startMs) / (view.endMs - view.startMs);
    const widest = session.duration_ms / inner();
    const msPerPx = Math.min(Math.max(MIN_VIEW_MS / inner(), view.msPerPx * factor), widest);
    setView(aroundMs - share * inner() * msPerPx, msPerPx);
  }

  const show = (startMs, endMs) => setView(startMs, Math.max(MIN_VIEW_MS, endMs - startMs) / inner());
  const pan = (share) => setView(view.startMs + share * (view.endMs - view.startMs), view.msPerPx);

  /** Moves the view so that a time is seen; at `share` of the width if it was not. */
  function reveal(ms, share = 0.3) {
    const length = view.endMs - view.startMs;
    if (ms < view.startMs || ms > view.endMs - 0.03 * length) setView(ms - share * length, view.msPerPx);
  }

  function redraw() {
    if (dirty) return;
    dirty = true;
    requestAnimationFrame(draw);
  }

  function itemsOf(lane) {
    const kind = correctable(lane);
    const isMine = (row) => {
      if (lane.kind === "states") return row.kind === "state";
      return row.participant === lane.participant && (lane.kind !== "events" || row.kind !== "state");
    };
    return edits.items(kind, rowsOf(lane, data, view.startMs, view.endMs), isMine);
  }

  function draw() {
    dirty = false;
    const colours = theme();
    data.begin();
    ctx.fillStyle = colours.page;
    ctx.fillRect(0, 0, view.widthPx, view.heightPx);
    ctx.textBaseline = "alphabetic";
    for (const lane of lanes) if (lane.kind === "wave" || lane.kind === "states") {
      ctx.fillStyle = colours.lane;
      ctx.fillRect(GUTTER_PX, lane.y, view.widthPx, lane.height);
    }
    if (range) {
      ctx.fillStyle = colours.mark;
      ctx.globalAlpha = 0.15;
      ctx.fillRect(paint.xOf(range.start_ms, view), 0, (range.end_ms - range.start_ms) / view.msPerPx, view.heightPx);
      ctx.globalAlpha = 1;
    }
    const run = model.run();
    const runParts = run ? data.run(run.run, view.startMs, view.endMs) : [];
    for (const lane of lanes) {
      const items = itemsOf(lane);
      drawLane(lane, items, colours, runParts);
      for (const item of items) if (item.pending || item.saved || (chosen && item.key === chosen)) paint.marks(ctx, lane, item, view, colours, item.key === chosen);
    }
    paint.gutter(ctx, lanes, view, colours, session.participants);
    moveCursor();
    box.classList.toggle("loading", data.isLoading());
  }

  function drawLane(lane, items, colours, runParts) {
    if (lane.run) return drawRun(lane, colours, runParts);
    const person = session.participants[lane.place];
    const voice = model.voices.find(({ participant, run }) => participant === lane.participant && !run);
    const rows = items.map(({ row }) => row);
    if (lane.kind === "axis") paint.axis(ctx, lane, view, colours, session.duration_ms);
    else if (lane.kind === "floor") paint.floor(ctx, lane, data.rows("floor", view.startMs, view.endMs), view, colours, places);
    else if (lane.kind === "wave") paint.wave(ctx, lane, items, view, colours, data, voice, person, null);
    else if (lane.kind === "units") paint.units(ctx, lane, data.rows("units", view.startMs, view.endMs).filter(({ participant }) => participant === lane.participant), view, colours);
    else if (["words", "events", "states"].includes(lane.kind)) paint[lane.kind](ctx, lane, items, view, colours);
    else if (["ipus", "turns", "windows"].includes(lane.kind)) paint[lane.kind](ctx, lane, rows, view, colours);
  }

  function drawRun(lane, colours, parts) {
    const mine = (rows) => rows.filter(({ participant }) => participant === lane.participant)
      .map((row) => ({ row, span: row, before: row, key: "" }));
    const of = (name) => mine(parts.flatMap((part) => part[name] ?? []));
    if (lane.kind === "wave") {
      const voice = model.voices.find(({ run }) => run === lane.run);
      paint.wave(ctx, lane, of("speech"), view, colours, data, voice, {}, lane.run);
    } else paint[lane.kind](ctx, lane, of(lane.kind), view, colours);
  }

  function moveCursor() {
    const x = paint.xOf(playheadMs, view);
    cursor.hidden = x < GUTTER_PX - 1 || x > view.widthPx;
    cursor.style.transform = `translateX(${x}px)`;
  }

  function setPlayhead(ms) {
    playheadMs = ms;
    moveCursor();
  }

  const point = (event) => {
    const rect = canvas.getBoundingClientRect();
    return { x: event.clientX - rect.left, y: event.clientY - rect.top };
  };

  /** What lies under a point: {lane, kind, item, edge}; item is null on empty ground. */
  function under({ x, y }) {
    const lane = x < GUTTER_PX ? null : laneAt(lanes, y);
    if (!lane) return null;
    const kind = correctable(lane);
    const found = kind ? hit(lane, itemsOf(lane), x, view) : null;
    return { lane, kind, item: found?.item ?? null, edge: found?.edge ?? null };
  }

  function down(event) {
    if (event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    const at = point(event);
    pointers.set(event.pointerId, at);
    if (pointers.size === 2) {
      const [one, two] = [...pointers.values()];
      gesture = { type: "pinch", distance: Math.max(20, Math.abs(one.x - two.x)), aroundMs: msAt((one.x + two.x) / 2), msPerPx: view.msPerPx };
      return;
    }
    const target = under(at);
    const grabs = target?.edge && target.item.key === chosen && !target.item.deleted;
    gesture = { type: "press", at, target, startMs: view.startMs, grabs, shift: event.shiftKey };
  }

  function move(event) {
    const at = point(event);
    if (!gesture) return hover(at);
    if (pointers.has(event.pointerId)) pointers.set(event.pointerId, at);
    if (gesture.type === "pinch") {
      const [one, two] = [...pointers.values()];
      if (!two) return;
      const msPerPx = gesture.msPerPx * gesture.distance / Math.max(20, Math.abs(one.x - two.x));
      setView(gesture.aroundMs - ((one.x + two.x) / 2 - GUTTER_PX) * msPerPx, msPerPx);
      return;
    }
    if (gesture.type === "press" && Math.abs(at.x - gesture.at.x) < DRAG_PX) return;
    if (gesture.type === "press") {
      const isAxis = gesture.target?.lane.kind === "axis";
      gesture.type = gesture.grabs ? "edge" : gesture.shift ? "range" : isAxis ? "scrub" : "pan";
    }
    const ms = clip(msAt(at.x));
    if (gesture.type === "edge") {
      const { start_ms: start, end_ms: end } = gesture.target.item.span;
      const changes = gesture.target.edge === "start" ? { start_ms: Math.min(ms, end - 1) } : { end_ms: Math.max(ms, start + 1) };
      gesture.changes = changes;
      redraw();
      drawEdge(ms);
    } else if (gesture.type === "range") {
      const from = clip(msAt(gesture.at.x));
      setRange({ start_ms: Math.round(Math.min(from, ms)), end_ms: Math.round(Math.max(from, ms)) });
    } else if (gesture.type === "scrub") on.seek(ms);
    else setView(gesture.startMs - (at.x - gesture.at.x) * view.msPerPx, view.msPerPx);
  }

  /** While an edge is dragged: a line where it would be. */
  function drawEdge(ms) {
    requestAnimationFrame(() => {
      ctx.fillStyle = theme().pending;
      ctx.fillRect(paint.xOf(ms, view) - 1, 0, 2, view.heightPx);
    });
  }

  function up(event) {
    pointers.delete(event.pointerId);
    const ended = gesture;
    if (pointers.size) return;
    gesture = null;
    if (!ended || ended.type === "pinch") return;
    if (ended.type === "edge") {
      const { kind, item } = ended.target;
      on.drag({ kind, item }, ended.changes);
      redraw();
    } else if (ended.type === "press" && ended.at.x >= GUTTER_PX) click(ended);
  }

  function click({ at, target }) {
    const ms = clip(msAt(at.x));
    if (target?.lane.kind === "units") {
      on.unit(target.lane.participant, Math.floor(ms / UNIT_MS));
    } else if (target?.item) {
      choose({ kind: target.kind, item: target.item });
    } else {
      choose(null);
      setRange(null);
    }
    on.seek(ms);
  }

  function hover(at) {
    const target = under(at);
    canvas.style.cursor = target?.edge && target.item.key === chosen ? "ew-resize" : target?.item || target?.lane.kind === "units" ? "pointer" : "";
    const row = target?.item?.row;
    canvas.title = row ? `${row.word ?? row.label ?? "speech"} ${row.outcome ?? ""} ${row.end_ms - row.start_ms} ms` : "";
  }

  function wheel(event) {
    const horizontal = Math.abs(event.deltaX) > Math.abs(event.deltaY) || event.shiftKey;
    event.preventDefault();
    if (horizontal && !event.ctrlKey) setView(view.startMs + (event.deltaX || event.deltaY) * view.msPerPx, view.msPerPx);
    else zoom(Math.exp(Math.min(1, Math.max(-1, event.deltaY * (event.ctrlKey ? 0.01 : 0.002)))), msAt(point(event).x));
  }

  function choose(choice) {
    chosen = choice?.item.key ?? null;
    on.select(choice);
    redraw();
  }

  function setRange(span) {
    range = span && span.end_ms > span.start_ms ? span : null;
    on.range(range);
    redraw();
  }

  canvas.addEventListener("pointerdown", down);
  canvas.addEventListener("pointermove", move);
  canvas.addEventListener("pointerup", up);
  canvas.addEventListener("pointercancel", up);
  canvas.addEventListener("wheel", wheel, { passive: false });
  const observer = new ResizeObserver(resize);
  observer.observe(box);

  return {
    resize, redraw, zoom, show, pan, reveal, setPlayhead, choose, setRange, canvas,
    items: (kind) => lanes.filter((lane) => correctable(lane) === kind).flatMap(itemsOf),
    xOf: (ms) => paint.xOf(ms, view),
    laneOf: (kind, participant) => lanes.find((lane) => lane.kind === kind && !lane.run && (participant === undefined || lane.participant === participant)),
    get view() { return view; },
    get range() { return range; },
    get chosen() { return chosen; },
    close: () => observer.disconnect(),
  };
}
