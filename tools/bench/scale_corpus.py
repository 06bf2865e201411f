"""A corpus of any size for `tools.bench scale`: placeholders for recordings, and what the stages would make of them.

Templates of its sessions lie in a folder (scale_templates.py). `TemplateWorker` takes the place of the engine's worker:
it writes the rows of a template under the id of its key as a finished part, with tracks and samples of a few bytes, and
without fsync. Where that takes too long, `tools.bench.scale_bulk` lets merges take the rows from the templates at once.
The driver, the merges and all files except tracks and samples are those of real work.
"""

import json
from collections.abc import Container, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.engine import files as engine_files
from pipelines.engine.buckets import session_hash, track_folder
from pipelines.engine.files import hash_of_bytes
from pipelines.engine.jobs import Job
from pipelines.engine.parts import Part, arrow_bytes, finish_part, scratch_home
from pipelines.engine.shards import SHARD_BYTES
from pipelines.engine.worker import KeyWorker
from pipelines.formats.npy_tar import member_bytes, npy_head
from pipelines.quality.hashes import MAX_HASHES
from tools.bench.synthetic_windows import WINDOW_BYTES

TEMPLATES, TEMPLATE_S, REPEATS = 4, 60, 10
SESSION_HOURS = TEMPLATE_S * REPEATS / 3600
STAGES = ("ingest", "quality", "annotate", "encode", "pack")
HASH_VALUES = 1 << 30
FRAMES_APART = round(25 * 3600 * SESSION_HOURS / MAX_HASHES)
VOCAB_SIZE = 300  # of the tokenizer
SHARD_VARIABLE = "WANSTREAMER_BENCH_SHARD_BYTES"


def changed(rows: pa.Table, name: str, values: Any) -> pa.Table:
    place = rows.schema.get_field_index(name)
    field = rows.schema.field(place)
    return rows.set_column(place, field, values.cast(field.type))


def write_sources(folder: Path, numbers: range) -> None:
    """Recordings of a few bytes for two people per session, and the manifest of all sessions there are."""
    for number in numbers:
        home = folder / f"{number // 1000:04d}"
        home.mkdir(parents=True, exist_ok=True)
        for participant in "ab":
            (home / f"{name_of(number)}.{participant}.mp4").write_text(f"{number} {participant}")
    everyone = [(number, participant) for number in range(numbers.stop) for participant in "ab"]
    rows = {
        "session_id": [name_of(number) for number, _ in everyone],
        "participant": [participant for _, participant in everyone],
        "uri": [f"{number // 1000:04d}/{name_of(number)}.{participant}.mp4" for number, participant in everyone],
        "licence": ["CC0-1.0"] * len(everyone),
        "language": ["en"] * len(everyone),
    }
    pq.write_table(pa.table(rows), folder / "manifest.parquet")


def name_of(number: int) -> str:
    return f"talk-{number:07d}"


class Templates:
    """The rows of the template sessions."""

    def __init__(self, home: Path) -> None:
        self.home = home

    @cache  # noqa: B019  # one per process
    def rows(self, table: str, number: int) -> tuple[pa.Table, str]:
        """The rows and the id of their session."""
        with pa.memory_map(str(self.home / table / f"{number}.arrow")) as file:
            rows = pa.ipc.open_file(file).read_all()
        return rows.replace_schema_metadata(None), rows.schema.metadata[b"session"].decode()

    def of_key(self, table: str, key: str) -> tuple[pa.Table, str]:
        """The rows of the template of a session, and the id of the template's session."""
        return self.rows(table, int(session_hash(key)[:8], 16) % TEMPLATES)

    def as_session(self, table: str, key: str, split: str | None) -> pa.Table:
        """Rows of the session `key`."""
        rows, session = self.of_key(table, key)
        for name in rows.column_names:
            values = rows[name]
            if name == "session_id":
                values = pa.repeat(pa.scalar(key), rows.num_rows)
            elif name == "split" and split is not None:
                values = pa.repeat(pa.scalar(split), rows.num_rows)
            elif name.endswith("_path"):
                values = pc.replace_substring_regex(values, f"tracks/../{session}", f"tracks/{track_folder(key)}/{key}")
            elif name.endswith("speaker_id"):
                values = pc.binary_join_element_wise(pa.scalar(key), values, "/")
            elif name in ("window_id", "audio_member", "video_member"):
                values = pc.replace_substring(values, session, key)
            else:
                continue
            rows = changed(rows, name, values)
        return rows


class Made(NamedTuple):
    """What a stage makes from a session."""

    tables: dict[str, pa.Table]
    files: dict[str, bytes]  # path below the data folder -> content
    segments: list[tuple[str, bytes]]  # folder, content


def make_session(
    templates: Path, key: str, split: str | None, tables: Sequence[str], as_they_are: Container[str] = ()
) -> Made:
    """The rows of a template under another id, with tracks and samples of a few bytes.

    Tables in `as_they_are` have the rows of the template itself: where only their number counts.
    """
    source = _templates(templates)
    rows = {
        name: source.of_key(name, key)[0] if name in as_they_are else source.as_session(name, key, split)
        for name in tables
    }
    made = Made(rows, {}, [])
    if "tracks" in made.tables:
        made.tables["tracks"] = _with_tracks(made.tables["tracks"], made.files)
    if "hashes" in made.tables and "hashes" not in as_they_are:
        made.tables["hashes"] = with_hashes(made.tables["hashes"], key)
    if "latents" in made.tables:
        made.tables["latents"], content = _with_latents(made.tables["latents"])
        made.segments.append(("latents", content))
    if "windows" in made.tables:
        num_windows = made.tables["windows"].num_rows
        made.segments.append((f"windows/{split}", (key.encode() * num_windows)[:num_windows]))
    return made


