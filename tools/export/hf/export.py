"""The format `hf`: bucket by bucket, then the lists of the windows, the dataset card and the Croissant description."""

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipelines.engine.buckets import bucket_of, buckets_for
from pipelines.engine.files import file_sha256, hash_of, write_bytes_atomic, write_json_atomic
from pipelines.engine.progress import progress
from pipelines.engine.tables import bucket_tables, table_files
from pipelines.pack.index import SessionDigest, write_lists
from schemas import TABLES
from tools.export.folder import HIDDEN
from tools.export.form import Choices, Finished, Format, Shared
from tools.export.hf.bucket import (
    BucketNote,
    bucket_notes,
    exported_pieces,
    is_complete,
    note_path,
    read_note,
    run_lines,
    sessions_of,
    shard_lines,
    table_pieces,
    write_bucket,
)
from tools.export.hf.card import card, windows_card
from tools.export.hf.croissant import croissant
from tools.export.hf.drawing import drawing
from tools.export.hf.figures import read_figures
from tools.export.hf.what import COLUMNS_LEFT_OUT, NOT_USABLE, TABLES_LEFT_OUT, TABLES_OUT, WINDOWS_CONFIG
from tools.export.people import LeftOut, chosen_sessions
from tools.query import query
from wanstreamer.errors import InputError

ROW_BYTES_PER_UNIT = 100  # of all tables together
LISTS = ("windows/manifest.json", "windows/runs.arrow")
WINDOWS_CARD = "windows/README.md"
REJECTIONS = "SELECT stage, reason, count(DISTINCT key) AS keys FROM rejections GROUP BY ALL ORDER BY ALL"


def num_bytes(data: Path, tracks: Sequence[Mapping[str, Any]]) -> int:
    """About the size of a session: its rows, and windows in every role view that overlap by half."""
    per_unit = 2 * _window_bytes_per_unit(data / "windows" / "manifest.json") + ROW_BYTES_PER_UNIT
    return sum(int(track["num_units"] * per_unit) for track in tracks)


@lru_cache(maxsize=4)
def _window_bytes_per_unit(manifest: Path) -> float:
    """Of the windows in a data folder; 0 without windows."""
    if not manifest.is_file():
        return 0.0
    about = json.loads(manifest.read_text())
    num_units = about["window_units"] * sum(shard["num_windows"] for shard in about["shards"])
    return float(sum(shard["num_bytes"] for shard in about["shards"]) / num_units)


def finish(data: Path, out: Path, shared: Iterable[Shared], choices: Choices) -> Finished:
    """Write the buckets that are missing or have changed, and what is over all of them."""
    chosen = {each.session_id: (each.split, each.fingerprint) for each in shared}
    poor = _not_usable(data) & chosen.keys()
    chosen = {session: about for session, about in chosen.items() if session not in poor}
    if not chosen:
        raise InputError(f"{data}: no session may be exported ({len(poor)} not_usable); see the table quality")
    num_buckets = max(buckets_for(len(chosen)), len(table_files(data, "tracks")))
    if _num_buckets(out) not in (None, num_buckets):  # the corpus has grown: sessions are in other buckets
        for name in ("tables", "windows", f"{HIDDEN}/hf"):
            shutil.rmtree(out / name, ignore_errors=True)
    write_json_atomic(out / HIDDEN / "hf" / "buckets.json", {"num_buckets": num_buckets})
    buckets: list[dict[str, tuple[str, str]]] = [{} for _ in range(num_buckets)]
    for session, about in chosen.items():
        buckets[bucket_of(session, num_buckets)][session] = about
    with progress(num_buckets, "export hf") as advance:
        for bucket, sessions in enumerate(buckets):
            note = read_note(out, bucket)
            wanted = {session: fingerprint for session, (_, fingerprint) in sessions.items()}
            if note is None or note.sessions != wanted or not is_complete(out, note):
                write_bucket(out, bucket, sessions, table_pieces(data, bucket, num_buckets), data)
            advance()
    manifest = data / "windows" / "manifest.json"
    _write_lists(out, json.loads(manifest.read_text()) if manifest.is_file() else None)
    _write_facts(data, out, choices, len(poor))
    return _write_over_all(out)


def remove(out: Path, sessions: frozenset[str]) -> Finished:
    """Write the buckets of these sessions without them, and everything over all buckets again."""
    num_buckets = _num_buckets(out)
    if num_buckets is None:
        return Finished()
    for bucket in sorted({bucket_of(session, num_buckets) for session in sessions}):
        note = read_note(out, bucket) or BucketNote(sessions={})
        own = sessions_of(out, bucket)
        if not sessions & (set(own) | set(note.sessions)):
            continue
        # Of a bucket that was not finished, the next export writes all: no fingerprint is empty.
        left = {session: (split, note.sessions.get(session, "")) for session, split in own.items()}
        left = {session: about for session, about in left.items() if session not in sessions}
        damaged = {session: count for session, count in note.damaged.items() if session in left}
        again = write_bucket(out, bucket, left, exported_pieces(out, bucket), out)
        again.sessions |= {key: value for key, value in note.sessions.items() if key not in sessions}
        again.damaged |= damaged
        write_json_atomic(note_path(out, bucket), vars(again))
    manifest = out / "windows" / "manifest.json"
    _write_lists(out, json.loads(manifest.read_text()) if manifest.is_file() else None)
    return _write_over_all(out)


def _num_buckets(out: Path) -> int | None:
    try:
        return int(json.loads((out / HIDDEN / "hf" / "buckets.json").read_text())["num_buckets"])
    except (FileNotFoundError, ValueError, KeyError):
        return None


