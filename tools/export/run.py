"""Writes an export: session by session, each as a whole or not at all, then the files over all sessions."""

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from pipelines.engine.errors import check_writable
from pipelines.engine.files import file_sha256, write_bytes_atomic, write_json_atomic
from pipelines.engine.forgotten import speaker_hash
from pipelines.engine.jobs import Rejected
from pipelines.engine.lock import folder_lock
from pipelines.engine.progress import progress
from pipelines.engine.tables import check_data_folder
from tools.export.folder import (
    ABOUT,
    LAYOUT_VERSION,
    Note,
    check_out,
    check_space,
    clear_unfinished,
    drop_session,
    files_below,
    is_complete,
    move_in_place,
    notes,
    read_note,
    unfinished_folder,
    write_note,
    write_shared_files,
)
from tools.export.form import Choices, Finished, Format, Piece, Shared
from tools.export.people import LeftOut, chosen_sessions
from tools.export.record import (
    LOCK,
    append,
    export_line,
    exports_of,
    file_line,
    handed_line,
    removed_line,
    session_line,
    shared_files,
)
from tools.export.session import read_session
from wanstreamer.errors import InputError


@dataclass(kw_only=True)
class Report:
    """What an export did."""

    written: int = 0  # sessions
    unchanged: int = 0  # sessions that were there already
    removed: int = 0  # sessions of an earlier run that may not be there any more, or were not chosen
    left_out: list[LeftOut] = field(default_factory=list)
    not_held: Counter[str] = field(default_factory=Counter)
    left_out_file: Path | None = None


def export(data: Path, form: Format, out: Path, choices: Choices, *, handed_to: str = "") -> Report:
    """Write the export, or finish it. Everything in it is as if it had been written at once.

    Raises InputError before anything is written: if `out` holds something else, the disk is too small, a table is
    missing, or no session may be exported.
    """
    check_data_folder(data)
    about = {"format": form.name, "layout_version": LAYOUT_VERSION, "choices": choices.as_json()}
    check_out(out, data, about)
    check_writable(out, "--out")
    check_writable(data)
    with folder_lock(data.resolve(), LOCK):
        report = Report()
        shared, finished_bytes, num_bytes = _look(data, form, out, choices, report)
        check_space(out, num_bytes, finished_bytes)
        if (out / ABOUT).is_file() and str(out.resolve()) not in exports_of(data):
            raise InputError(
                f"--out {out}: holds an export of another data folder, or one that was moved; name another folder"
            )
        append(data, [export_line(out, form.name)])
        out.mkdir(parents=True, exist_ok=True)
        write_json_atomic(out / ABOUT, about)
        clear_unfinished(out)
        _write_sessions(data, form, out, choices, shared, report)
        _remove_others(data, out, shared - {each.session_id for each in report.left_out}, report)
        write_all_over(data, form, out, choices, report)
        if handed_to:
            append(data, [handed_line(out, handed_to)])
        _write_left_out(data, out, report)
    return report


def _look(data: Path, form: Format, out: Path, choices: Choices, report: Report) -> tuple[set[str], int, int]:
    """The ids of the sessions to export; the bytes of those that are there, and of all."""
    shared: set[str] = set()
    finished_bytes = num_bytes = 0
    for each in chosen_sessions(data, form, choices):
        if isinstance(each, LeftOut):
            report.left_out.append(each)
            continue
        shared.add(each.session_id)
        num_bytes += form.num_bytes(data, each.tracks)
        note = read_note(out, each.session_id)
        finished_bytes += sum(note.num_bytes.values()) if note else 0
    if not shared:
        reasons = ", ".join(f"{count} {reason}" for reason, count in Counter(x.reason for x in report.left_out).items())
        raise InputError(
            f"{data}: no session may be exported ({reasons or 'none was chosen'}); people agree to it in the column "
            "consent of a manifest (docs/people.md#consent)"
        )
    return shared, finished_bytes, num_bytes


def _current(data: Path, form: Format, choices: Choices) -> Iterator[Shared]:
    return (each for each in chosen_sessions(data, form, choices) if isinstance(each, Shared))


