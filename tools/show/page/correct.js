// The panel that shows what is selected, corrects it, and lists the corrections that are not sent or not applied.
import { author, setAuthor } from "./edits.js";
import { clockText, eventTitle, make, plain, replace } from "./format.js";
import { personClass } from "./theme.js";

const NAMES = { word: "word", speech: "speech", event: "event" };

/** Draws the selection into `box`. `choice` is {kind, item} or null; `actions` are those of session.js. */
export function drawSelection(box, choice, { session, about, edits, range, actions }) {
  if (!choice) {
    replace(box, make("p", { class: "hint" }, "Click an event, a word or speech on the timeline, or press ", make("kbd", {}, "e"),
      " for the event nearest to the time."), adder(session, about, range, actions));
    return;
  }
  const { kind, item } = choice;
  const { row } = item;
  const place = session.participants.findIndex(({ participant }) => participant === row.participant);
  const title = kind === "event" ? eventTitle(row) : kind === "word" ? `“${row.word}”` : "speech";
  replace(box,
    make("h3", {}, make("span", { class: `person ${personClass(Math.max(0, place))}` }, row.participant || "all"), " ", title),
    facts(row, kind, item.before),
    item.deleted ? make("p", { class: "note pending" }, "Deleted by a correction.") : null,
    item.judged ? make("p", { class: "note pending" }, `Marked ${item.judged}.`) : null,
    item.saved && !item.pending ? make("p", { class: "note saved" }, "Saved, not applied yet: annotate has not run since.") : null,
    form(choice, session, about, actions),
    make("div", { class: "buttons" },
      make("button", { type: "button", class: "right", title: "r", onclick: () => actions.judge("right") }, "✓ Right"),
      make("button", { type: "button", class: "wrong", title: "w", onclick: () => actions.judge("wrong") }, "✗ Wrong"),
      make("button", { type: "button", title: "Del", onclick: actions.remove }, "Delete"),
      make("button", { type: "button", title: "z", class: "quiet", onclick: actions.zoomTo }, "Zoom")));
}