def _write_lists(out: Path, about: Mapping[str, Any] | None) -> None:
    """Manifest and runs, with which `wanstreamer.windows` opens the folder `windows` too."""
    notes = list(_with_windows(out))
    for name in LISTS:
        (out / name).unlink(missing_ok=True)
    if notes and about is not None:
        write_lists(
            out / "windows",
            [line for note in notes for line in shard_lines(note)],
            [run for note in notes for run in run_lines(note)],
            [
                SessionDigest(split=split, session_id=session, sha256=sha256)
                for note in notes
                for session, (split, sha256) in note.digests.items()
            ],
            about,
        )


def _with_windows(out: Path) -> Iterator[BucketNote]:
    return (note for note in bucket_notes(out) if note.shards)


def _not_usable(data: Path) -> set[str]:
    """The sessions with a track that the stage quality found not usable."""
    if not any((data / "tables" / "quality").glob("b=*.parquet")):
        return set()
    pieces = bucket_tables(data, "quality", ["session_id"], [("usable", "=", False)])
    return {session for rows in pieces for session in rows["session_id"].to_pylist()}


def _write_facts(data: Path, out: Path, choices: Choices, num_poor: int) -> None:
    """What the card says about the data folder: numbers only, no ids. The rest is counted in the export."""
    left_out = Counter(each.reason for each in chosen_sessions(data, HF, choices) if isinstance(each, LeftOut))
    left_out[NOT_USABLE] = num_poor
    has_rejections = any((data / "tables" / "rejections").glob("*/b=*.parquet"))
    rejected = query(data, REJECTIONS)[1] if has_rejections else []
    facts = {
        "left_out": dict(sorted((+left_out).items())),
        "rejected": [list(row) for row in rejected],
        "choices": {key: value for key, value in choices.as_json().items() if key in ("split", "where")},
        "tables_missing": sorted(
            table for table in TABLES_OUT.values() if not any((data / "tables" / table).glob("b=*.parquet"))
        ),
    }
    facts_path = out / HIDDEN / "hf" / "facts.json"
    today = datetime.now(UTC).date().isoformat()
    known = json.loads(facts_path.read_text()) if facts_path.is_file() else {}
    content = _content(bucket_notes(out))
    same = known.get("content") == content
    write_json_atomic(facts_path, {**facts, "content": content, "date": known["date"] if same else today})


def _content(notes: Iterable[BucketNote]) -> str:
    return hash_of({name: about["sha256"] for note in notes for name, about in note.files.items()})


def _write_over_all(out: Path) -> Finished:
    """Card, picture and description, from what lies in the export now."""
    facts = json.loads((out / HIDDEN / "hf" / "facts.json").read_text())
    notes = list(bucket_notes(out))
    files = {name: about for note in notes for name, about in sorted(note.files.items())}
    damaged = sum(sum(note.damaged.values()) for note in notes)
    figures = read_figures(out, files)
    (out / WINDOWS_CARD).unlink(missing_ok=True)
    if WINDOWS_CONFIG in figures.configs:
        write_bytes_atomic(out / WINDOWS_CARD, windows_card(figures).encode())
    elif (out / "windows").is_dir():
        (out / "windows").rmdir()
    names = [name for name in (*LISTS, WINDOWS_CARD) if (out / name).is_file()]
    write_json_atomic(out / HIDDEN / "hf" / "facts.json", {**facts, "content": _content(notes)})
    picture = drawing(out)
    if picture is not None:
        write_bytes_atomic(out / "picture.svg", picture.encode())
    else:
        (out / "picture.svg").unlink(missing_ok=True)
    write_bytes_atomic(out / "README.md", card(out, figures, facts, damaged, has_picture=picture is not None).encode())
    lists = {
        name: {"sha256": file_sha256(out / name), "num_bytes": (out / name).stat().st_size} for name in names
    }  # fmt: skip
    described = croissant(out, figures, facts, {**files, **lists})
    write_bytes_atomic(out / "croissant.json", (json.dumps(described, indent=1, ensure_ascii=False) + "\n").encode())
    names += ["README.md", "croissant.json", *(["picture.svg"] if picture is not None else [])]
    return Finished(files=sorted([*files, *names]), not_held=_not_held(facts, damaged))


def _not_held(facts: Mapping[str, Any], damaged: int) -> Counter[str]:
    counts: Counter[str] = Counter()
    counts["sessions with a track that quality found not usable"] = facts["left_out"].get(NOT_USABLE, 0)
    counts["windows whose bytes are damaged in the data folder; run the pack stage again"] = damaged
    for table, reason in TABLES_LEFT_OUT.items():
        counts[f"table {table}: {reason}"] = 1
    for config, columns in COLUMNS_LEFT_OUT.items():
        for column, reason in columns.items():
            counts[f"column {config}.{column}: {reason}"] = 1
    for table in facts["tables_missing"]:
        counts[f"table {table}: not in the data folder yet; run the {TABLES[table].stage} stage"] = 1
    return counts


def next_step(out: Path) -> str:
    return (
        f'open it: datasets.load_dataset("{out.resolve()}", "events"); read {out / "README.md"}; to publish it: '
        f'hf upload-large-folder OWNER/NAME {out} --repo-type dataset --exclude ".export/*"'
    )


HF = Format(
    name="hf",
    meaning="Hugging Face dataset: Parquet and WebDataset, with a dataset card and a Croissant description",
    tables=("sessions", "tracks"),
    optional_tables=tuple(table for table in TABLES_OUT.values() if table not in ("sessions", "tracks")),
    num_bytes=num_bytes,
    finish=finish,
    remove=remove,
    next_step=next_step,
)
