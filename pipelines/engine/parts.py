"""The result of one key on disk, a part: `parts/<stage>/<key>/`.

A part has rows, rejections and the names of its bulk files. `part.json` is written last and has the fingerprint of
code, params and input content. If it exists and the bulk files have their sizes, the part is complete.
"""

import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.engine.code import code_hash
from pipelines.engine.files import hash_of, replace_file, write_json_atomic
from pipelines.engine.jobs import Job, Result
from pipelines.engine.store import Store, drop_rejected
from pipelines.engine.tables import to_table, write_rejections, write_table
from schemas import SCHEMA_VERSION, Table

Finish = Callable[[dict[str, pa.Table]], tuple[dict[str, pa.Table], list[tuple[str, str, str]]]]


def recipe_of(stage: str, params: object, tables: Sequence[Table], modules: Sequence[str]) -> str:
    """Fingerprint of everything besides the input that decides a part: code, params, table layouts."""
    values = asdict(params) if is_dataclass(params) and not isinstance(params, type) else params
    layouts = [table.schema.to_string() for table in tables]
    return hash_of([stage, SCHEMA_VERSION, values, layouts, code_hash(*modules)])


def fingerprint_of(recipe: str, job: Job) -> str:
    return hash_of([recipe, job.key, job.spec, list(job.inputs)])


def is_current(data: Path, folder: Path, fingerprint: str) -> bool:
    try:
        part = json.loads((folder / "part.json").read_text())
    except FileNotFoundError:
        return False
    if part["fingerprint"] != fingerprint:
        return False
    return all((data / name).is_file() and (data / name).stat().st_size == size for name, size in part["files"].items())


def write_part(
    data: Path, folder: Path, scratch: Path, result: Result, fingerprint: str, tables: Sequence[str]
) -> None:
    unknown = set(result.tables) - set(tables)
    if unknown:
        raise ValueError(f"{folder.name}: rows for undeclared tables {sorted(unknown)}")
    for name, rows in result.tables.items():
        pq.write_table(to_table(name, rows), scratch / f"{name}.parquet")
    part = {
        "fingerprint": fingerprint,
        "files": {name: finished.stat().st_size for name, finished in result.files.items()},
        "rejections": result.rejections,
        "tables": sorted(result.tables),
    }
    finish_part(data, folder, scratch, result.files, part)


def finish_part(data: Path, folder: Path, scratch: Path, files: Mapping[str, Path], part: Mapping[str, Any]) -> None:
    """Move finished bulk files to their final names; then the scratch folder with its tables becomes the part."""
    # The old part is removed first: after a kill before the end there is no part, and the key is done again.
    remove_part(data, folder, keep=frozenset(files))
    for name, finished in sorted(files.items()):
        replace_file(finished, data / name)
    shutil.rmtree(scratch / "made")
    write_json_atomic(scratch / "part.json", part)
    try:
        scratch.replace(folder)
    except OSError:  # another worker had the same key and was faster: its bytes are the same
        if not is_current(data, folder, part["fingerprint"]):
            raise
    shutil.rmtree(scratch.parent, ignore_errors=True)


def remove_part(data: Path, folder: Path, keep: frozenset[str] = frozenset()) -> None:
    try:
        part = json.loads((folder / "part.json").read_text())
    except FileNotFoundError:
        part = {"files": {}}
    (folder / "part.json").unlink(missing_ok=True)
    for name in set(part["files"]) - keep:
        (data / name).unlink(missing_ok=True)
        if not keep and (data / name).parent.is_dir() and not any((data / name).parent.iterdir()):
            (data / name).parent.rmdir()
    shutil.rmtree(folder, ignore_errors=True)


def merge_parts(
    data: Path,
    home: Path,
    stage: str,
    keys: Sequence[str],
    tables: Sequence[str],
    early: Sequence[tuple[str, str, str]],
    finish: Finish | None,
) -> dict[str, Any]:
    parts = {key: json.loads((home / key / "part.json").read_text()) for key in keys}
    merged: Iterable[tuple[str, pa.Table]] = ((table, _merged(home, parts, table)) for table in tables)
    last: list[tuple[str, str, str]] = []
    if finish is not None:
        finished, last = finish(dict(merged))
        merged = finished.items()
    counts: dict[str, int] = {}
    for table, rows in merged:
        write_table(data, table, rows)
        counts[table] = rows.num_rows
    late = [
        (str(key), str(reason), str(detail)) for part in parts.values() for key, reason, detail in part["rejections"]
    ]
    rejected = write_rejections(data, stage, [*early, *late, *last])
    done = sum(bool(part["tables"]) for part in parts.values())
    return {"keys": len(keys), "done": done, "rejected": rejected, "rows": counts}


def _merged(home: Path, parts: Mapping[str, dict[str, Any]], table: str) -> pa.Table:
    pieces = [pq.read_table(home / key / f"{table}.parquet") for key in parts if table in parts[key]["tables"]]
    return pa.concat_tables(pieces) if pieces else to_table(table, [])


def forget_rejected(data: Path, stage: str, reason: str, store: Store | None = None) -> int:
    """Remove the parts of keys that were rejected for this reason (`all`: any), so that they are done again."""
    keys = (
        drop_rejected(store, stage, reason) if store else set()
    )  # first, or the next run would take them from the store
    for path in sorted((data / "parts" / stage).glob("*/part.json")):
        reasons = {rejection[1] for rejection in json.loads(path.read_text())["rejections"]}
        if reasons and (reason == "all" or reason in reasons):
            remove_part(data, path.parent)
            keys.add(path.parent.name)
    return len(keys)
