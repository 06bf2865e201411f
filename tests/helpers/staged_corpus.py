"""A data folder as the stages leave it, state and shards included: a small corpus, and the real pack.

What the stages before pack would measure is given; their runs are real. Called again with other sessions, it does what
a rerun does.
"""

import tempfile
import zlib
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.engine.files import file_sha256
from pipelines.engine.jobs import Job, PartlyDone, Result, RunParams, Segment
from pipelines.engine.run import run_keys
from pipelines.engine.tables import read_rows, rows_by_session
from pipelines.formats.npy_tar import npy_tar
from pipelines.formats.tokenizer import fit_tokenizer
from pipelines.pack import stage as pack
from pipelines.pack.stage import PackParams
from pipelines.quality.params import QualityParams
from pipelines.quality.stage import judge_all
from schemas import TABLES, TABLES_OF
from tests.helpers.blank_rows import blank_row
from tests.helpers.paths import track_path
from tests.helpers.small_corpus import AUDIO_SHAPE, VIDEO_SHAPE, Person, keep_in_process, latent, write_corpus

KINDS = {"audio": "wav", "video": "mp4"}
HASHES = 64  # per track
Corpus = dict[str, tuple[str, int, dict[str, Person]]]


def stage_corpus(
    data: Path, corpus: Corpus, *, same: tuple[str, ...] = (), store: str = "", ranges: tuple[str, ...] = ()
) -> None:
    """Run all stages over a corpus (as in `write_corpus`). Participant `a` of the sessions in `same` is one recording
    that was given several times. Each stage runs first for each of `ranges` of buckets, then for all."""
    hows = [RunParams(workers=1, store=store, buckets=own) for own in (*ranges, "")]
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        keep_in_process(patch)
        raw = Path(name)
        write_corpus(
            raw, corpus, {(key, who): _latents(key, who, each[1]) for key, each in corpus.items() for who in each[2]}
        )
        measured = _quality(corpus, same)
        for stage in ("ingest", "quality", "annotate", "encode"):
            rows = {table: _rows(raw, table) for table in TABLES_OF[stage] if (raw / "tables" / table).is_dir()}
            rows |= measured if stage == "quality" else {}
            jobs = [
                Job(key=key, spec={"rows": {table: own.get(key, []) for table, own in rows.items()}, "stage": stage})
                for key in sorted(corpus)
            ]
            for how in hows:
                with suppress(PartlyDone):
                    run_keys(
                        data, stage, jobs, _give, params=None, how=how, code=(),
                        tables=tuple(TABLES[table] for table in TABLES_OF[stage]),
                        finish=partial(judge_all, data, QualityParams(), 1) if stage == "quality" else None,
                    )  # fmt: skip
        tokenizer = data.parent / "tokenizer.json"  # its path is a parameter
        tokenizer.write_text(fit_tokenizer(["red", "blue"], 300).to_str())
        for how in hows:
            with suppress(PartlyDone):
                pack.run(data, PackParams(window_units=4, stride_units=4, tokenizer=str(tokenizer)), how)


def _latents(key: str, who: str, num_units: int) -> tuple[np.ndarray, np.ndarray]:
    """They depend on the session alone, not on which others there are."""
    index = zlib.crc32(f"{key}/{who}".encode()) % 1000
    return latent(index, num_units, AUDIO_SHAPE), latent(index, num_units, VIDEO_SHAPE)


def _rows(raw: Path, table: str) -> dict[str, list[dict[str, Any]]]:
    """What does not depend on the other sessions."""
    places = {"schema_version", "shard", *TABLES[table].offsets}
    rows = [{name: value for name, value in row.items() if name not in places} for row in read_rows(raw, table)]
    return rows_by_session(rows)


def _quality(corpus: Corpus, same: tuple[str, ...]) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Rows of the tables of quality, by session. Sessions whose names end in `quiet` are too silent."""
    tables: dict[str, dict[str, list[dict[str, Any]]]] = {"quality": {}, "hashes": {}}
    for key, (_, _, people) in corpus.items():
        for who in sorted(people):
            ids = {"session_id": key, "participant": who}
            seed = zlib.crc32(("same" if key in same and who == "a" else f"{key}/{who}").encode())
            values = np.random.default_rng(seed).integers(0, 1 << 30, HASHES).tolist()
            hashes = {"sound_hashes": values, "sound_frames": list(range(0, 10 * HASHES, 10))}
            tables["quality"].setdefault(key, []).append(
                blank_row("quality", **ids, usable=True, silent_share=1.0 if key.endswith("quiet") else 0.0)
            )
            tables["hashes"].setdefault(key, []).append(blank_row("hashes", **ids, **hashes))
    return tables


def _give(job: Job, data: Path, scratch: Path) -> Result:
    """The rows of a session; in ingest with its tracks, in encode with its latents."""
    tables = {table: rows for table, rows in job.spec["rows"].items() if rows}
    result = Result(tables=tables)
    for row in tables.get("tracks", []):
        for kind, suffix in KINDS.items():
            name = track_path(job.key, row["participant"], suffix)
            (scratch / Path(name).name).write_text(f"{name} of {row['speaker_id']}")
            result.files[name] = scratch / Path(name).name
            row |= {f"{kind}_path": name, f"{kind}_sha256": file_sha256(scratch / Path(name).name)}
    if job.spec["stage"] == "encode":
        arrays = {
            row[f"{kind}_member"]: array
            for row in tables["latents"]
            for kind, array in zip(KINDS, _latents(job.key, row["participant"], row["num_units"]), strict=True)
        }
        with npy_tar(scratch / "segment", {n: a.shape for n, a in arrays.items()}, "float16", segment=True) as tar:
            for name, array in arrays.items():
                tar.write(name, 0, array)
        for row in tables["latents"]:
            row |= {"shard": "0"} | {f"{kind}_offset": tar.places[row[f"{kind}_member"]].npy_offset for kind in KINDS}
        result.segments.append(Segment(path=scratch / "segment", folder="latents"))
    return result
