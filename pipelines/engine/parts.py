"""The finished work on one key until it is merged into its bucket: `parts/<stage>/<key>.zip`.

A part has the rows of each table as Arrow, the rejections, and the names and hashes of its files. It is one file, made
under another name and then renamed: if it exists, the work is complete. Zip checks the content when it is read. Samples
that will go into a shard are next to it, in `<key>.<n>.segment`. Files with names of their own, such as tracks, are
moved to their places before the part is: until then the scratch folder `.<key>/` lists them, so that after a kill the
next run knows which files it cannot trust.
"""

import io
import json
import os
import shutil
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.engine.code import code_hash
from pipelines.engine.files import file_sha256, hash_of, hash_of_bytes, replace_file, sync_file, sync_folder
from pipelines.engine.jobs import Job, Result
from pipelines.engine.tables import check_unique, to_table
from schemas import SCHEMA_VERSION, TABLES, Table

NOTE = "note.json"  # in the scratch folder of a key
PART, SEGMENT = ".zip", ".segment"
EPOCH = (1980, 1, 1, 0, 0, 0)  # the time of every member: equal work gives equal bytes


@dataclass(frozen=True, kw_only=True)
class Part:
    """The content of a part, except its rows."""

    key: str
    fingerprint: str
    tables: Mapping[str, tuple[int, str]]  # name -> number of rows, hash of their content
    files: Mapping[str, tuple[int, str]]  # path -> bytes, sha256
    segments: Sequence[Mapping[str, Any]]  # folder, num_bytes, sha256
    rejections: Sequence[tuple[str, str, str, int]]


def recipe_of(stage: str, params: object, tables: Sequence[Table], modules: Sequence[str]) -> str:
    """Fingerprint of everything besides the input that decides a part: code, params, table layouts."""
    values = asdict(params) if is_dataclass(params) and not isinstance(params, type) else params
    layouts = [table.schema.to_string() for table in tables]
    return hash_of([stage, SCHEMA_VERSION, values, layouts, code_hash(*modules)])


def fingerprint_of(recipe: str, job: Job) -> str:
    return hash_of([recipe, job.key, job.spec, list(job.inputs)])


def part_path(home: Path, key: str) -> Path:
    return home / f"{key}{PART}"


def segment_path(home: Path, key: str, number: int) -> Path:
    return home / f"{key}.{number}{SEGMENT}"


def scratch_home(home: Path, key: str) -> Path:
    return home / f".{key}"


def noted_files(scratch: Path) -> list[str]:
    """Files of a key that a killed worker may have replaced: from the note in its scratch folder."""
    try:
        files: list[str] = json.loads((scratch / NOTE).read_text()).get("files", [])
    except (OSError, ValueError):
        return []
    return files


def arrow_bytes(rows: pa.Table) -> bytes:
    """Rows as an Arrow file. Equal rows give equal bytes if they were made by `to_table`."""
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, rows.schema.remove_metadata()) as writer:
        writer.write_table(rows.combine_chunks())
    return sink.getvalue()


def read_arrow(content: bytes, table: str) -> pa.Table:
    """The rows that `arrow_bytes` wrote, with the declared schema."""
    rows = pa.ipc.open_file(pa.BufferReader(content)).read_all()
    return pa.Table.from_arrays(rows.columns, schema=TABLES[table].schema)


def counted(rejections: Iterable[tuple[str, str, str]]) -> list[tuple[str, str, str, int]]:
    """Equal rejections as one with a count, sorted."""
    counts: dict[tuple[str, str, str], int] = {}
    for rejection in rejections:
        counts[rejection] = counts.get(rejection, 0) + 1
    return [(key, reason, detail, counts[key, reason, detail]) for key, reason, detail in sorted(counts)]


def write_part(
    data: Path, home: Path, scratch: Path, key: str, result: Result, fingerprint: str, tables: Sequence[str]
) -> None:
    """Move the files of a result to their places, then write its part."""
    unknown = set(result.tables) - set(tables)
    if unknown:
        raise ValueError(f"{key}: rows for undeclared tables {sorted(unknown)}")
    content = {}
    for name, rows in result.tables.items():
        table = to_table(name, rows)
        key_columns = [(column, "ascending") for column in TABLES[name].key]
        table = table.take(pc.sort_indices(table, sort_keys=key_columns)).combine_chunks()
        check_unique(name, table)
        content[name] = (table.num_rows, arrow_bytes(table))
    part = Part(
        key=key,
        fingerprint=fingerprint,
        tables={name: (num_rows, hash_of_bytes(arrow)) for name, (num_rows, arrow) in content.items()},
        files={name: (path.stat().st_size, file_sha256(path)) for name, path in result.files.items()},
        segments=[
            {
                "folder": segment.folder,
                "num_bytes": segment.path.stat().st_size,
                "sha256": file_sha256(segment.path),
                "num_rows": sum(row.get("shard") == str(n) for rows in result.tables.values() for row in rows),
            }
            for n, segment in enumerate(result.segments)
        ],
        rejections=counted(result.rejections),
    )
    finish_part(
        data,
        home,
        scratch,
        part,
        {name: arrow for name, (_, arrow) in content.items()},
        result.files,
        [segment.path for segment in result.segments],
    )


