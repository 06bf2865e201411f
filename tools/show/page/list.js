// The list of sessions: filtered by an SQL condition, sorted by any figure, and "find me": a list of moments.
// The address after # holds filter, order and page, so that a list can be linked and the browser's back key works.
import { getJson, mediaUrl } from "./api.js";
import { clockText, figureText, make, plain, replace } from "./format.js";
import { personClass } from "./theme.js";

const PAGE_ROWS = 50;

export function openList(body, about, query) {
  document.title = "WanStreamer: sessions";
  replace(document.getElementById("title"), make("span", { class: "quiet" }, about.data ?? ""));
  const state = {
    where: query.get("where") ?? "",
    sort: query.get("sort") ?? "",
    desc: query.get("desc") === "1",
    find: query.get("find") ?? "",
    offset: Math.max(0, Number(query.get("offset")) || 0),
  };
  const go = (changes) => {
    const next = { ...state, offset: 0, ...changes };
    const filled = Object.entries(next).filter(([, value]) => value).map(([name, value]) => [name, value === true ? "1" : value]);
    location.hash = new URLSearchParams(filled).toString();
  };

  const count = make("p", { class: "count", role: "status" });
  const problem = make("p", { class: "problem", role: "alert", hidden: true });
  const results = make("div", { class: "results" }, make("p", { class: "loading" }, "Loading …"));
  replace(body, make("div", { class: "list" }, finds(about, state, go),
    make("section", { "aria-label": "Sessions" }, filter(about, state, go, problem), problem, count, results)));

  const stop = new AbortController();
  load(state, about, go, results, count, problem, stop.signal);
  const keys = (event) => listKeys(event, results, state, go);
  window.addEventListener("keydown", keys);
  return () => {
    stop.abort();
    window.removeEventListener("keydown", keys);
  };
}

function finds(about, state, go) {
  const entry = (id, label, sql) => make("li", {}, make("button", {
    type: "button", class: "find", "aria-current": state.find === id ? "true" : null, title: sql ?? "",
    onclick: () => go({ find: id, sort: "", desc: false }),
  }, label));
  return make("nav", { class: "finds", "aria-label": "Find me" },
    make("ul", {}, entry("", "All sessions")),
    make("h2", {}, "Find me"),
    make("ul", {}, ...(about.finds ?? []).map(({ id, label, sql }) => entry(id, label, sql))));
}

function filter(about, state, go, problem) {
  const input = make("input", {
    id: "where", type: "text", value: state.where, spellcheck: "false", autocomplete: "off", autocapitalize: "off",
    placeholder: "an SQL condition, such as interruptions > 3 AND overlap_share < 0.2", "aria-describedby": "where-help",
  });
  const columns = make("details", { class: "columns" }, make("summary", {}, "Columns"),
    make("dl", {}, ...(about.columns ?? []).flatMap(({ name, type, meaning }) => [
      make("dt", {}, make("button", { type: "button", class: "code", title: "Add to the condition",
        onclick: () => { input.value = `${input.value}${input.value ? " AND " : ""}${name} `; input.focus(); } }, name),
      " ", make("small", {}, type)),
      make("dd", {}, meaning ?? "")])));
  return make("form", { class: "filter", onsubmit: (event) => {
    event.preventDefault();
    problem.hidden = true;
    go({ where: input.value.trim() });
  } },
  make("label", { for: "where" }, "Where"), input, make("button", { type: "submit" }, "Filter"),
  state.where ? make("button", { type: "button", class: "quiet", onclick: () => go({ where: "" }) }, "Clear") : null,
  make("div", { class: "examples", id: "where-help" }, make("span", { class: "quiet" }, "Try"),
    ...(about.examples ?? []).map(({ label, where }) =>
      make("button", { type: "button", class: "chip", title: where, onclick: () => go({ where }) }, label)), columns));
}

async function load(state, about, go, results, count, problem, signal) {
  const page = { where: state.where, offset: state.offset, limit: PAGE_ROWS };
  try {
    const answer = state.find
      ? await getJson("/api/find", { find: state.find, ...page }, signal)
      : await getJson("/api/sessions", { sort: state.sort, desc: state.desc ? 1 : 0, ...page }, signal);
    const noun = state.find ? "moment" : "session";
    const last = Math.min(state.offset + PAGE_ROWS, answer.total);
    count.textContent = answer.total === 0
      ? `No ${noun} matches${state.where ? ` ${state.where}` : ""}.`
      : `${(state.offset + 1).toLocaleString("en")} to ${last.toLocaleString("en")} of ${answer.total.toLocaleString("en")} ${noun}${answer.total === 1 ? "" : "s"}`;
    const table = state.find ? moments(answer.rows) : sessions(answer.rows, about, state, go);
    replace(results, answer.total ? table : null, pages(state, answer.total, go));
  } catch (error) {
    if (error.name === "AbortError") return;
    problem.hidden = false;
    problem.textContent = error.message;
    count.textContent = "";
    replace(results);
  }
}

