"""The fast way to a large corpus for `tools.bench scale`: no worker, no parts.

The driver plans, feeds, collects and merges as it does otherwise, but rows count as done when they are fed, and merges
take the rows of a session from the templates instead of its part.
"""

import json
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from pipelines.engine import files as engine_files
from pipelines.engine import merge, run
from pipelines.engine import parts as part_files
from pipelines.engine.merge import Merge
from pipelines.engine.parts import Part
from pipelines.engine.shards import Source
from tools.bench.scale_corpus import Made, make_session, part_of

Row = dict[str, str]
WITH_BYTES = {"tracks", "latents", "windows"}  # tables whose rows come with tracks or samples
OUTCOME = {"error": "", "away": "", "damaged": "", "cpu_s": "0", "wall_s": "0"}

_fed: dict[str, tuple[str, str]] = {}  # in the driver: key -> fingerprint and split, until it is merged


@dataclass(frozen=True, kw_only=True)
class BulkMerge(Merge):
    """A merge that knows what its parts would say."""

    fed: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "fed", {key: _fed.pop(key) for key in self.parts if key in _fed} or self.fed)


def use_bulk() -> None:
    """From now on, runs of this process make their sessions at once."""
    run.map_rows = _done_at_once  # type: ignore[assignment]
    run.Merge = BulkMerge  # type: ignore[misc]


def _done_at_once(feed: Callable[[], Iterator[Row]], *_: Any, **how: Any) -> Iterator[Row]:
    for row in feed():
        if row["key"]:
            _fed[row["key"]] = row["fingerprint"], json.loads(row["job"])["spec"].get("split")
            yield {"key": row["key"], **OUTCOME}
        else:
            yield row


def merge_bulk(task: BulkMerge) -> list[str]:
    """Merge a bucket whose sessions are made here. Writes their tracks, too."""
    engine_files.sync_file = engine_files.sync_folder = lambda path: None
    parts, sources = _parts_of(task)

    def read_part(path: Path | BinaryIO) -> Part | None:
        own = parts.get(_key_of(path)) if isinstance(path, Path) else None
        return own or part_files.read_part(path)

    def read_part_rows(path: Path, table: str) -> pa.Table:
        key = _key_of(path)
        return _made(task, key, (table,)).tables[table] if key in parts else part_files.read_part_rows(path, table)

    def new_segments(home: Path, key: str, part: Part) -> Iterator[Source]:
        return iter(sources[key]) if key in sources else _real_segments(home, key, part)

    merge.read_part, merge.read_part_rows, merge._new_segments = read_part, read_part_rows, new_segments
    return merge.merge_bucket(task)


_real_segments = merge._new_segments


def _key_of(path: Path) -> str:
    return path.name.removesuffix(part_files.PART)


def _made(task: BulkMerge, key: str, tables: tuple[str, ...], as_they_are: Container[str] = ()) -> Made:
    return make_session(task.data.parent / "templates", key, task.fed[key][1], tables, as_they_are)


def _parts_of(task: BulkMerge) -> tuple[dict[str, Part], dict[str, list[Source]]]:
    """The parts of the fed sessions, and where their samples are: in one file."""
    path = task.data.parent / f"segments-{task.bucket}"
    parts: dict[str, Part] = {}
    sources: dict[str, list[Source]] = {}
    with path.open("wb") as file:
        for key in sorted(task.fed):
            made = _made(task, key, task.tables, set(task.tables) - WITH_BYTES)
            parts[key] = part_of(key, task.fed[key][0], made)
            sources[key] = []
            for number, (segment, (_, content)) in enumerate(zip(parts[key].segments, made.segments, strict=True)):
                about = {name: segment[name] for name in ("folder", "num_bytes", "sha256", "num_rows")}
                sources[key].append(Source(name=(key, number), path=path, offset=file.tell(), **about))
                file.write(content)
            for name, content in made.files.items():
                track = task.data / name
                track.parent.mkdir(parents=True, exist_ok=True)
                track.write_bytes(content)
    return parts, sources
