// Which lanes the timeline has, where they lie, and which row lies under the pointer.

export const GUTTER_PX = 104; // names of the lanes
export const AXIS_PX = 26;
const EDGE_PX = 6; // an edge is grabbed this near to it

/** Lanes from top to bottom: [{id, kind, participant, place, run, y, height, label}] and their total height. */
export function layOut(session, run, availablePx) {
  const lanes = [];
  const add = (kind, height, more = {}) => lanes.push({ kind, height, id: `${kind}-${more.participant ?? ""}${more.run ? "-run" : ""}`, ...more });
  add("axis", AXIS_PX);
  add("floor", 12, { label: "floor" });
  session.participants.forEach(({ participant }, place) => {
    const person = { participant, place };
    add("space", 6);
    add("wave", 48, person);
    add("words", 20, { ...person, label: "words" });
    add("ipus", 9, { ...person, label: "IPUs" });
    add("turns", 13, { ...person, label: "turns" });
    add("events", 20, { ...person, label: "events" });
  });
  add("space", 6);
  add("states", 18, { label: "gaps, overlaps" });
  for (const [place, { participant }] of session.participants.entries()) add("units", 15, { participant, place, label: `units ${participant}` });
  for (const [place, { participant }] of session.participants.entries()) add("windows", 10, { participant, place, label: `windows ${participant}` });
  if (run) {
    const place = session.participants.findIndex(({ participant }) => participant === run.agent);
    const model = { participant: run.agent, place: Math.max(0, place), run: run.run };
    add("space", 8);
    add("wave", 52, { ...model, label: "model" });
    add("words", 20, { ...model, label: "words" });
    add("events", 20, { ...model, label: "events" });
  }
  const total = lanes.reduce((sum, lane) => sum + lane.height, 0);
  const waves = lanes.filter(({ kind }) => kind === "wave");
  const more = Math.min(70, Math.max(0, availablePx - total) / Math.max(1, waves.length));
  let y = 0;
  for (const lane of lanes) {
    if (lane.kind === "wave") lane.height = Math.floor(lane.height + more);
    lane.y = y;
    y += lane.height;
  }
  return { lanes, height: y };
}

export const laneAt = (lanes, y) => lanes.find((lane) => y >= lane.y && y < lane.y + lane.height) ?? null;

// Lane kind -> the table that its rows come from, and which rows.
const TABLE_OF = { words: "words", events: "events", states: "events", wave: "speech", turns: "turns", ipus: "ipus", windows: "windows" };

export function rowsOf(lane, data, startMs, endMs) {
  const table = TABLE_OF[lane.kind];
  if (!table || lane.run) return [];
  const rows = data.rows(table, startMs, endMs);
  if (lane.kind === "states") return rows.filter(({ kind }) => kind === "state");
  if (lane.kind === "events") return rows.filter((row) => row.kind !== "state" && row.participant === lane.participant);
  if (lane.kind === "windows") return rows.filter(({ agent }) => agent === lane.participant);
  return rows.filter(({ participant }) => participant === lane.participant);
}

/** What a row is called where it is corrected; null: it follows from others and is not corrected by itself. */
export function correctable(lane) {
  if (lane.run) return null;
  return { words: "word", events: "event", states: "event", wave: "speech" }[lane.kind] ?? null;
}

/** The narrowest item of a lane under the pointer, and the edge that is near: {item, edge: "start"|"end"|null}. */
export function hit(lane, items, x, view) {
  const at = view.startMs + (x - GUTTER_PX) * view.msPerPx;
  const reach = EDGE_PX * view.msPerPx;
  let best = null;
  for (const item of items) {
    const { start_ms: start, end_ms: end } = item.span;
    const near = Math.max(reach, start === end ? 7 * view.msPerPx : 0);
    if (at < start - near || at > end + near) continue;
    const inside = at >= start && at <= end;
    const length = end - start;
    if (!best || (inside && !best.inside) || (inside === best.inside && length < best.length)) best = { item, inside, length };
  }
  if (!best) return null;
  const { start_ms: start, end_ms: end } = best.item.span;
  const wide = (end - start) / view.msPerPx > 3 * EDGE_PX;
  const edge = Math.abs(at - end) <= reach && (wide || at >= end) ? "end" : Math.abs(at - start) <= reach ? "start" : null;
  return { item: best.item, edge };
}
