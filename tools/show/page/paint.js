// How each kind of lane is drawn: rows of a lane -> marks on a canvas.
import { UNIT_MS, clockText, eventTitle, plain } from "./format.js";
import { AXIS_PX, GUTTER_PX } from "./lanes.js";

const FONT = "12px system-ui, sans-serif";
const SMALL = "11px system-ui, sans-serif";
const STEPS_MS = [10, 20, 40, 100, 200, 500, 1000, 2000, 5000, 10_000, 30_000, 60_000, 120_000, 300_000, 600_000, 1_800_000, 3_600_000];
// Each kind of event has a shape besides its colour.
export const SHAPES = { interruption: "▲", pause_interruption: "△", simultaneous_start: "◆", smooth_shift: "›", terminal_overlap: "»", hold: "·", initiation: "○" };

export const xOf = (ms, view) => GUTTER_PX + (ms - view.startMs) / view.msPerPx;

function bar(ctx, span, view, y, height, radius = 0) {
  const from = Math.max(GUTTER_PX - 20, xOf(span.start_ms, view));
  const to = Math.min(view.widthPx + 20, xOf(span.end_ms, view));
  const width = Math.max(to - from, 1);
  if (!radius || width < 2 * radius) ctx.fillRect(from, y, width, height);
  else {
    ctx.beginPath();
    ctx.roundRect(from, y, width, height, radius);
    ctx.fill();
  }
  return width;
}

export function axis(ctx, lane, view, colours, durationMs) {
  const step = STEPS_MS.find((each) => each / view.msPerPx > 70) ?? STEPS_MS.at(-1);
  const digits = step < 100 ? 2 : step < 1000 ? 1 : 0;
  ctx.font = SMALL;
  ctx.textAlign = "left";
  for (let ms = Math.floor(view.startMs / step) * step; ms <= view.endMs && ms <= durationMs; ms += step) {
    const x = Math.round(xOf(ms, view)) + 0.5;
    ctx.fillStyle = ctx.strokeStyle = colours.quiet;
    line(ctx, x, lane.y + 17, x, lane.y + AXIS_PX);
    if (x >= GUTTER_PX - 4) ctx.fillText(clockText(ms, digits), x + 3, lane.y + 15);
    ctx.strokeStyle = colours.line;
    line(ctx, x, lane.y + AXIS_PX, x, view.heightPx);
  }
  if (UNIT_MS / view.msPerPx > 6) ticks(ctx, lane, view, UNIT_MS, 5, colours.grey);
  if (40 / view.msPerPx > 6) ticks(ctx, lane, view, 40, 2, colours.grey);
}

function ticks(ctx, lane, view, stepMs, height, colour) {
  ctx.fillStyle = colour;
  for (let ms = Math.ceil(view.startMs / stepMs) * stepMs; ms <= view.endMs; ms += stepMs)
    ctx.fillRect(xOf(ms, view), lane.y + AXIS_PX - height, 1, height);
}

function line(ctx, x1, y1, x2, y2) {
  ctx.beginPath();
  ctx.moveTo(x1, y1);
  ctx.lineTo(x2, y2);
  ctx.stroke();
}

export function floor(ctx, lane, rows, view, colours, places) {
  for (const row of rows) {
    ctx.fillStyle = colours.people[places.get(row.participant) % 6];
    bar(ctx, row, view, lane.y + 3, 6, 3);
  }
}

