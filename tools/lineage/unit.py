"""A unit of a training window -> everything that it was made from.

    window (shard, bytes) -> latents (shard, member, VAE) -> track (frames, samples) -> source (frames, samples)

with the reasons for which streams are masked, what ingest repaired, and the fingerprint of each stage's work.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.engine.buckets import bucket_of
from pipelines.engine.remote import folder_at, is_remote_uri
from pipelines.engine.state import num_state_buckets, read_state
from pipelines.engine.tables import TableRow, check_data_folder, session_rows, table_folder
from pipelines.formats.tokenizer import load_tokenizer
from pipelines.ingest.stage import SOURCE_NOTE
from pipelines.pack.params import PackParams
from pipelines.pack.stage import TOKENIZER_PATH
from pipelines.sources.corrections import corrections_file
from tools.lineage.masks import Reasons, reasons
from tools.lineage.media import picture_source, sound_source
from wanstreamer.clock import FRAMES_PER_UNIT, samples_per_unit, unit_span
from wanstreamer.errors import InputError
from wanstreamer.text_files import parse_json
from wanstreamer.windows.index import Windows, open_windows
from wanstreamer.windows.manifest import LABELS, WINDOW_FORMAT
from wanstreamer.windows.shards import load_sample

ROLES = ("agent", "user")
MADE_BY = ("people", "ingest", "annotate", "encode", "pack")  # stages whose work on the session is in a window
REPAIRS = ("audio_filled_ms", "audio_cut_ms", "audio_cancel_ms", "video_held_ms", "clock_joins")


def trace_unit(
    data: Path, window_id: str, unit: int, *, params: PackParams | None = None, look: bool = True
) -> dict[str, Any]:
    """All that unit `unit` of a window was made from, as JSON can hold it.

    Times are in ms (those of a file from its start), ranges are half-open. `look`: read the packets of the sources, to
    name their frames. Words and speaker ids are null for people who have not agreed to `show`.

    Args:
        unit: Index in the window, from 0.
        params: Those of pack, for the reasons of masks.

    Raises InputError for an unknown window, a unit that it does not have, and a missing or damaged table or shard.
    """
    window = find_window(data, window_id)
    if not 0 <= unit < window["num_units"]:
        raise InputError(f"{window_id}: unit {unit}: expected 0 to {window['num_units'] - 1}, its index in the window")
    session_id, at = window["session_id"], window["start_unit"] + unit
    session = session_of(data, session_id)
    tracks, origins, latents, people = (
        _by_participant(data, table, session_id) for table in ("tracks", "sources", "latents", "people")
    )
    if not origins:
        raise InputError(f"{table_folder(data, 'sources')}: no rows of {session_id}; run the ingest stage again")
    sample, shard = _sample(data, window)
    view = window["agent"], window["user"]
    why = reasons(data, session, tracks, latents, view, at, params or PackParams())
    place = source_place(data)
    root = sources_root(place) if look else None
    roles = {}
    for role, who in zip(ROLES, view, strict=True):
        shown = "show" in (tracks[who]["consent"] or ())
        roles[role] = {
            "participant": who,
            "speaker_id": tracks[who]["speaker_id"] if shown else None,
            "consent": tracks[who]["consent"],
            "licence": tracks[who]["licence"],
            "video": {
                **_known(sample, why, role, "video", unit),
                "latents": _latents(latents[who], "video", at),
                "track": _track(tracks[who], "video", at),
                "source": picture_source(origins[who], tracks[who], people.get(who), root, at),
            },
            "audio": {
                **_known(sample, why, role, "audio", unit),
                "latents": _latents(latents[who], "audio", at),
                "track": _track(tracks[who], "audio", at),
                "source": sound_source(origins[who], tracks[who], root, at),
            },
            "text": {**_known(sample, why, role, "text", unit), **_text(data, sample, role, unit, shown)},
            "repairs": {name: tracks[who][name] for name in REPAIRS if tracks[who][name]},
            "clocks": {
                name: tracks[who][name] for name in ("camera_clock", "partner_clock") if tracks[who][name] is not None
            },
        }
    return {
        "window": {**{name: value for name, value in window.items() if "speaker_id" not in name}, **shard},
        "unit": unit,
        "session": {
            "session_id": session_id,
            "layout": session["layout"],
            "unit": at,
            "from_ms": unit_span(at).start_ms,
            "to_ms": unit_span(at).end_ms,
            "origin_ms": session["origin_ms"],
            "source_sha256": session["source_sha256"],
            "source": place,
            "corrections": _num_corrections(data, session_id),
        },
        "labels": {name: int(value) for name, value in zip(LABELS, sample["labels"][unit], strict=True)},
        "roles": roles,
        "uncertain_masks": why.uncertain,
        "made_by": _made_by(data, session_id),
        "versions": _versions(data, session_id),
    }


def find_window(data: Path, window_id: str) -> TableRow:
    """The row of a window in the table `windows`. Raises InputError if there is none."""
    check_data_folder(data)
    for session_id in _sessions_in(window_id):
        for row in session_rows(data, "windows", session_id):
            if row["window_id"] == window_id:
                return row
    raise InputError(
        f'{data}: no window {window_id}; `python -m tools.query "SELECT window_id FROM windows"` lists them'
    )


def session_of(data: Path, session_id: str) -> TableRow:
    """The row of a session. Raises InputError if there is none."""
    check_data_folder(data)
    rows = session_rows(data, "sessions", session_id)
    if not rows:
        raise InputError(f"{data}: no session {session_id}; `python -m tools.query 'FROM sessions'` lists them")
    return rows[0]


def _sessions_in(window_id: str) -> Iterable[str]:
    """The session of SESSION-AGENT-000016 or SESSION-AGENT-USER-000016: any part before a `-`, the longest first."""
    place = window_id.rfind("-", 0, max(0, window_id.rfind("-")))
    while place > 0:
        yield window_id[:place]
        place = window_id.rfind("-", 0, place)


def source_place(data: Path) -> str:
    """The folder or manifest that ingest read; empty if the data folder does not say."""
    note = data / "parts" / SOURCE_NOTE
    return str(parse_json(note.read_text(encoding="utf-8"), str(note))["source"]) if note.is_file() else ""


def sources_root(place: str) -> Path | None:
    """The folder that the paths of sources are relative to; None if it is not on this machine."""
    if not place or is_remote_uri(place):
        return None
    source = folder_at(place)
    root = source.parent if source.is_file() else source
    return root if root.is_dir() else None


def _by_participant(data: Path, table: str, session_id: str) -> dict[str, TableRow]:
    if table == "people":
        return {row["participant"]: row for row in _rows_if_any(data, table, session_id)}
    return {row["participant"]: row for row in session_rows(data, table, session_id)}


def _rows_if_any(data: Path, table: str, session_id: str) -> list[TableRow]:
    """The rows of a session in a table that may not be there."""
    there = any(table_folder(data, table).glob("b=*.parquet"))
    return session_rows(data, table, session_id) if there else []


def _sample(data: Path, window: TableRow) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The window's arrays, whose checksum is right, and what the manifest says about its shard."""
    windows: Windows = open_windows(data / "windows", window["split"])
    places = windows.rows.of_session(window["session_id"])
    ids = [row["window_id"] for row in windows.rows.take(places).select("window_id")]
    if window["window_id"] not in ids:
        raise InputError(f"{data / 'windows'}: {window['window_id']} is not in it; run the pack stage again")
    path = window["shard"].removeprefix("windows/")
    line = next(shard for shard in windows.manifest.shards if shard["path"] == path)
    sample = load_sample(windows, places[ids.index(window["window_id"])])
    return sample, {
        "shard_sha256": line["sha256"],
        "tokenizer_sha256": windows.manifest.tokenizer_sha256,
        "format": WINDOW_FORMAT,
    }