def _write_sessions(data: Path, form: Format, out: Path, choices: Choices, shared: set[str], report: Report) -> None:
    if form.write_session is None:
        return
    with progress(len(shared), f"export {form.name}") as advance:
        for each in _current(data, form, choices):
            note = read_note(out, each.session_id)
            if note is not None and note.fingerprint == each.fingerprint and is_complete(out, note):
                report.unchanged += 1
            else:
                try:
                    _write_session(data, form, out, choices, each, note)
                    report.written += 1
                except Rejected as rejected:
                    report.left_out.append(
                        LeftOut(session_id=each.session_id, reason=rejected.reason, detail=rejected.detail)
                    )
            advance()


def _write_session(data: Path, form: Format, out: Path, choices: Choices, each: Shared, before: Note | None) -> None:
    assert form.write_session is not None
    folder = unfinished_folder(out) / each.session_id
    folder.mkdir(parents=True)
    try:
        piece: Piece = form.write_session(read_session(data, each.session_id), folder, choices)
        names = files_below(folder)
        speakers = sorted(speaker_hash(speaker_id) for speaker_id in each.speaker_ids)
        note = Note(
            session_id=each.session_id,
            fingerprint=each.fingerprint,
            speakers=speakers,
            files={name: file_sha256(folder / name) for name in names},
            num_bytes={name: (folder / name).stat().st_size for name in names},
            lines=piece.lines,
            not_held=dict(sorted((+piece.not_held).items())),
        )
        append(
            data,
            [file_line(out, name, note.files[name], note.num_bytes[name], each.session_id, speakers) for name in names],
        )
        if before is not None:
            _drop(data, out, before, frozenset(names))
        move_in_place(out, each.session_id, names)
        write_note(out, note)
    finally:
        with suppress(FileNotFoundError):
            shutil.rmtree(folder)


def _drop(data: Path, out: Path, note: Note, but: frozenset[str] = frozenset()) -> None:
    drop_session(out, note, but)
    append(data, [removed_line(out, name) for name in note.files if name not in but])


def _remove_others(data: Path, out: Path, shared: set[str], report: Report) -> None:
    """Sessions of an earlier run that are not exported now, for example as someone's consent has changed."""
    others = [note.session_id for note in notes(out) if note.session_id not in shared]
    for session_id in others:
        if note := read_note(out, session_id):
            _drop(data, out, note)
            report.removed += 1


def write_all_over(data: Path, form: Format, out: Path, choices: Choices, report: Report) -> None:
    """Write the files over all sessions, and name them in the record."""
    finished = Finished()
    if form.finish is not None:
        if form.write_session is None:
            _note_sessions(data, form, out, choices, report)
        finished = form.finish(data, out, _current(data, form, choices), choices)
    names, report.not_held = write_shared_files(out, finished.not_held)
    name_shared_files(data, out, [ABOUT, *names, *finished.files])
    clear_unfinished(out)


def _note_sessions(data: Path, form: Format, out: Path, choices: Choices, report: Report) -> None:
    """For a format whose files hold many sessions: notes that name the sessions and people in it."""
    for each in _current(data, form, choices):
        note = read_note(out, each.session_id)
        if note is not None and note.fingerprint == each.fingerprint:
            report.unchanged += 1
            continue
        speakers = sorted(speaker_hash(speaker_id) for speaker_id in each.speaker_ids)
        append(data, [session_line(out, each.session_id, speakers)])
        write_note(
            out,
            Note(session_id=each.session_id, fingerprint=each.fingerprint, speakers=speakers, files={}, num_bytes={}),
        )
        report.written += 1


def name_shared_files(data: Path, out: Path, names: list[str]) -> None:
    """Add the files over all sessions to the record, and that others are not there any more."""
    append(data, [removed_line(out, name) for name in sorted(shared_files(data, out) - set(names))])
    append(
        data,
        [file_line(out, name, file_sha256(out / name), (out / name).stat().st_size, None, ()) for name in names],
    )


def left_out_file(data: Path, out: Path) -> Path:
    """The list of the sessions that are not in an export. It is in the data folder, as it names people's sessions."""
    return data / "exports" / f"left_out-{sha256(str(out.resolve()).encode()).hexdigest()[:12]}.jsonl"


def _write_left_out(data: Path, out: Path, report: Report) -> None:
    path = left_out_file(data, out)
    report.left_out_file = path if report.left_out else None
    if not report.left_out:
        path.unlink(missing_ok=True)
        return
    about = [{**vars(each), "export": str(out.resolve())} for each in report.left_out]
    about.sort(key=lambda each: each["session_id"])
    write_bytes_atomic(path, "".join(json.dumps(each, sort_keys=True) + "\n" for each in about).encode())