/** Speech as a pale ground, the waveform over it, and what is mixed or hidden. */
export function wave(ctx, lane, items, view, colours, data, voice, person, run) {
  const colour = colours.people[lane.place % 6];
  const middle = lane.y + lane.height / 2;
  ctx.fillStyle = colour;
  ctx.globalAlpha = 0.14;
  for (const item of items) if (!item.deleted) bar(ctx, item.span, view, lane.y + 2, lane.height - 4, 3);
  ctx.globalAlpha = 1;
  for (const span of (run ? [] : person.mixed) ?? []) hatch(ctx, span, view, lane.y + lane.height - 6, 4, colours.grey);
  if (!voice) {
    ctx.fillStyle = colours.quiet;
    ctx.font = FONT;
    ctx.fillText(run || person.shown !== false ? "no sound" : `not played: ${person.why ?? "no consent to show"}`, GUTTER_PX + 10, middle + 4);
    return;
  }
  const half = (lane.height - 6) / 2 * data.loudness(voice);
  ctx.fillStyle = colour;
  if (view.msPerPx >= 1) {
    data.peaks(voice, view.startMs, view.endMs, view.msPerPx, (startMs, bucketMs, pairs) => {
      const first = Math.max(0, Math.floor((view.startMs - startMs) / bucketMs));
      const last = Math.min(pairs.length / 2, Math.ceil((view.endMs - startMs) / bucketMs));
      const width = Math.max(1, bucketMs / view.msPerPx);
      for (let place = first; place < last; place += 1) {
        const top = Math.max(lane.y + 1, middle - pairs[2 * place + 1] / 127 * half);
        const bottom = Math.min(lane.y + lane.height - 1, middle - pairs[2 * place] / 127 * half);
        ctx.fillRect(xOf(startMs + place * bucketMs, view), top, width, Math.max(1, bottom - top));
      }
    });
    return;
  }
  ctx.strokeStyle = colour;
  data.samples(voice, view.startMs, view.endMs, (startMs, samples) => {
    const perMs = voice.rateHz / 1000;
    const first = Math.max(0, Math.floor((view.startMs - startMs) * perMs) - 1);
    const last = Math.min(samples.length, Math.ceil((view.endMs - startMs) * perMs) + 2);
    ctx.beginPath();
    for (let place = first; place < last; place += 1)
      ctx.lineTo(xOf(startMs + place / perMs, view), middle - samples[place] / 32768 * half);
    ctx.stroke();
  });
}

function hatch(ctx, span, view, y, height, colour) {
  ctx.fillStyle = colour;
  const end = Math.min(view.widthPx, xOf(span.end_ms, view));
  for (let x = Math.max(GUTTER_PX, xOf(span.start_ms, view)); x < end; x += 6) ctx.fillRect(x, y, 3, height);
}

/** Each word at its onset, if there is space for it. */
export function words(ctx, lane, items, view, colours) {
  ctx.font = FONT;
  let free = -Infinity;
  for (const item of items.toSorted((one, two) => one.span.start_ms - two.span.start_ms)) {
    const x = xOf(item.span.start_ms, view);
    const width = (item.span.end_ms - item.span.start_ms) / view.msPerPx;
    ctx.fillStyle = colours.line;
    if (width > 3) ctx.fillRect(x, lane.y + lane.height - 3, width - 1, 2);
    const text = item.row.word;
    if (width < 4 || x < free - 1) continue;
    const needed = ctx.measureText(text).width;
    if (needed > width + 30) continue;
    ctx.fillStyle = item.row.times_fit === false || item.row.over_silence ? colours.quiet : colours.ink;
    ctx.fillText(text, x, lane.y + 14);
    if (item.deleted) ctx.fillRect(x, lane.y + 10, needed, 1.5);
    free = x + needed + 4;
  }
}

export function ipus(ctx, lane, rows, view, colours) {
  ctx.fillStyle = colours.people[lane.place % 6];
  for (const row of rows) {
    ctx.globalAlpha = row.candidate && row.candidate !== "none" ? 0.4 : 0.75;
    bar(ctx, row, view, lane.y + 2, 5, 2);
  }
  ctx.globalAlpha = 1;
}

export function turns(ctx, lane, rows, view, colours) {
  const colour = colours.people[lane.place % 6];
  for (const row of rows) {
    ctx.fillStyle = ctx.strokeStyle = colour;
    if (row.is_primary) bar(ctx, row, view, lane.y + 2, 9, 4);
    else outlined(ctx, row, view, lane.y + 2.5, 8, [3, 2]);
  }
}

function outlined(ctx, span, view, y, height, dash) {
  ctx.setLineDash(dash);
  const x = xOf(span.start_ms, view);
  ctx.strokeRect(x + 0.5, y, Math.max(2, (span.end_ms - span.start_ms) / view.msPerPx - 1), height);
  ctx.setLineDash([]);
}