function facts(row, kind, before) {
  const entries = [["from", clockText(row.start_ms, 3)], ["to", clockText(row.end_ms, 3)], ["lasts", `${row.end_ms - row.start_ms} ms`]];
  if (row.other) entries.push(["other", row.other]);
  if (row.fto_ms !== null && row.fto_ms !== undefined) entries.push(["floor transfer offset", `${row.fto_ms} ms`]);
  if (row.yield_ms !== null && row.yield_ms !== undefined) entries.push(["yields after", `${row.yield_ms} ms`]);
  if (row.source) entries.push(["source", row.source]);
  if (row.confidence !== null && row.confidence !== undefined && before) entries.push(["confidence", row.confidence.toFixed(2)]);
  if (kind === "word" && row.over_silence) entries.push(["over silence", "yes"]);
  return make("dl", { class: "facts" }, ...entries.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
}

const choices = (values, chosen, empty) => [
  ...(empty === undefined ? [] : [make("option", { value: "" }, empty)]),
  ...[...new Set([...values, ...(chosen ? [chosen] : [])])].map((value) => make("option", { value, selected: value === chosen }, plain(value))),
];

/** Fields of the selection; each change is a pending correction at once. */
function form({ kind, item }, session, about, { change, moveEdge }) {
  const { row } = item;
  const number = (name, label) => make("label", {}, label, make("input", { type: "number", name, step: "10", min: "0", max: String(session.duration_ms),
    value: String(row[name]), onchange: (event) => moveEdge(name, Number(event.target.value)) }));
  const select = (name, label, values, empty) => make("label", {}, label, make("select", { name,
    onchange: (event) => change({ [name]: event.target.value || null }) }, ...choices(values, row[name], empty)));
  const known = about.kinds?.[row.kind] ?? { labels: [], outcomes: {} };
  const people = session.participants.map(({ participant }) => participant);
  const isInstant = row.start_ms === row.end_ms;
  const fields = isInstant ? [number("start_ms", "at, ms")] : [number("start_ms", "start, ms"), number("end_ms", "end, ms")];
  // An outcome belongs to its label: interruption and simultaneous start have different ones, the others none.
  const relabel = (label) => change({ label, ...(known.outcomes?.[label]?.includes(row.outcome) ? {} : { outcome: null }) });
  if (kind === "word") fields.unshift(make("label", { class: "wide" }, "word", make("input", { type: "text", name: "word", value: row.word ?? "", spellcheck: "false",
    onchange: (event) => change({ word: event.target.value.trim() }) })));
  if (kind === "event") {
    fields.push(make("label", {}, "label", make("select", { name: "label", onchange: (event) => relabel(event.target.value) },
      ...choices(known.labels, row.label))));
    if (known.outcomes?.[row.label]) fields.push(select("outcome", "outcome", known.outcomes[row.label], "not known"));
    fields.push(select("other", "other", people.filter((each) => each !== row.participant), "none"));
  }
  if (!item.before) fields.push(select("participant", "participant", people));
  return make("form", { class: "fields", onsubmit: (event) => event.preventDefault() }, ...fields);
}

/** Something new at the marked range, or at the time. */
function adder(session, about, range, { add }) {
  const what = make("select", { "aria-label": "What to add", id: "add-what" },
    ...Object.entries(about.kinds ?? {}).map(([kind, { labels }]) => make("optgroup", { label: plain(kind) },
      ...labels.map((label) => make("option", { value: `event ${kind} ${label}` }, plain(label))))),
    make("optgroup", { label: "others" }, make("option", { value: "speech", selected: true }, "speech"), make("option", { value: "word" }, "word")));
  const who = make("select", { "aria-label": "Of whom" }, ...session.participants.map(({ participant }) => make("option", { value: participant }, participant)));
  const place = range ? `${clockText(range.start_ms, 2)} to ${clockText(range.end_ms, 2)}` : "here (Shift + drag marks a range)";
  return make("form", { class: "adder", onsubmit: (event) => { event.preventDefault(); add(what.value, who.value); } },
    make("span", {}, "Add"), what, make("span", {}, "of"), who, make("button", { type: "submit", title: "a" }, "Add"),
    make("small", { class: "quiet" }, place));
}

export function describe(line) {
  const what = line.kind === "event" ? plain(line.value?.label ?? line.before?.label) : line.kind === "word" ? `“${line.value?.word ?? line.before?.word ?? ""}”` : "speech";
  const from = line.before;
  const changes = [];
  if (line.action === "change" && from) {
    for (const name of ["start_ms", "end_ms"]) if (line[name] !== from[name]) changes.push(`${name.slice(0, -3)} ${line[name] - from[name] > 0 ? "+" : "−"}${Math.abs(line[name] - from[name])} ms`);
    for (const [name, value] of Object.entries(line.value ?? {})) if ((value ?? null) !== (from[name] ?? null)) changes.push(`${plain(name)}: ${plain(from[name]) || "none"} → ${plain(value) || "none"}`);
  }
  return `${{ add: "add", change: "change", delete: "delete", right: "right:", wrong: "wrong:" }[line.action] ?? line.action} ${what}${changes.length ? ` (${changes.join(", ")})` : ""}`;
}

/** Corrections: those to send, with who one is; then those that are saved, and what to run next. */
export function drawCorrections(box, { edits, problem, sending, actions }) {
  const entry = (line, own) => make("li", { class: own ? "pending" : line.applied === true ? "applied" : "saved" },
    make("button", { type: "button", class: "link", onclick: () => actions.goTo(line.start_ms, line) }, clockText(line.start_ms, 1)),
    make("span", {}, `${line.participant ?? ""} ${describe(line)}`),
    own ? make("button", { type: "button", class: "icon", "aria-label": `Undo: ${describe(line)}`, title: "Undo", onclick: () => edits.drop(line.id) }, "×")
      : make("small", {}, `${line.by ?? ""}${line.applied === true ? ", applied" : line.applied === false ? ", not applied yet" : ""}`),
    line.note ? make("small", { class: "problem" }, line.note) : null);
  const name = make("input", { type: "text", id: "author", value: author(), autocomplete: "name", placeholder: "name or initials", required: true, maxlength: "80",
    onchange: (event) => setAuthor(event.target.value) });
  const { pending } = edits;
  const saved = edits.lines.toReversed();
  replace(box,
    make("form", { class: "send", onsubmit: (event) => { event.preventDefault(); setAuthor(name.value); actions.send(); } },
      make("label", { for: "author" }, "Corrected by"), name,
      make("button", { type: "submit", class: "primary", disabled: !pending.length || sending, title: "Ctrl Enter" },
        pending.length ? `Send ${pending.length} correction${pending.length === 1 ? "" : "s"}` : "Nothing to send"),
      edits.canUndo ? make("button", { type: "button", class: "quiet", title: "Ctrl Z", onclick: edits.undo }, "Undo") : null),
    problem ? make("p", { class: "problem", role: "alert" }, problem) : null,
    pending.length ? make("h3", {}, "Not sent: kept in this browser") : null,
    pending.length ? make("ol", { class: "lines" }, ...pending.map((line) => entry(line, true))) : null,
    edits.next ? make("div", { class: "next" }, make("p", {}, edits.next.why ?? "To apply what is saved, run:"),
      make("code", {}, edits.next.command), make("button", { type: "button", onclick: () => actions.copy(edits.next.command) }, "Copy"),
      make("button", { type: "button", class: "quiet", title: "Read the tables again", onclick: actions.reload }, "I have run it")) : null,
    saved.length ? make("h3", {}, "Saved") : null,
    saved.length ? make("ol", { class: "lines" }, ...saved.slice(0, 200).map((line) => entry(line, false))) : null,
    saved.length > 200 ? make("p", { class: "quiet" }, `${saved.length - 200} earlier ones are in the file.`) : null,
    pending.length || saved.length ? null : make("p", { class: "hint" }, `No corrections yet. Select an ${Object.values(NAMES).at(-1)}, a word or speech; every change waits here until you send it.`));
}
