// What the timeline draws, fetched in tiles for the range that is seen, and kept until there are too many.
import { getBytes, getJson } from "./api.js";
import { UNIT_MS } from "./format.js";

// Tables that are fetched together, the length of their tiles, and the longest view that shows them.
export const GROUPS = [
  { tables: ["speech", "turns", "events", "floor", "windows"], tileMs: 600_000, viewMs: Infinity },
  { tables: ["words", "ipus"], tileMs: 120_000, viewMs: 1_200_000 },
  { tables: ["units"], tileMs: 32_000, viewMs: 64_000 },
];
const PEAKS = 2048; // buckets of one tile
const MAX_BUCKET_MS = 4096;
const SAMPLES_MS = 1000; // tile of single samples
const KEPT_TILES = 600;
const WAIT_MS = 60; // a view that only flies by is not fetched
const AT_ONCE = 6;

/** Units and windows get times too. */
function timed(tables) {
  for (const row of tables.units ?? []) Object.assign(row, { start_ms: row.unit * UNIT_MS, end_ms: (row.unit + 1) * UNIT_MS });
  for (const row of tables.windows ?? [])
    Object.assign(row, { start_ms: row.start_unit * UNIT_MS, end_ms: (row.start_unit + row.num_units) * UNIT_MS });
  return tables;
}

/**
 * @param sessionId the session
 * @param onLoad called when something new can be drawn
 * @param onProblem called with a text when the server refuses something; with null when it answers again
 */
export function createData(sessionId, onLoad, onProblem) {
  const tiles = new Map(); // key -> {value} or {failed}
  const running = new Map(); // key -> AbortController
  let wanted = new Map(); // key -> fetching function, of the latest drawing
  let timer = 0;

  function tile(key, fetchTile) {
    const known = tiles.get(key);
    if (known) {
      tiles.delete(key); // the least recently used comes first
      tiles.set(key, known);
      return known.value ?? null;
    }
    if (!running.has(key)) {
      wanted.set(key, fetchTile);
      if (!timer) timer = setTimeout(fetchWanted, WAIT_MS);
    }
    return null;
  }

  function fetchWanted() {
    timer = 0;
    for (const [key, fetchTile] of wanted) {
      if (running.size >= AT_ONCE) break;
      wanted.delete(key);
      const controller = new AbortController();
      running.set(key, controller);
      fetchTile(controller.signal).then((value) => {
        tiles.set(key, { value });
        onProblem(null);
      }, (error) => {
        if (error.name === "AbortError") return;
        tiles.set(key, { failed: true });
        onProblem(error.message);
      }).finally(() => {
        running.delete(key);
        if (tiles.size > KEPT_TILES) tiles.delete(tiles.keys().next().value);
        if (wanted.size && !timer) timer = setTimeout(fetchWanted, 0);
        onLoad();
      });
    }
  }

  /** Before a drawing: what an earlier drawing wanted and this one does not is not fetched. */
  const begin = () => wanted.clear();

  /** The rows of a table that touch [startMs, endMs), as far as they are here; fetches what is missing. */
  function rows(table, startMs, endMs) {
    const group = GROUPS.find(({ tables }) => tables.includes(table));
    if (endMs - startMs > group.viewMs) return [];
    const found = [];
    const first = Math.floor(startMs / group.tileMs);
    for (let place = first; place * group.tileMs < endMs; place += 1) {
      const tileStartMs = place * group.tileMs;
      const query = { session: sessionId, tables: group.tables.join(","), start_ms: tileStartMs, end_ms: tileStartMs + group.tileMs };
      const value = tile(`rows ${group.tables[0]} ${place}`, async (signal) => timed(await getJson("/api/rows", query, signal)));
      for (const row of value?.[table] ?? []) {
        // A row that touches two tiles is in both: it counts in the first one that is seen.
        const isFirst = place === first || row.start_ms >= tileStartMs;
        if (isFirst && row.start_ms < endMs && row.end_ms >= startMs) found.push(row);
      }
    }
    return found;
  }

  /** Peaks of a voice at a resolution: calls `draw(bucketStartMs, bucketMs, Int8Array of min, max pairs)` per tile. */
  function peaks(voice, startMs, endMs, msPerPx, draw) {
    const bucketMs = Math.min(MAX_BUCKET_MS, 2 ** Math.max(0, Math.floor(Math.log2(msPerPx))));
    const tileMs = bucketMs * PEAKS;
    for (let place = Math.max(0, Math.floor(startMs / tileMs)); place * tileMs < endMs; place += 1) {
      const query = { session: sessionId, participant: voice.participant, run: voice.run, bucket_ms: bucketMs, first: place * PEAKS, count: PEAKS };
      const value = tile(`peaks ${voice.key} ${bucketMs} ${place}`, async (signal) => new Int8Array(await getBytes("/media/peaks", query, signal)));
      if (value) draw(place * tileMs, bucketMs, value);
    }
  }

  /** A factor that makes a quiet voice as high on the screen as a loud one; of the first two hours, in one small tile. */
  function loudness(voice) {
    let highest = 0;
    peaks(voice, 0, 1, MAX_BUCKET_MS, (_start, _bucket, pairs) => {
      for (const value of pairs) highest = Math.max(highest, Math.abs(value));
    });
    return highest ? Math.min(10, 120 / highest) : 1;
  }

  /** Single samples, for views in which a pixel is shorter than a bucket: `draw(startMs, Int16Array)` per tile. */
  function samples(voice, startMs, endMs, draw) {
    for (let place = Math.max(0, Math.floor(startMs / SAMPLES_MS)); place * SAMPLES_MS < endMs; place += 1) {
      const query = { session: sessionId, participant: voice.participant, run: voice.run, start_ms: place * SAMPLES_MS, end_ms: (place + 1) * SAMPLES_MS };
      const value = tile(`samples ${voice.key} ${place}`, async (signal) => new Int16Array(await getBytes("/media/samples", query, signal)));
      if (value) draw(place * SAMPLES_MS, value);
    }
  }

  /** What a model's run did, in tiles of ten minutes. */
  function run(name, startMs, endMs) {
    const parts = [];
    const tileMs = GROUPS[0].tileMs;
    for (let place = Math.floor(startMs / tileMs); place * tileMs < endMs; place += 1) {
      const query = { session: sessionId, run: name, start_ms: place * tileMs, end_ms: (place + 1) * tileMs };
      const value = tile(`run ${name} ${place}`, (signal) => getJson("/api/run", query, signal));
      if (value) parts.push(value);
    }
    return parts;
  }

  /** Forgets rows, not sound: after corrections were applied. */
  function reload() {
    for (const key of [...tiles.keys()]) if (key.startsWith("rows ")) tiles.delete(key);
    onLoad();
  }

  function close() {
    clearTimeout(timer);
    for (const controller of running.values()) controller.abort();
  }

  const isLoading = () => running.size > 0 || wanted.size > 0;
  return { begin, rows, peaks, loudness, samples, run, reload, close, isLoading };
}
