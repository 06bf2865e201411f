"""A corpus of any size for `tools.bench scale`: placeholders for recordings, and what the stages would make of them.

Templates of its sessions lie in a folder (scale_templates.py). `TemplateWorker` takes the place of the engine's worker:
it writes the rows of a template under the id of its key as a finished part, with tracks and samples of a few bytes, and
without fsync. The driver, the merges and all files except tracks and samples are those of real work.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

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

    def as_session(self, table: str, key: str, split: str | None) -> pa.Table:
        """Rows of the session `key`."""
        rows, session = self.rows(table, int(session_hash(key)[:8], 16) % TEMPLATES)
        for name in rows.column_names:
            values = rows[name]
            if name == "session_id":
                values = pa.repeat(pa.scalar(key), rows.num_rows)
            elif name == "split" and split is not None:
                values = pa.repeat(pa.scalar(split), rows.num_rows)
            elif name.endswith("_path"):
                values = pc.replace_substring_regex(values, f"tracks/../{session}", f"tracks/{track_folder(key)}/{key}")
            elif name.endswith("speaker_id") or name in ("window_id", "audio_member", "video_member"):
                values = pc.replace_substring(values, session, key)
            else:
                continue
            rows = changed(rows, name, values)
        return rows


class TemplateWorker(KeyWorker):
    """Writes the rows of a template as a part, with its tracks and segments."""

    def _do_row(self, row: dict[str, str]) -> None:
        engine_files.sync_file = engine_files.sync_folder = lambda path: None  # in this process
        loaded = json.loads(row["job"])
        job = Job(**loaded | {"inputs": tuple(loaded["inputs"])})
        _, scratch = self._begin(scratch_home(self.home, job.key))
        templates = _templates(self.data.parent / "templates")
        tables = {name: templates.as_session(name, job.key, job.spec.get("split")) for name in self.tables}
        files: dict[str, Path] = {}
        segments: list[tuple[str, bytes]] = []
        if "tracks" in tables:
            tables["tracks"] = _with_tracks(tables["tracks"], scratch, files)
        if "hashes" in tables:
            tables["hashes"] = with_hashes(tables["hashes"], job.key)
        if "latents" in tables:
            tables["latents"], written = _with_latents(tables["latents"])
            segments.append(("latents", written))
        if "windows" in tables:
            written = job.key.encode() * tables["windows"].num_rows
            segments.append((f"windows/{job.spec['split']}", written[: tables["windows"].num_rows]))
        content = {name: arrow_bytes(rows) for name, rows in tables.items()}
        paths = []
        for number, (_, written) in enumerate(segments):
            paths.append(scratch / f"{number}.segment")
            paths[-1].write_bytes(written)
        part = Part(
            key=job.key,
            fingerprint=row["fingerprint"],
            tables={name: (rows.num_rows, hash_of_bytes(content[name])) for name, rows in tables.items()},
            files={name: (path.stat().st_size, hash_of_bytes(path.read_bytes())) for name, path in files.items()},
            segments=[
                {
                    "folder": folder, "num_bytes": len(written), "sha256": hash_of_bytes(written),
                    "num_rows": tables["latents" if folder == "latents" else "windows"].num_rows,
                }
                for folder, written in segments
            ],
            rejections=[],
        )  # fmt: skip
        finish_part(self.data, self.home, scratch, part, content, files, paths)


@cache
def _templates(home: Path) -> Templates:
    return Templates(home)


def _with_tracks(rows: pa.Table, scratch: Path, files: dict[str, Path]) -> pa.Table:
    """Rows with the hashes of tracks of a few bytes, which are written."""
    for kind in ("audio", "video"):
        hashes = []
        for name in rows[f"{kind}_path"].to_pylist():
            if name is not None:
                files[name] = scratch / "made" / Path(name).name
                files[name].write_text(name)
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


def shard_bytes(home: Path, stage: str) -> int:
    """The size of shards that have as many sessions as shards of 512 MB have with real samples."""
    if stage == "encode":
        rows, _ = Templates(home / "templates").rows("latents", 0)
        units = pc.sum(rows["num_units"]).as_py()
        return SHARD_BYTES * len(_with_latents(rows)[1]) // (2 * units * (4 * 16 + 32 * 3 * 4))
    return SHARD_BYTES // WINDOW_BYTES
