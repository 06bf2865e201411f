// Which page is shown: the address after # says it, so that a link opens exactly there.
//   #where=...&sort=...&find=...   the list of sessions, or of moments
//   #session=ID&t=75.32            a session at 75.32 s; `&run=` adds a model's run, `&show=a` a voice alone
import { getJson, ServerError } from "./api.js";
import { make, replace } from "./format.js";
import { openList } from "./list.js";
import { openSession } from "./session.js";
import { applyTheme, nextTheme } from "./theme.js";

const body = document.getElementById("page");
let about = null;
let close = () => {};
let shownSession = null;

async function route() {
  const query = new URLSearchParams(location.hash.slice(1));
  const session = query.get("session");
  if (session !== null && shownSession?.id === session) {
    shownSession.goTo(query);
    return;
  }
  close();
  close = () => {};
  shownSession = null;
  replace(body, make("p", { class: "loading", role: "status" }, "Loading …"));
  try {
    about ??= await getJson("/api/about");
    showBanner(about.banner);
    if (session === null) {
      close = openList(body, about, query);
    } else {
      const opened = await openSession(body, about, session, query);
      shownSession = opened;
      close = opened.close;
    }
  } catch (error) {
    showFailure(error);
  }
}

function showFailure(error) {
  const back = make("a", { href: "#", class: "button" }, "All sessions");
  replace(body, make("div", { class: "failure", role: "alert" }, make("p", {}, error.message), back));
  if (!(error instanceof ServerError)) console.error(error);
}

function showBanner(text) {
  const banner = document.getElementById("banner");
  banner.hidden = !text;
  banner.textContent = text ?? "";
}

document.getElementById("theme").addEventListener("click", nextTheme);
applyTheme();
window.addEventListener("hashchange", route);
route();
