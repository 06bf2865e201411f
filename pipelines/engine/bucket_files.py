"""Rows -> the table files of a bucket: streamed in pieces, small ones at once, rejections, and values decided later."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.engine.buckets import bucket_name
from pipelines.engine.commit import JOURNAL, commit
from pipelines.engine.files import file_sha256, replace_file
from pipelines.engine.parts import counted
from pipelines.engine.state import KeyState, content_sum, read_state, state_file, write_state
from pipelines.engine.tables import ROWS_PER_GROUP, bucket_file, to_table
from schemas import TABLES


def temporary(final: Path) -> Path:
    """Where a file is written, before it gets its name."""
    return final.with_name(f".{final.name}.tmp")


def write_pieces(path: Path, table: str, rows: Iterable[pa.Table]) -> int:
    """Write pieces as a Parquet file with row groups of fixed size; returns the number of rows."""
    schema = TABLES[table].schema
    path.parent.mkdir(parents=True, exist_ok=True)
    waiting: list[pa.Table] = []
    num_waiting = num_rows = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for piece in rows:
            waiting.append(piece.cast(schema) if piece.schema != schema else piece)
            num_waiting += piece.num_rows
            while num_waiting >= ROWS_PER_GROUP:
                together = pa.concat_tables(waiting)
                writer.write_table(together.slice(0, ROWS_PER_GROUP).combine_chunks(), ROWS_PER_GROUP)
                waiting = [together.slice(ROWS_PER_GROUP)]
                num_waiting -= ROWS_PER_GROUP
                num_rows += ROWS_PER_GROUP
        if num_waiting:
            writer.write_table(pa.concat_tables(waiting).combine_chunks(), ROWS_PER_GROUP)
    return num_rows + num_waiting


def write_plain(path: Path, content: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(content, path, row_group_size=ROWS_PER_GROUP, compression="zstd")


def entry_of(path: Path, content: pa.Table) -> dict[str, Any]:
    """What the state notes about a small table file."""
    rows = content.to_pylist()
    return {
        "sha256": file_sha256(path),
        "num_bytes": path.stat().st_size,
        "num_rows": len(rows),
        "content": content_sum(("", repr(sorted(row.items()))) for row in rows),
    }


def rejection_rows(
    stage: str, states: Iterable[KeyState], more: Iterable[tuple[str, str, str, int]] = ()
) -> tuple[pa.Table, dict[str, int]]:
    """The rows of `rejections`, sorted, and how often each reason occurred."""
    counts: Counter[tuple[str, str, str]] = Counter()
    for key, reason, detail, count in (*(each for state in states for each in state.rejections), *more):
        counts[key, reason, detail] += count
    rows = [
        {"stage": stage, "key": key, "reason": reason, "detail": detail, "count": counts[key, reason, detail]}
        for key, reason, detail in sorted(counts)
    ]
    reasons: Counter[str] = Counter()
    for (_, reason, _), count in counts.items():
        reasons[reason] += count
    return to_table("rejections", rows), dict(sorted(reasons.items()))


def write_rejections(data: Path, stage: str, rejections: Iterable[tuple[str, str, str]]) -> dict[str, int]:
    """The rejections of a stage that has no buckets; returns how often each reason occurred."""
    rows, rejected = rejection_rows(stage, [], counted(rejections))
    final = bucket_file(data, f"rejections/{stage}", 0)
    write_plain(temporary(final), rows)
    replace_file(temporary(final), final)
    return rejected


def rewrite_table(
    data: Path, stage: str, bucket: int, table: str, content: pa.Table, rejections: Sequence[tuple[str, str, str, int]]
) -> None:
    """Give a small table of a merged bucket other values, and add to its rejections; nothing is written if all is as
    it was. The next merge of the bucket begins with the values in the parts."""
    state = read_state(data, stage, bucket)
    renames: dict[Path, Path] = {}
    tables = dict(state.tables)
    all_rejections, rejected = rejection_rows(stage, state.keys.values(), rejections)
    for name, final, rows in (
        (table, bucket_file(data, table, bucket), content),
        ("rejections", bucket_file(data, f"rejections/{stage}", bucket), all_rejections),
    ):
        new = temporary(final)
        write_plain(new, rows)
        entry = entry_of(new, rows)
        if final.is_file() and entry == tables[name]:
            new.unlink()
            continue
        tables[name] = entry
        renames[new] = final
    if renames:
        final = state_file(data, stage, bucket)
        write_state(temporary(final), replace(state, tables=tables, counts={**state.counts, "rejected": rejected}))
        renames[temporary(final)] = final
        commit(data, final.with_name(f"{JOURNAL}{bucket_name(bucket)}.json"), renames, [])