function sessions(rows, about, state, go) {
  const figures = about.figures ?? [];
  const sortable = (name, label, unit) => {
    const active = state.sort === name;
    const order = active ? (state.desc ? "descending" : "ascending") : null;
    return make("th", { scope: "col", "aria-sort": order, class: name === "session_id" ? null : "number" },
      make("button", { type: "button", onclick: () => go({ sort: name, desc: active ? !state.desc : name !== "session_id" }) },
        label, unit && unit !== "%" && unit !== "share" ? make("small", {}, ` ${unit}`) : null,
        make("span", { class: "arrow", "aria-hidden": "true" }, active ? (state.desc ? " ↓" : " ↑") : "")));
  };
  const link = (id) => `#${new URLSearchParams({ session: id })}`;
  return make("table", { class: "sessions" },
    make("thead", {}, make("tr", {}, make("th", { scope: "col" }, make("span", { class: "hidden" }, "Picture")),
      sortable("session_id", "Session"), ...figures.map(({ name, label, unit }) => sortable(name, label, unit)))),
    make("tbody", {}, ...rows.map((row) => make("tr", {},
      make("td", { class: "picture" }, make("a", { href: link(row.session_id), tabindex: "-1", "aria-hidden": "true" },
        make("img", { src: mediaUrl("thumbnail", { session: row.session_id }), alt: "", loading: "lazy", height: "54" }))),
      make("th", { scope: "row" }, make("a", { class: "row", href: link(row.session_id) }, row.session_id),
        make("div", { class: "people" }, ...(row.participants ?? []).map((person, place) =>
          make("span", { class: `person ${personClass(place)}`, title: person.why ?? "" }, person.participant,
            make("small", {}, ` ${person.speaker_id ?? ""}`), person.shown === false ? make("small", {}, " (not shown)") : null)))),
      ...figures.map((figure) => make("td", { class: "number" }, figureText(row[figure.name], figure)))))));
}

function moments(rows) {
  const link = (row) => `#${new URLSearchParams({ session: row.session_id, t: (row.start_ms / 1000).toFixed(3) })}`;
  return make("table", { class: "moments" },
    make("thead", {}, make("tr", {}, ...["Session", "At", "Who", "What", "Lasts", "Detail", "Confidence"].map((name) =>
      make("th", { scope: "col" }, name)))),
    make("tbody", {}, ...rows.map((row) => make("tr", {},
      make("td", {}, row.session_id),
      make("td", {}, make("a", { class: "row", href: link(row) }, clockText(row.start_ms, 2))),
      make("td", {}, row.participant ?? ""),
      make("td", {}, plain(row.label)),
      make("td", { class: "number" }, row.end_ms > row.start_ms ? `${(row.end_ms - row.start_ms).toLocaleString("en")} ms` : ""),
      make("td", {}, row.detail ?? ""),
      make("td", { class: "number" }, row.confidence == null ? "–" : row.confidence.toFixed(2))))));
}

function pages(state, total, go) {
  if (total <= PAGE_ROWS) return null;
  const step = (label, offset, possible) =>
    make("button", { type: "button", disabled: !possible, onclick: () => go({ offset }) }, label);
  const last = Math.floor((total - 1) / PAGE_ROWS) * PAGE_ROWS;
  const number = make("input", { type: "number", min: "1", max: String(last / PAGE_ROWS + 1),
    value: String(state.offset / PAGE_ROWS + 1), "aria-label": "Page",
    onchange: (event) => go({ offset: (Math.min(Math.max(1, Number(event.target.value) || 1), last / PAGE_ROWS + 1) - 1) * PAGE_ROWS }) });
  return make("nav", { class: "pages", "aria-label": "Pages" },
    step("First", 0, state.offset > 0),
    step("Previous", Math.max(0, state.offset - PAGE_ROWS), state.offset > 0),
    make("span", {}, number, ` of ${(last / PAGE_ROWS + 1).toLocaleString("en")}`),
    step("Next", state.offset + PAGE_ROWS, state.offset + PAGE_ROWS < total),
    step("Last", last, state.offset < last));
}

function listKeys(event, results, state, go) {
  if (event.target.closest("input, textarea, select") || event.ctrlKey || event.metaKey || event.altKey) return;
  const rows = [...results.querySelectorAll("a.row")];
  const at = rows.indexOf(document.activeElement);
  const steps = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1 };
  if (event.key in steps && rows.length) {
    event.preventDefault();
    rows[Math.min(Math.max(0, at + steps[event.key]), rows.length - 1)].focus();
  } else if (event.key === "/") {
    event.preventDefault();
    document.getElementById("where").focus();
  } else if (event.key === "t") {
    document.getElementById("theme").click();
  }
}
