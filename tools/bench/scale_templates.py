"""Templates of sessions of ten minutes for `tools.bench scale`, from real work of the stages.

The stages run once, on `TEMPLATES` short sessions of the sample. A template is the rows of such a session, `REPEATS`
times one after the other.
"""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.annotate import stage as annotate
from pipelines.annotate.params import AnnotateParams
from pipelines.encode import stage as encode
from pipelines.encode.params import EncodeParams
from pipelines.engine.jobs import RunParams
from pipelines.engine.tables import read_rows, session_table
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
from tools.bench.scale_corpus import REPEATS, STAGES, TEMPLATE_S, TEMPLATES, VOCAB_SIZE, changed


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
    pack.run(data, PackParams(vocab_size=VOCAB_SIZE), how)
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
        rows = changed(rows, "shard", pa.repeat(pa.scalar("0"), rows.num_rows))
    if "window_id" in rows.column_names:
        rows = changed(rows, "offset", pa.array(range(rows.num_rows)))
        rows = changed(rows, "num_bytes", pa.repeat(1, rows.num_rows))
    return rows


def repeated(rows: pa.Table, num_units: int) -> pa.Table:
    """The rows of a session of so many units, `REPEATS` times one after the other; a row per session or track once."""
    by_time = next((name for name in ("start_unit", "unit", "start_ms") if name in rows.column_names), None)
    for name in ("num_units", "duration_ms"):
        if by_time is None and name in rows.column_names:
            rows = changed(rows, name, pc.multiply(rows[name], REPEATS))
    if by_time is None:
        return rows
    step = {"start_ms": num_units * 160, "end_ms": num_units * 160, "start_unit": num_units, "unit": num_units}
    step["index"] = rows.num_rows
    pieces = []
    for number in range(REPEATS):
        piece = rows
        for name in step.keys() & set(rows.column_names):
            shift = pa.scalar(number * step[name], rows.schema.field(name).type)
            piece = changed(piece, name, pc.add(rows[name], shift))
        pieces.append(piece)
    table = pa.concat_tables(pieces)
    key = next(each.key for each in TABLES.values() if each.schema.names == table.column_names)
    table = table.sort_by([(name, "ascending") for name in key])
    if "window_id" in table.column_names:
        starts = pc.utf8_lpad(pc.cast(table["start_unit"], pa.string()), 6, "0")
        views = pc.replace_substring_regex(table["window_id"], "[0-9]+$", "")
        table = changed(table, "window_id", pc.binary_join_element_wise(views, starts, ""))
    return table.combine_chunks()
