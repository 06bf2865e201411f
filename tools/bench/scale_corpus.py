"""A corpus of any size for `tools.bench scale`: placeholders for recordings, and what the stages would make of them.

The stages run once, on `TEMPLATES` short sessions of the sample. Their rows, `REPEATS` times one after the other, are
templates of sessions of ten minutes. `TemplateWorker` takes the place of the engine's worker: it writes the rows of a
template under the id of its key as a finished part, with tracks and samples of a few bytes, and without fsync. The
driver, the merges and all files except tracks and samples are those of real work.
"""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.annotate import stage as annotate
from pipelines.annotate.params import AnnotateParams
from pipelines.encode import stage as encode
from pipelines.encode.params import EncodeParams
from pipelines.engine import files as engine_files
from pipelines.engine.buckets import session_hash, track_folder
from pipelines.engine.files import hash_of_bytes
from pipelines.engine.jobs import Job, RunParams
from pipelines.engine.parts import Part, arrow_bytes, finish_part, scratch_home
from pipelines.engine.shards import SHARD_BYTES
from pipelines.engine.tables import read_rows, session_table
from pipelines.engine.worker import KeyWorker
from pipelines.formats.npy_tar import member_bytes, npy_head
from pipelines.ingest import stage as ingest
from pipelines.ingest.params import IngestParams
from pipelines.pack import stage as pack
from pipelines.pack.params import PackParams
from pipelines.quality import stage as quality
from pipelines.quality.params import QualityParams
from pipelines.sample import stage as sample
from pipelines.sample.params import SampleParams
from pipelines.vae import stage as vae
from pipelines.vae.params import VaeParams, VaeTrainingParams
from schemas import TABLES
from tools.bench.synthetic_windows import WINDOW_BYTES

TEMPLATES, TEMPLATE_S, REPEATS = 4, 60, 10
SESSION_HOURS = TEMPLATE_S * REPEATS / 3600
STAGES = ("ingest", "quality", "annotate", "encode", "pack")
HASH_VALUES = 1 << 30
SHARD_VARIABLE = "WANSTREAMER_BENCH_SHARD_BYTES"


def write_templates(home: Path, workers: int) -> None:
    """Run the stages on a small sample, and write its repeated rows to `home/templates/<table>/<number>.arrow`."""
    data, how = home / "sample", RunParams(workers=workers)
    sample.run(data, SampleParams(sessions=TEMPLATES, seconds=TEMPLATE_S, width=96, height=72), how)
    ingest.run(data, IngestParams(), how)
    quality.run(data, QualityParams(), how)
    annotate.run(data, AnnotateParams(), how)
    quick = VaeParams(
        audio=VaeTrainingParams(channels=16, steps=2, batch=1), video=VaeTrainingParams(channels=32, steps=2, batch=1)
    )
    vae.run(data, quick, how)
    encode.run(data, EncodeParams(), how)
    pack.run(data, PackParams(vocab_size=300), how)
    _write_rows(home)


def _write_rows(home: Path) -> None:
    data = home / "sample"
    num_units = {row["session_id"]: row["num_units"] for row in read_rows(data, "sessions")}
    for table in TABLES.values():
        if table.stage not in STAGES:
            continue
        folder = home / "templates" / table.name
        folder.mkdir(parents=True)
        for number, (session, units) in enumerate(sorted(num_units.items())):
            rows = _as_in_part(repeated(session_table(data, table.name, session), units))
            rows = rows.replace_schema_metadata({"session": session})
            with pa.ipc.new_file(folder / f"{number}.arrow", rows.schema) as writer:
                writer.write_table(rows)


def _as_in_part(rows: pa.Table) -> pa.Table:
    """Rows with the first segment as their shard; windows of a byte each, one after the other."""
    if "shard" in rows.column_names:
        rows = _changed(rows, "shard", pa.repeat(pa.scalar("0"), rows.num_rows))
    if "window_id" in rows.column_names:
        rows = _changed(rows, "offset", pa.array(range(rows.num_rows)))
        rows = _changed(rows, "num_bytes", pa.repeat(1, rows.num_rows))
    return rows


def repeated(rows: pa.Table, num_units: int) -> pa.Table:
    """The rows of a session of so many units, `REPEATS` times one after the other; a row per session or track once."""
    by_time = next((name for name in ("start_unit", "unit", "start_ms") if name in rows.column_names), None)
    for name in ("num_units", "duration_ms"):
        if by_time is None and name in rows.column_names:
            rows = _changed(rows, name, pc.multiply(rows[name], REPEATS))
    if by_time is None:
        return rows
    step = {"start_ms": num_units * 160, "end_ms": num_units * 160, "start_unit": num_units, "unit": num_units}
    step["index"] = rows.num_rows
    pieces = []
    for number in range(REPEATS):
        piece = rows
        for name in step.keys() & set(rows.column_names):
            shift = pa.scalar(number * step[name], rows.schema.field(name).type)
            piece = _changed(piece, name, pc.add(rows[name], shift))
        pieces.append(piece)
    table = pa.concat_tables(pieces)
    key = next(each.key for each in TABLES.values() if each.schema.names == table.column_names)
    table = table.sort_by([(name, "ascending") for name in key])
    if "window_id" in table.column_names:
        starts = pc.utf8_lpad(pc.cast(table["start_unit"], pa.string()), 6, "0")
        views = pc.replace_substring_regex(table["window_id"], "[0-9]+$", "")
        table = _changed(table, "window_id", pc.binary_join_element_wise(views, starts, ""))
    return table.combine_chunks()


def _changed(rows: pa.Table, name: str, values: Any) -> pa.Table:
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
            rows = _changed(rows, name, values)
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
            tables["hashes"] = _with_hashes(tables["hashes"], job.key)
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
        rows = _changed(rows, f"{kind}_sha256", pa.array(hashes, pa.string()))
    return rows


def _with_hashes(rows: pa.Table, key: str) -> pa.Table:
    """Rows with other hashes for every session: no track is a copy."""
    rng = np.random.default_rng(int(session_hash(key)[:16], 16))
    for name in ("sound_hashes", "picture_hashes"):
        lists = rows[name].combine_chunks()
        values = rng.integers(0, HASH_VALUES, len(lists.values), dtype=np.uint32)
        field = rows.schema.field(name)
        rows = _changed(rows, name, pa.ListArray.from_arrays(lists.offsets, pa.array(values), type=field.type))
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
        rows = _changed(rows, f"{kind}_offset", pa.array(places, pa.int64()))
    return rows, content


def shard_bytes(home: Path, stage: str) -> int:
    """The size of shards that have as many sessions as shards of 512 MB have with real samples."""
    if stage == "encode":
        rows, _ = Templates(home / "templates").rows("latents", 0)
        units = pc.sum(rows["num_units"]).as_py()
        return SHARD_BYTES * len(_with_latents(rows)[1]) // (2 * units * (4 * 16 + 32 * 3 * 4))
    return SHARD_BYTES // WINDOW_BYTES


def params_of(stage: str, manifest: Path) -> Any:
    return {
        "ingest": IngestParams(source=str(manifest)),
        "quality": QualityParams(),
        "annotate": AnnotateParams(),
        "encode": EncodeParams(),
        "pack": PackParams(vocab_size=300),
    }[stage]


RUNS: Mapping[str, Any] = {
    "ingest": ingest.run, "quality": quality.run, "annotate": annotate.run, "encode": encode.run, "pack": pack.run
}  # fmt: skip
