"""An instant of a source or of a session -> all windows that hold it, in both role views.

A file may be the picture of one participant and the sound of another, each on its own clock. So one instant of a file
may be several moments of tracks, and each of these is listed.
"""

from collections.abc import Iterator
from math import floor
from pathlib import Path
from typing import Any

from pipelines.engine.tables import TableRow, check_data_folder, session_rows, table_folder
from tools.lineage.media import picture_clock, sound_clock
from tools.lineage.unit import session_of, source_place, sources_root
from tools.query import query
from wanstreamer.clock import FRAME_MS, unit_of_ms
from wanstreamer.errors import InputError


def windows_of_source(data: Path, file: str, at_s: float) -> dict[str, Any]:
    """All windows that hold an instant of a file.

    Args:
        file: As in the table `sources`, or a path to it; its name is enough, if no other source has it.
        at_s: Seconds from the start of the file, as players count them.

    Raises InputError if no track is made of the file.
    """
    uri = _uri(data, file)
    moments = [
        moment for origin in _origins(data, uri) for moment in _moments(data, origin, uri, at_s * 1000)
    ]  # fmt: skip
    return {"file": uri, "at_s": at_s, "moments": moments}


def windows_of_session(data: Path, session_id: str, at_s: float) -> dict[str, Any]:
    """All windows that hold an instant of a session, on the clock of its tracks. Raises InputError if it is unknown."""
    session = session_of(data, session_id)
    return {"session_id": session_id, "at_s": at_s, "moments": [_moment(data, session, {}, at_s * 1000)]}


def _moments(data: Path, origin: TableRow, uri: str, media_ms: float) -> Iterator[dict[str, Any]]:
    """The moments at which a track has an instant of a file: one for picture and sound, if they agree."""
    session = session_of(data, origin["session_id"])
    times: dict[float, list[str]] = {}
    if origin["video_uri"] == uri:
        times.setdefault(picture_clock(origin).time_ms(media_ms), []).append("picture")
    if origin["audio_uri"] == uri:
        times.setdefault(sound_clock(origin).time_ms(media_ms), []).append("sound")
    for time_ms, streams in times.items():
        yield _moment(data, session, {"participant": origin["participant"], "streams": streams}, time_ms)


def _moment(data: Path, session: TableRow, about: dict[str, Any], time_ms: float) -> dict[str, Any]:
    session_id = session["session_id"]
    moment: dict[str, Any] = {"session_id": session_id, **about, "time_ms": round(time_ms, 3), "windows": []}
    if not 0 <= time_ms < session["duration_ms"]:
        end = f"the tracks of {session_id} end at {session['duration_ms']} ms"
        return moment | {"outside": "before the tracks begin" if time_ms < 0 else end}
    unit = unit_of_ms(floor(time_ms))
    return moment | {
        "unit": unit,
        "track_frame": floor(time_ms) // FRAME_MS,
        "windows": [
            _place(row, unit, about.get("participant"))
            for row in _windows(data, session_id)
            if row["start_unit"] <= unit < row["start_unit"] + row["num_units"]
        ],
    }


def _windows(data: Path, session_id: str) -> list[TableRow]:
    if not table_folder(data, "windows").is_dir():
        return []
    return session_rows(data, "windows", session_id)


def _place(row: TableRow, unit: int, participant: str | None) -> dict[str, Any]:
    role = {row["agent"]: "agent", row["user"]: "user"}.get(participant or "")
    return {
        "window_id": row["window_id"],
        "unit": unit - row["start_unit"],
        "agent": row["agent"],
        "user": row["user"],
        "split": row["split"],
        **({} if participant is None else {"role": role}),
    }


def _uri(data: Path, file: str) -> str:
    """The file as the table `sources` names it."""
    check_data_folder(data)
    if not any(table_folder(data, "sources").glob("b=*.parquet")):
        raise InputError(
            f"{table_folder(data, 'sources')}: no such table yet; run the ingest stage first "
            f"(python -m pipelines.ingest --data {data})"
        )
    root, name = sources_root(source_place(data)), Path(file).name
    wanted = {file}
    if root is not None and Path(file).absolute().resolve().is_relative_to(root.resolve()):
        wanted.add(Path(file).absolute().resolve().relative_to(root.resolve()).as_posix())
    _, rows = query(
        data,
        "SELECT DISTINCT uri FROM (SELECT video_uri AS uri FROM sources UNION SELECT audio_uri FROM sources) "
        f"WHERE uri = {_quoted(name)} OR ends_with(uri, {_quoted('/' + name)}) ORDER BY uri",
    )
    known = [uri for (uri,) in rows]
    if exact := [uri for uri in known if uri in wanted]:
        return str(exact[0])
    if len(known) == 1 and file == name:
        return str(known[0])
    if known:
        raise InputError(f"--source {file}: no track is made of it; did you mean {' or '.join(known[:3])}?")
    raise InputError(
        f"--source {file}: no track is made of it; `python -m tools.query 'FROM sources'` lists the files of all tracks"
    )


def _origins(data: Path, uri: str) -> list[TableRow]:
    _, keys = query(
        data,
        "SELECT session_id, participant FROM sources "
        f"WHERE video_uri = {_quoted(uri)} OR audio_uri = {_quoted(uri)} ORDER BY session_id, participant",
    )
    return [
        row
        for session_id, participant in keys
        for row in session_rows(data, "sources", session_id)
        if row["participant"] == participant
    ]


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