def finish_part(
    data: Path,
    home: Path,
    scratch: Path,
    part: Part,
    content: Mapping[str, bytes],
    files: Mapping[str, Path],
    segments: Sequence[Path],
) -> None:
    """Move finished files to their places, then write the part, then remove the scratch folder of the key."""
    if files:
        note = scratch.parent / NOTE
        noted = json.loads(note.read_text()) if note.is_file() else {}
        _write_synced(note, json.dumps({**noted, "files": sorted({*noted.get("files", []), *files})}).encode())
    part_path(home, part.key).unlink(missing_ok=True)
    for number, finished in enumerate(segments):
        replace_file(finished, segment_path(home, part.key, number))
    for name, finished in sorted(files.items()):
        replace_file(finished, data / name)
    temporary = scratch / "part"
    write_zip(temporary, part, content)
    replace_file(temporary, part_path(home, part.key))
    shutil.rmtree(scratch.parent, ignore_errors=True)


def write_zip(path: Path, part: Part, content: Mapping[str, bytes]) -> None:
    """Write a part, with the rows of its tables as `arrow_bytes`. Equal parts give equal bytes."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(zipfile.ZipInfo("part.json", EPOCH), json.dumps(asdict(part), sort_keys=True))
        for name in sorted(content):
            archive.writestr(zipfile.ZipInfo(f"{name}.arrow", EPOCH), content[name])


def _write_synced(path: Path, content: bytes) -> None:
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_bytes(content)
    sync_file(temporary)
    temporary.replace(path)
    sync_folder(path.parent)


def read_part(path: Path | BinaryIO) -> Part | None:
    """None if there is no part, or if it is damaged: then the key is undone."""
    try:
        with zipfile.ZipFile(path) as archive:
            loaded = json.loads(archive.read("part.json"))
        return Part(
            key=loaded["key"],
            fingerprint=loaded["fingerprint"],
            tables={name: (rows, sha256) for name, (rows, sha256) in loaded["tables"].items()},
            files={name: (size, sha256) for name, (size, sha256) in loaded["files"].items()},
            segments=loaded["segments"],
            rejections=[(key, reason, detail, count) for key, reason, detail, count in loaded["rejections"]],
        )
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        return None


def read_content(path: Path | BinaryIO, part: Part) -> dict[str, bytes] | None:
    """The rows of a part as they were written, by table; None if they are not those that it names."""
    try:
        with zipfile.ZipFile(path) as archive:
            content = {table: archive.read(f"{table}.arrow") for table in part.tables}
    except (OSError, KeyError, zipfile.BadZipFile):
        return None
    intact = all(hash_of_bytes(content[table]) == sha256 for table, (_, sha256) in part.tables.items())
    return content if intact else None


def read_part_rows(path: Path, table: str) -> pa.Table:
    """Rows of a part. Raises OSError or zipfile.BadZipFile if it is damaged."""
    with zipfile.ZipFile(path) as archive:
        return read_arrow(archive.read(f"{table}.arrow"), table)


def is_whole(data: Path, home: Path, part: Part) -> bool:
    """Whether the files and segments of a part are there with their sizes, and its rows can be read."""
    for name, (num_bytes, _) in part.files.items():
        if not _has_size(data / name, num_bytes):
            return False
    for number, segment in enumerate(part.segments):
        if not _has_size(segment_path(home, part.key, number), segment["num_bytes"]):
            return False
    try:
        with zipfile.ZipFile(part_path(home, part.key)) as archive:
            return archive.testzip() is None and {f"{name}.arrow" for name in part.tables} <= set(archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def _has_size(path: Path, num_bytes: int) -> bool:
    try:
        return path.stat().st_size == num_bytes
    except FileNotFoundError:
        return False


def remove_part(home: Path, key: str) -> None:
    """Remove a part with its segments; the files that have names of their own stay."""
    part_path(home, key).unlink(missing_ok=True)
    number = 0
    while (segment := segment_path(home, key, number)).exists():
        segment.unlink()
        number += 1