/** Backchannels and sounds as intervals, transitions as a sign at their onset; names where there is space. */
export function events(ctx, lane, items, view, colours) {
  const colour = colours.people[lane.place % 6];
  ctx.font = SMALL;
  const sorted = items.toSorted((one, two) => one.span.start_ms - two.span.start_ms);
  sorted.forEach((item, place) => {
    const { row, span } = item;
    const x = xOf(span.start_ms, view);
    const room = (sorted[place + 1] ? xOf(sorted[place + 1].span.start_ms, view) : view.widthPx) - x - 8;
    ctx.globalAlpha = item.deleted ? 0.35 : 1;
    let from = x;
    if (row.kind === "transition") {
      const isRed = row.label === "interruption" || row.label === "pause_interruption";
      ctx.fillStyle = isRed ? colours.red : colours.ink;
      if (span.end_ms > span.start_ms) bar(ctx, { start_ms: span.start_ms, end_ms: span.end_ms }, view, lane.y + 16, 2);
      ctx.textAlign = "center";
      ctx.fillText(SHAPES[row.label] ?? "•", x, lane.y + 13);
      ctx.textAlign = "left";
      from = x + 8;
    } else {
      ctx.fillStyle = ctx.strokeStyle = row.kind === "backchannel" ? colour : row.label === "bleed" ? colours.grey : colours.amber;
      if (row.kind === "backchannel") {
        ctx.lineWidth = 1.6;
        ctx.beginPath();
        ctx.roundRect(x, lane.y + 3, Math.max(4, (span.end_ms - span.start_ms) / view.msPerPx), 11, 5);
        ctx.stroke();
        ctx.lineWidth = 1;
      } else bar(ctx, span, view, lane.y + 5, 7, 2);
      from = Math.max(x, GUTTER_PX) + 5;
    }
    const name = row.kind === "backchannel" ? "" : eventTitle(row);
    if (name && room > ctx.measureText(name).width + 8) {
      ctx.fillStyle = row.kind === "transition" ? ctx.fillStyle : colours.ink;
      ctx.fillText(name, from, lane.y + 13);
    }
    ctx.globalAlpha = 1;
  });
}

/** Pauses, gaps and overlaps of all people. */
export function states(ctx, lane, items, view, colours) {
  ctx.font = SMALL;
  for (const item of items) {
    const { label } = item.row;
    const isOverlap = label.startsWith("overlap");
    ctx.fillStyle = isOverlap ? colours.red : colours.grey;
    ctx.globalAlpha = item.deleted ? 0.12 : label === "pause" ? 0.25 : 0.55;
    const width = bar(ctx, item.span, view, lane.y + (isOverlap ? 1 : 3), isOverlap ? 16 : 12, 2);
    ctx.globalAlpha = 1;
    const text = `${plain(label)} ${item.span.end_ms - item.span.start_ms}`;
    if (width > ctx.measureText(text).width + 8) {
      ctx.fillStyle = colours.ink;
      ctx.fillText(text, Math.max(xOf(item.span.start_ms, view), GUTTER_PX) + 4, lane.y + 13);
    }
  }
}

/** One cell per unit: how full it is of speech; a dot: holds the floor; a stripe: another voice is in it. */
export function units(ctx, lane, rows, view, colours) {
  const width = UNIT_MS / view.msPerPx;
  if (width < 2.5) {
    ctx.fillStyle = colours.quiet;
    ctx.font = SMALL;
    if (lane.place === 0) ctx.fillText("zoom in to see the 160 ms units", GUTTER_PX + 10, lane.y + 12);
    return;
  }
  const colour = colours.people[lane.place % 6];
  for (const row of rows) {
    const x = xOf(row.unit * UNIT_MS, view);
    ctx.fillStyle = colours.lane;
    ctx.fillRect(x + 0.5, lane.y + 1, width - 1, lane.height - 2);
    if (row.speech_ms) {
      ctx.fillStyle = colour;
      const height = (lane.height - 4) * row.speech_ms / UNIT_MS;
      ctx.fillRect(x + 1, lane.y + lane.height - 2 - height, width - 2, height);
    }
    if (row.audio_mixed || row.bleed_heard || row.speech_ms === null) {
      ctx.fillStyle = colours.amber;
      ctx.fillRect(x + 1, lane.y + 1, width - 2, 3);
    }
    if (row.interruption_role && width > 10) {
      ctx.fillStyle = colours.red;
      ctx.fillText(row.interruption_role === "challenger" ? "▲" : "▽", x + width / 2 - 5, lane.y + 12);
    }
  }
}