def part_of(key: str, fingerprint: str, made: Made, content: Mapping[str, bytes] | None = None) -> Part:
    """The part of a session. `content`: its rows as `arrow_bytes`; without, their hashes are those of other bytes."""
    return Part(
        key=key,
        fingerprint=fingerprint,
        tables={
            name: (rows.num_rows, hash_of_bytes(content[name] if content else f"{key} {name}".encode()))
            for name, rows in made.tables.items()
        },
        files={name: (len(written), hash_of_bytes(written)) for name, written in made.files.items()},
        segments=[
            {
                "folder": folder, "num_bytes": len(written), "sha256": hash_of_bytes(written),
                "num_rows": made.tables["latents" if folder == "latents" else "windows"].num_rows,
            }
            for folder, written in made.segments
        ],
        rejections=[],
    )  # fmt: skip


class TemplateWorker(KeyWorker):
    """Writes the rows of a template as a part, with its tracks and segments."""

    def _do_row(self, row: dict[str, str]) -> None:
        engine_files.sync_file = engine_files.sync_folder = lambda path: None  # in this process
        loaded = json.loads(row["job"])
        job = Job(**loaded | {"inputs": tuple(loaded["inputs"])})
        _, scratch = self._begin(scratch_home(self.home, job.key))
        made = make_session(self.data.parent / "templates", job.key, job.spec.get("split"), self.tables)
        rows = {name: arrow_bytes(table) for name, table in made.tables.items()}
        files = {name: scratch / "made" / Path(name).name for name in made.files}
        segments = [scratch / f"{number}.segment" for number in range(len(made.segments))]
        written = [*made.files.values(), *(content for _, content in made.segments)]
        for path, each in zip([*files.values(), *segments], written, strict=True):
            path.write_bytes(each)
        part = part_of(job.key, row["fingerprint"], made, rows)
        finish_part(self.data, self.home, scratch, part, rows, files, segments)


@cache
def _templates(home: Path) -> Templates:
    return Templates(home)


def _with_tracks(rows: pa.Table, files: dict[str, bytes]) -> pa.Table:
    """Rows with the hashes of tracks of a few bytes, which are added to `files`."""
    for kind in ("audio", "video"):
        hashes = []
        for name in rows[f"{kind}_path"].to_pylist():
            if name is not None:
                files[name] = name.encode()
            hashes.append(None if name is None else hash_of_bytes(name.encode()))
        rows = changed(rows, f"{kind}_sha256", pa.array(hashes, pa.string()))
    return rows


def with_hashes(rows: pa.Table, key: str) -> pa.Table:
    """Rows with as many hashes as a session of ten minutes has, others for every session: no track is a copy."""
    rng = np.random.default_rng(int(session_hash(key)[:16], 16))
    for stream in ("sound", "picture"):
        lengths = np.minimum(rows[f"{stream}_hashes"].combine_chunks().value_lengths().to_numpy() * REPEATS, MAX_HASHES)
        ends = lengths.cumsum()
        values = {
            "hashes": rng.integers(0, HASH_VALUES, ends[-1], dtype=np.uint32),
            "frames": np.concatenate([rng.integers(1, 2 * FRAMES_APART, length).cumsum() for length in lengths]),
        }
        for name, numbers in values.items():
            field = rows.schema.field(f"{stream}_{name}")
            offsets = pa.array(np.concatenate([[0], ends]), pa.int32())
            numbers = pa.array(numbers, field.type.value_type)
            rows = changed(rows, field.name, pa.ListArray.from_arrays(offsets, numbers, type=field.type))
    return rows


def _with_latents(rows: pa.Table) -> tuple[pa.Table, bytes]:
    """Rows and their segment: latents of one unit, so that their shape can be read."""
    content = b""
    offsets: dict[str, list[int]] = {"audio": [], "video": []}
    for row in rows.to_pylist():
        for kind, shape in (("audio", (1, 4, 16)), ("video", (1, 32, 3, 4))):
            member = member_bytes(row[f"{kind}_member"], np.zeros(shape, np.float16))
            array_bytes = len(npy_head(shape, "<f2")) + 2 * int(np.prod(shape))
            offsets[kind].append(len(content) + len(member) - array_bytes - -array_bytes % 512)
            content += member
    for kind, places in offsets.items():
        rows = changed(rows, f"{kind}_offset", pa.array(places, pa.int64()))
    return rows, content


def stage_shard_bytes(home: Path, stage: str) -> int:
    """The size of shards that have as many sessions as shards of 512 MB have with real samples."""
    if stage == "encode":
        rows, _ = Templates(home / "templates").rows("latents", 0)
        units = pc.sum(rows["num_units"]).as_py()
        return int(SHARD_BYTES * len(_with_latents(rows)[1]) // (2 * units * (4 * 16 + 32 * 3 * 4)))
    return SHARD_BYTES // WINDOW_BYTES if stage == "pack" else SHARD_BYTES
