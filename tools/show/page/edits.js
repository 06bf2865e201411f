// Corrections: those that are not sent yet (kept in this browser, can be undone), and those that are saved but that
// `annotate` has not applied. Rows of the tables stay as they are; both are drawn over them.
import { getJson, postJson } from "./api.js";

const AUTHOR = "show.author";
const FIELDS = { word: ["word"], speech: [], event: ["kind", "label", "outcome", "other"] };

export const author = () => localStorage.getItem(AUTHOR) ?? "";
export const setAuthor = (name) => localStorage.setItem(AUTHOR, name.trim());

/** What identifies a row among those of its kind. */
export function rowKey(kind, row) {
  const names = { word: ["word"], speech: [], event: ["kind", "label"] }[kind];
  return [kind, row.participant, row.start_ms, row.end_ms, ...names.map((name) => row[name] ?? "")].join("|");
}

const keyOf = (line) => (line.before ? rowKey(line.kind, { participant: line.participant, ...line.before }) : `added ${line.id ?? line.line}`);

export function createEdits(sessionId, onChange) {
  const storage = `show.pending.${sessionId}`;
  let pending = read(storage);
  let undone = []; // states of `pending` before each change
  let lines = []; // of the file, with `applied`
  let next = null;
  let laid = null; // what lies over the rows, by key; made again after each change

  function set(list) {
    undone.push(pending);
    store(list);
  }

  function store(list) {
    pending = list;
    laid = null;
    if (list.length) localStorage.setItem(storage, JSON.stringify(list));
    else localStorage.removeItem(storage);
    onChange();
  }

  /** Adds a correction of a row, or changes the pending one: one row has one pending correction of its content. */
  function correct(kind, action, item, changes = {}) {
    const own = pending.find((line) => keyOf(line) === item.key) ?? null;
    const judges = action === "right" || action === "wrong";
    if (own && own.action === "add") {
      if (action === "delete") set(pending.filter(({ id }) => id !== own.id));
      else if (!judges) set(pending.map((line) => (line.id === own.id ? edited(line, changes) : line)));
      return own.id;
    }
    const before = item.before ?? item.row;
    const line = {
      id: crypto.randomUUID(), kind, action, participant: before.participant,
      start_ms: before.start_ms, end_ms: before.end_ms, value: valueOf(kind, before), before,
    };
    const key = keyOf(line);
    const others = pending.filter((other) => keyOf(other) !== key);
    const base = own && own.action === "change" && action === "change" ? own : line;
    const result = judges ? line : edited({ ...base, action, id: line.id }, changes);
    const isSame = action === "change" && sameAsBefore(result);
    set(isSame ? others : [...others, result]);
    return line.id;
  }

  function add(kind, participant, startMs, endMs, value) {
    const line = { id: crypto.randomUUID(), kind, action: "add", participant, start_ms: startMs, end_ms: endMs, value, before: null };
    set([...pending, line]);
    return line.id;
  }

  const drop = (id) => set(pending.filter((line) => line.id !== id));

  function undo() {
    if (undone.length) store(undone.pop());
  }

  /** Sends all pending corrections; afterwards they are lines of a file that is only appended to. */
  async function send() {
    const at = new Date().toISOString();
    const corrections = pending.map(({ id, ...line }) => ({ stage: "annotate", ...line, by: author(), at }));
    take(await postJson("/api/corrections", { session: sessionId, corrections }));
    undone = [];
    store([]);
  }

  async function load() {
    take(await getJson("/api/corrections", { session: sessionId }));
    onChange();
  }

  function take(answer) {
    lines = (answer.lines ?? []).filter(({ stage }) => stage === undefined || stage === "annotate");
    next = answer.next ?? null;
    laid = null;
  }

  function over() {
    if (!laid) {
      laid = new Map();
      for (const line of lines) if (line.applied !== true) laid.set(keyOf(line), { saved: line });
      for (const line of pending) laid.set(keyOf(line), { ...laid.get(keyOf(line)), pending: line });
    }
    return laid;
  }

  /**
   * Rows -> items as they are drawn and selected: {key, kind, row, before, span, pending, saved, deleted, judged}.
   * `row` is what is shown, `before` what the table has (null: added by a person).
   */
  function items(kind, rows, matches) {
    const corrections = over();
    if (!kind || !corrections.size) return rows.map((row) => ({ key: kind ? rowKey(kind, row) : "", kind, row, before: row, span: row }));
    const result = rows.map((row) => {
      const key = rowKey(kind, row);
      const own = corrections.get(key) ?? {};
      const line = own.pending ?? own.saved ?? null;
      return itemOf(kind, key, row, line, own);
    });
    for (const [key, own] of corrections) {
      const line = own.pending ?? own.saved;
      if (line.action === "add" && line.kind === kind) {
        const row = { participant: line.participant, start_ms: line.start_ms, end_ms: line.end_ms, ...line.value };
        if (matches(row)) result.push({ ...itemOf(kind, key, null, line, own), row });
      }
    }
    return result;
  }

  /** The item as it is now, after corrections or an undo; null: it was only added by one that is undone. */
  function again({ key, kind, before }) {
    if (before) return items(kind, [before], () => false)[0];
    return items(kind, [], () => true).find((item) => item.key === key) ?? null;
  }

  return {
    again, correct, add, drop, undo, send, load, items,
    get pending() { return pending; },
    get lines() { return lines; },
    get next() { return next; },
    get canUndo() { return undone.length > 0; },
  };
}

function itemOf(kind, key, before, line, own) {
  const changed = line && line.action === "change";
  const row = changed ? { ...before, start_ms: line.start_ms, end_ms: line.end_ms, participant: line.participant, ...line.value } : before;
  return {
    key, kind, row, before, span: line && line.action === "add" ? line : row, pending: own.pending ?? null, saved: own.saved ?? null,
    deleted: line?.action === "delete", judged: line?.action === "right" || line?.action === "wrong" ? line.action : null,
  };
}

function edited(line, { start_ms: start = line.start_ms, end_ms: end = line.end_ms, participant = line.participant, ...value }) {
  return { ...line, start_ms: Math.round(start), end_ms: Math.round(end), participant, value: { ...line.value, ...value } };
}

const valueOf = (kind, row) => Object.fromEntries(FIELDS[kind].map((name) => [name, row[name] ?? null]));

function sameAsBefore({ kind, start_ms: start, end_ms: end, participant, value, before }) {
  return start === before.start_ms && end === before.end_ms && participant === before.participant
    && FIELDS[kind].every((name) => (value[name] ?? null) === (before[name] ?? null));
}

function read(storage) {
  try {
    const list = JSON.parse(localStorage.getItem(storage) ?? "[]");
    return Array.isArray(list) ? list : [];
  } catch {
    return [];
  }
}