def _known(sample: Mapping[str, np.ndarray], why: Reasons, role: str, kind: str, unit: int) -> dict[str, Any]:
    return {"known": bool(sample[f"{role}_{kind}_known"][unit]), "masked_because": why.of[f"{role}_{kind}"]}


def _text(data: Path, sample: Mapping[str, np.ndarray], role: str, unit: int, shown: bool) -> dict[str, Any]:
    ids = [int(text_id) for text_id in sample[f"{role}_text"][unit]]
    tokenizer = data / TOKENIZER_PATH
    said = load_tokenizer(tokenizer).decode(ids) if shown and tokenizer.is_file() else None
    return {"ids": ids if shown else None, "said": said}


def _latents(row: TableRow, kind: str, unit: int) -> dict[str, Any] | None:
    if row[f"{kind}_member"] is None:
        return None
    return {
        "shard": row["shard"],
        "member": row[f"{kind}_member"],
        "row": unit,
        "sha256": row[f"{kind}_sha256"],
        "vae_sha256": row[f"{kind}_codec"],
    }


def _track(row: TableRow, kind: str, unit: int) -> dict[str, Any] | None:
    """The file of a track, and the frames or samples of the unit: first and end."""
    if row[f"{kind}_path"] is None:
        return None
    step = FRAMES_PER_UNIT if kind == "video" else samples_per_unit(row["rate_hz"])
    counted = "frames" if kind == "video" else "samples"
    about = {"size": [row["width"], row["height"]]} if kind == "video" else {"rate_hz": row["rate_hz"]}
    return {
        "file": row[f"{kind}_path"],
        "sha256": row[f"{kind}_sha256"],
        counted: [unit * step, (unit + 1) * step],
        **about,
    }


def _made_by(data: Path, session_id: str) -> dict[str, Any]:
    """Stage -> fingerprint of code, parameters and input content, and what it rejected of the session."""
    made = {}
    for stage in MADE_BY:
        num_buckets = num_state_buckets(data, stage)
        if not num_buckets:
            continue
        state = read_state(data, stage, bucket_of(session_id, num_buckets)).keys.get(session_id)
        if state is not None:
            rejected = [{"key": key, "reason": why, "times": count} for key, why, _, count in state.rejections]
            made[stage] = {"fingerprint": state.fingerprint, "rejected": rejected}
    return made


def _versions(data: Path, session_id: str) -> dict[str, Any]:
    """Of the turn rules, the detectors of speech and the origins of words."""
    origins = (("rules", "turns", "rule_version"), ("speech", "speech", "source"), ("words", "words", "source"))
    return {
        name: sorted({row[column] for row in _rows_if_any(data, table, session_id)}) for name, table, column in origins
    }


def _num_corrections(data: Path, session_id: str) -> int:
    """Lines that people wrote to correct the session."""
    path = corrections_file(data, session_id)
    if not path.is_file():
        return 0
    return sum(bool(line.strip()) for line in path.read_text(encoding="utf-8").splitlines())
