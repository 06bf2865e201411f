// The whole session in a strip: who speaks when, the part that the timeline shows, and the time.
import { theme } from "./theme.js";

const LONGEST_MS = 4 * 3_600_000; // of a longer session only the neighbourhood of the view is drawn

export function createOverview(box, session, data, timeline, seek) {
  const canvas = document.createElement("canvas");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", "The whole session: who speaks when");
  box.append(canvas);
  let playheadMs = 0;
  let dirty = false;

  function redraw() {
    if (dirty) return;
    dirty = true;
    requestAnimationFrame(draw);
  }

  function draw() {
    dirty = false;
    const { clientWidth: width, clientHeight: height } = box;
    if (!width) return;
    const scale = window.devicePixelRatio || 1;
    canvas.width = width * scale;
    canvas.height = height * scale;
    const ctx = canvas.getContext("2d");
    ctx.setTransform(scale, 0, 0, scale, 0, 0);
    const colours = theme();
    const x = (ms) => (ms / session.duration_ms) * width;
    ctx.fillStyle = colours.lane;
    ctx.fillRect(0, 0, width, height);
    const around = session.duration_ms <= LONGEST_MS ? [0, session.duration_ms]
      : [timeline.view.startMs - LONGEST_MS / 2, timeline.view.endMs + LONGEST_MS / 2];
    const lane = (height - 4) / session.participants.length;
    const places = new Map(session.participants.map(({ participant }, place) => [participant, place]));
    for (const row of data.rows("speech", Math.max(0, around[0]), Math.min(session.duration_ms, around[1]))) {
      const place = places.get(row.participant);
      ctx.fillStyle = colours.people[place % 6];
      ctx.fillRect(x(row.start_ms), 2 + place * lane, Math.max(0.7, x(row.end_ms - row.start_ms)), lane - 1);
    }
    ctx.fillStyle = colours.red;
    for (const row of data.rows("events", Math.max(0, around[0]), Math.min(session.duration_ms, around[1])))
      if (row.label === "interruption") ctx.fillRect(x(row.start_ms) - 0.5, 0, 1.5, 4);
    const { startMs, endMs } = timeline.view;
    ctx.strokeStyle = colours.mark;
    ctx.lineWidth = 2;
    ctx.strokeRect(Math.max(1, x(startMs)), 1, Math.max(3, x(endMs) - x(startMs) - 1), height - 2);
    ctx.fillStyle = colours.ink;
    ctx.fillRect(x(playheadMs) - 0.5, 0, 1.5, height);
  }

  function setPlayhead(ms) {
    playheadMs = ms;
    redraw();
  }

  let dragging = false;
  const go = (event) => {
    const rect = canvas.getBoundingClientRect();
    const ms = Math.min(Math.max(0, (event.clientX - rect.left) / rect.width), 1) * session.duration_ms;
    const half = (timeline.view.endMs - timeline.view.startMs) / 2;
    timeline.show(ms - half, ms + half);
    playheadMs = ms;
    seek(ms);
  };
  canvas.addEventListener("pointerdown", (event) => {
    dragging = true;
    canvas.setPointerCapture(event.pointerId);
    go(event);
  });
  canvas.addEventListener("pointermove", (event) => dragging && go(event));
  canvas.addEventListener("pointerup", () => { dragging = false; });
  const observer = new ResizeObserver(redraw);
  observer.observe(box);
  return { redraw, setPlayhead, close: () => observer.disconnect() };
}
