"""What the model sees of one unit: which streams are masked and why, and what is in the text slots.

Computed as pack does it, from the tables, so also where there are no windows yet; the parameters are those of the
windows, or else the defaults. A part whose tables are missing is null, with the reason.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.formats.tokenizer import BEGIN_ID, BLANK_ID, MISSING_ID, TextTokenizer, load_tokenizer
from pipelines.pack.params import ViewParams
from pipelines.pack.role_views import UnitRow, WordRow, make_view, role_pairs, view_masks
from tools.show.sessions import Session
from tools.show.tables import NotThere, has_table, session_rows
from wanstreamer.clock import UNIT_MS
from wanstreamer.errors import InputError

STREAMS = ("user_audio", "user_video", "user_text", "agent_audio", "agent_video", "agent_text")
NAMES = {BLANK_ID: "BLANK", MISSING_ID: "MISSING", BEGIN_ID: "BEGIN"}
WHY = {
    "missing": "there is none", "mixed": "several people are in the sound", "bleed": "another voice bleeds in",
    "not_visible": "the picture does not show the person", "unattributed": "whose voice it is, is not known",
    "misplaced": "the transcript's times do not fit the speech",
}  # fmt: skip


def describe_unit(session: Session, participant: str, unit: int) -> dict[str, Any]:
    """The unit for the page. Raises NotThere outside the session."""
    num_units = session.about["num_units"]
    if not 0 <= unit < num_units:
        raise NotThere(f"unit {unit}: session {session.session_id} has units 0 to {num_units - 1}")
    session.track(participant)
    start_ms, end_ms = unit * UNIT_MS, (unit + 1) * UNIT_MS
    rows = session_rows(session.data, "units", session.session_id, start_ms=start_ms, end_ms=end_ms)
    labels = next((row for row in rows if row["participant"] == participant), None)
    needed = [table for table in ("units", "latents", "words") if not has_table(session.data, table)]
    why = f"no {', '.join(needed)} yet: run the annotate and encode stages" if needed else None
    return {
        "unit": unit, "start_ms": start_ms, "end_ms": end_ms,
        "labels": labels and {name: labels[name] for name in labels if name not in ("session_id", "schema_version")},
        "views": [] if why else _views(session, participant, unit),
        "why": why,
    }  # fmt: skip


def _views(session: Session, participant: str, unit: int) -> list[dict[str, Any]]:
    data = session.data
    windows = session_rows(data, "windows", session.session_id, start_ms=unit * UNIT_MS, end_ms=(unit + 1) * UNIT_MS)
    tokenizer_path = data / "models" / "tokenizer.json"
    tokenizer = _tokenizer(tokenizer_path, tokenizer_path.stat().st_mtime_ns) if tokenizer_path.is_file() else None
    views = []
    for agent, user, streams, reasons, texts in _session_views(session, tokenizer):
        if participant not in (agent, user):
            continue
        view: dict[str, Any] = {"agent": agent, "user": user, "streams": []}
        for stream, known in zip(STREAMS, streams[:, unit].tolist(), strict=True):
            why = [reason for reason, units in reasons.items() if reason.startswith(f"{stream}_") and units[unit]]
            view["streams"].append(
                {"stream": stream, "known": known, "reasons": [_explained(stream, reason) for reason in why]}
            )
        for role, who in (("user", user), ("agent", agent)):
            text = texts.get(role)
            may_read = session.people[who].shown
            view[f"{role}_text"] = (
                _slots(text[unit], tokenizer) if text is not None and tokenizer and may_read else None
            )
        view["text_why"] = None if tokenizer else "no tokenizer yet: run the pack stage"
        view["windows"] = [row["window_id"] for row in windows if row["agent"] == agent and row["user"] == user]
        views.append(view)
    return views


View = tuple[str, str, np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray]]


def _session_views(session: Session, tokenizer: TextTokenizer | None) -> list[View]:
    """Per role view: agent, user, known (streams, units), reasons with their units, text slots by role."""
    versions = tuple(
        (session.data / "tables" / table).stat().st_mtime_ns for table in ("tracks", "units", "latents", "words")
    )
    return _made_views(session.data, session.session_id, versions, tokenizer)


@lru_cache(maxsize=4)  # moving through a session asks for one unit after the other
def _made_views(data: Path, session_id: str, versions: tuple[int, ...], tokenizer: TextTokenizer | None) -> list[View]:
    tracks = {row["participant"]: row for row in session_rows(data, "tracks", session_id)}
    spec: dict[str, Any] = {
        "num_units": session_rows(data, "sessions", session_id)[0]["num_units"],
        "tracks": tracks,
        "latents": {row["participant"]: row for row in session_rows(data, "latents", session_id)},
        "units": {who: [] for who in tracks},
        "words": {who: [] for who in tracks},
    }
    if missing := [who for who in tracks if who not in spec["latents"]]:
        raise InputError(f"session {session_id}: no latents of {', '.join(missing)}; run the encode stage again")
    for table, kind in (("units", UnitRow), ("words", WordRow)):
        columns = ["participant", *kind._fields]
        for row in session_rows(data, table, session_id, columns=columns):
            spec[table][row["participant"]].append([row[name] for name in kind._fields])
    if any(len(rows) != spec["num_units"] for rows in spec["units"].values()):
        raise InputError(f"session {session_id}: not all units are annotated; run the annotate stage again")
    params = _view_params(data)
    views: list[View] = []
    for agent, user in role_pairs(spec):
        masks = view_masks(spec, agent, user, params)
        hidden = [[mask for reason, mask in masks.items() if reason.startswith(f"{stream}_")] for stream in STREAMS]
        known = np.stack([~np.logical_or.reduce(own) for own in hidden])
        texts = {}
        if tokenizer is not None:
            view, _ = make_view(spec, agent, user, tokenizer, params)
            texts = {role: view[f"{role}_text"] for role in ("user", "agent")}
        views.append((agent, user, known, {reason: mask for reason, mask in masks.items() if mask.any()}, texts))
    return views


def _view_params(data: Path) -> ViewParams:
    """Slots and lead as in the windows' manifest, if there is one."""
    try:
        manifest: Mapping[str, Any] = json.loads((data / "windows" / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        manifest = {}
    names = ("text_slots", "text_lead_units", "max_bleed_db", "bleed_guard_units")
    return ViewParams(**{name: manifest[name] for name in names if name in manifest})


@lru_cache(maxsize=2)
def _tokenizer(path: Path, version: int) -> TextTokenizer:
    return load_tokenizer(path)


def _explained(stream: str, reason: str) -> str:
    short = reason.removeprefix(f"{stream}_")
    return f"{short}: {WHY[short]}" if short in WHY else short


def _slots(ids: np.ndarray, tokenizer: TextTokenizer) -> list[dict[str, Any]]:
    return [{"id": each, "token": NAMES.get(each) or tokenizer.decode([each])} for each in ids.tolist()]