export function windows(ctx, lane, rows, view, colours) {
  const colour = colours.people[lane.place % 6];
  rows.forEach((row, place) => {
    ctx.strokeStyle = ctx.fillStyle = colour;
    ctx.globalAlpha = 0.25 + 0.15 * (place % 2);
    bar(ctx, row, view, lane.y + 1, 7, 2);
    ctx.globalAlpha = 1;
    ctx.fillRect(xOf(row.start_ms, view), lane.y, 1, 9);
  });
}

/** Over an item: chosen, pending (dashed), saved but not applied (dotted), judged right or wrong. */
export function marks(ctx, lane, item, view, colours, chosen) {
  const x = xOf(item.span.start_ms, view);
  const width = Math.max(6, (item.span.end_ms - item.span.start_ms) / view.msPerPx);
  const left = item.span.end_ms === item.span.start_ms ? x - 6 : x;
  const box = [left - 1, lane.y + 1, item.span.end_ms === item.span.start_ms ? 12 : width + 2, lane.height - 2];
  if (item.pending || item.saved) {
    ctx.strokeStyle = item.pending ? colours.pending : colours.saved;
    ctx.lineWidth = 2;
    ctx.setLineDash(item.pending ? [5, 3] : [2, 2]);
    ctx.strokeRect(...box);
    ctx.setLineDash([]);
    ctx.fillStyle = ctx.strokeStyle;
    ctx.font = `bold ${FONT}`;
    const sign = item.judged === "right" ? "✓" : item.judged === "wrong" ? "✗" : item.deleted ? "−" : item.before ? "✎" : "+";
    ctx.textAlign = "right";
    ctx.fillText(sign, box[0] - 3, lane.y + 13);
    ctx.textAlign = "left";
    if (item.before && item.span !== item.before && !item.judged) outlined(ctx, item.before, view, lane.y + lane.height - 3, 1, []);
  }
  if (chosen) {
    ctx.strokeStyle = colours.mark;
    ctx.lineWidth = 2;
    ctx.strokeRect(box[0] - 2, box[1] - 1, box[2] + 4, box[3] + 2);
    ctx.fillStyle = colours.mark;
    if (item.span.end_ms > item.span.start_ms) for (const edge of [box[0] - 2, box[0] + box[2] + 2]) ctx.fillRect(edge - 2, lane.y + lane.height / 2 - 5, 4, 10);
  }
  ctx.lineWidth = 1;
}

export function gutter(ctx, lanes, view, colours, people) {
  ctx.fillStyle = colours.page;
  ctx.fillRect(0, 0, GUTTER_PX - 1, view.heightPx);
  ctx.fillStyle = colours.line;
  ctx.fillRect(GUTTER_PX - 1, 0, 1, view.heightPx);
  for (const lane of lanes) {
    const middle = lane.y + lane.height / 2;
    ctx.font = SMALL;
    ctx.fillStyle = colours.quiet;
    ctx.textAlign = "right";
    if (lane.kind !== "wave" && lane.label) ctx.fillText(lane.label, GUTTER_PX - 8, middle + 4);
    ctx.textAlign = "left";
    if (lane.kind === "wave") {
      ctx.fillStyle = colours.people[lane.place % 6];
      ctx.font = "bold 18px system-ui, sans-serif";
      ctx.fillText(lane.run ? "model" : lane.participant, 8, middle + 2);
      ctx.font = SMALL;
      ctx.fillStyle = colours.quiet;
      const name = lane.run ? `in place of ${lane.participant}` : people[lane.place].speaker_id ?? "";
      ctx.fillText(name.length > 15 ? `${name.slice(0, 14)}…` : name, 8, middle + 18);
    }
  }
}
