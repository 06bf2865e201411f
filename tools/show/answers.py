"""Answers in JSON: the list, the queries, one session."""

import time
from collections.abc import Callable
from importlib.metadata import version

from aiohttp import web

from tools.show.asked import NotShown, Viewer, as_json, number, text
from tools.show.catalog import ABOUT, figures_of, finds_of
from tools.show.consent import BANNER
from tools.show.decoded import why_not_decoded
from tools.show.edits import read_edits
from tools.show.finds import EXAMPLES
from tools.show.runs import read_run, run_rows
from tools.show.sessions import Session
from tools.show.units import describe_unit
from wanstreamer.errors import InputError
from wanstreamer.turns import RULE_VERSION

KINDS = {
    "backchannel": {"labels": ["lexical", "acoustic"], "outcomes": {}},
    "state": {"labels": ["pause", "gap", "latch", "overlap_within", "overlap_between", "boundary_ambiguous"],
              "outcomes": {}},
    "transition": {
        "labels": ["simultaneous_start", "initiation", "hold", "smooth_shift", "pause_interruption", "terminal_overlap",
                   "interruption"],
        "outcomes": {"interruption": ["floor_taking", "failed", "both_stop"],
                     "simultaneous_start": ["goes_on", "gives_way", "both_stop"]},
    },
    "non_speech": {"labels": ["laughter", "breath", "vocal_noise", "noise", "bleed"], "outcomes": {}},
}  # fmt: skip


def about(viewer: Viewer, request: web.Request) -> web.Response:
    now = viewer.catalog.snapshot()
    figures = figures_of(now)
    meanings = ABOUT | {
        figure.name: f"{figure.label}{f' ({figure.unit})' if figure.unit else ''}" for figure in figures
    }
    return as_json(
        {
            "data": str(viewer.data),
            "version": version("wanstreamer"),
            "num_sessions": now.num_sessions,
            "num_hidden": now.num_hidden,
            "shared": viewer.strict,
            "banner": BANNER if now.num_unknown else None,
            "rule_version": RULE_VERSION,
            "columns": [
                {"name": name, "type": kind, "meaning": meanings.get(name, name.replace("_", " "))}
                for name, kind in now.columns
            ],
            "views": now.views,
            "figures": [figure._asdict() for figure in figures],
            "examples": [{"label": label, "where": where} for label, where in EXAMPLES],
            "finds": [{"id": find.id, "label": find.label, "sql": find.sql.strip()} for find in finds_of(now.views)],
            "kinds": KINDS,
        }
    )


def sessions(viewer: Viewer, request: web.Request) -> web.Response:
    began_s = time.monotonic()
    total, rows = viewer.catalog.sessions(
        where=text(request, "where", ""), sort=text(request, "sort", "") or "session_id",
        desc=bool(number(request, "desc", 0)), offset=number(request, "offset", 0), limit=number(request, "limit", 100),
    )  # fmt: skip
    people = viewer.catalog.people([row["session_id"] for row in rows])
    for row in rows:
        row["participants"] = people.get(row["session_id"], [])
    return as_json({"total": total, "rows": rows, "ms": round(1000 * (time.monotonic() - began_s))})


def find(viewer: Viewer, request: web.Request) -> web.Response:
    total, rows = viewer.catalog.find(
        text(request, "find"), where=text(request, "where", ""), offset=number(request, "offset", 0),
        limit=number(request, "limit", 100),
    )  # fmt: skip
    return as_json({"total": total, "rows": rows})


def session(viewer: Viewer, request: web.Request) -> web.Response:
    return as_json(viewer.session(request).described())


def rows(viewer: Viewer, request: web.Request) -> web.Response:
    tables = [name for name in text(request, "tables").split(",") if name]
    own = viewer.session(request)
    end_ms = number(request, "end_ms", own.duration_ms)
    return as_json(own.rows(tables, number(request, "start_ms", 0), end_ms))


def next_event(viewer: Viewer, request: web.Request) -> web.Response:
    wanted = {name: text(request, name, "") for name in ("kind", "label", "outcome", "participant")}
    direction = text(request, "direction", "next")
    if direction not in ("next", "previous"):
        raise InputError(f"direction {direction!r}: expected next or previous")
    own = viewer.session(request)
    own.about  # noqa: B018  # raises for an unknown session
    event = own.next_event(number(request, "from_ms"), forward=direction == "next", wanted=wanted)
    return as_json({"event": event})


def unit(viewer: Viewer, request: web.Request) -> web.Response:
    own, participant = viewer.session(request), text(request, "participant")
    described = describe_unit(own, participant, number(request, "unit"))
    if own.people[participant].shown:
        decoded = why_not_decoded(own, participant)
    else:
        decoded = {"video": False, "audio": False, "why": own.people[participant].why}
    return as_json(described | {"decoded": decoded})


def run(viewer: Viewer, request: web.Request) -> web.Response:
    own, name = viewer.session(request), text(request, "run")
    check_run_shown(own, name)
    end_ms = number(request, "end_ms", own.duration_ms)
    return as_json(run_rows(own.data, own.session_id, name, number(request, "start_ms", 0), end_ms))


def edits(viewer: Viewer, request: web.Request) -> web.Response:
    own = viewer.session(request)
    own.about  # noqa: B018  # raises for an unknown session
    return as_json(read_edits(own))


def check_run_shown(own: Session, run: str) -> None:
    """A model that stood for a person looks and sounds like that person."""
    agent = read_run(own.data, own.session_id, run)["participant"]
    if not own.is_shown(agent):
        raise NotShown(f"run {run} of {own.session_id}: the model stands for {agent}, who is not shown")


READS: dict[str, Callable[[Viewer, web.Request], web.Response]] = {
    "/api/about": about, "/api/sessions": sessions, "/api/find": find, "/api/session": session, "/api/rows": rows,
    "/api/next": next_event, "/api/unit": unit, "/api/run": run, "/api/corrections": edits,
}  # fmt: skip
