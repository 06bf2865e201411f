"""A folder of windows of any size without their bytes: indexes, runs and manifest as pack writes them, but no tar.

With it, the loader's start, memory and look-ups are measured for corpora that do not fit on the machine at hand.
"""

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.pack.index import Run, SessionDigest, ShardLine, shard_runs, write_manifest, write_shard_index
from pipelines.pack.params import PackParams
from schemas.fields import SCHEMA_VERSION

WINDOW_BYTES = 71_168  # of a window of scale `tiny`
SHARD_BYTES = 512_000_000
SESSIONS_PER_BUCKET = 8_192
AUDIO_SHAPE, VIDEO_SHAPE = (4, 16), (32, 3, 4)  # the latents of scale `tiny`


def write_synthetic_index(folder: Path, num_sessions: int, windows_per_session: int) -> int:
    """Write a folder of train windows without tars; returns the number of shards.

    Sessions lie where their bucket puts them, in shards of at most 512 MB.
    """
    num_buckets = 1
    while num_sessions > num_buckets * SESSIONS_PER_BUCKET:
        num_buckets *= 2
    buckets: list[list[str]] = [[] for _ in range(num_buckets)]
    for number in range(num_sessions):
        session_id = f"talk-{number:06d}"
        buckets[int(_sha256(session_id)[:8], 16) * num_buckets >> 32].append(session_id)
    per_shard = max(1, SHARD_BYTES // (WINDOW_BYTES * windows_per_session))
    (folder / "train").mkdir(parents=True)
    shards: list[ShardLine] = []
    runs: list[Run] = []
    for bucket, sessions in enumerate(buckets):
        for first in range(0, len(sessions), per_shard):
            of_shard = sessions[first : first + per_shard]
            sha256 = _sha256(" ".join(of_shard))
            path = f"train/{bucket:04d}-{sha256[:16]}.tar"
            rows = _rows(of_shard, windows_per_session)
            index_sha256 = write_shard_index(folder / path, rows)
            shards.append(ShardLine(path, "train", len(rows), WINDOW_BYTES * len(rows) + 1024, sha256, index_sha256))
            runs += shard_runs(path, rows)
    write_manifest(
        folder, shards, runs, (SessionDigest(run.split, run.session_id, _sha256(run.session_id)) for run in runs),
        params=PackParams(), shapes={"audio": AUDIO_SHAPE, "video": VIDEO_SHAPE},
        vae_hashes={"audio": None, "video": None}, vocab_size=512, tokenizer_sha256="0" * 64,
    )  # fmt: skip
    return len(shards)


def _rows(sessions: list[str], windows_per_session: int) -> pa.Table:
    """The windows of some sessions one after the other, half of them in either role view."""
    places = np.arange(windows_per_session)
    view, start_unit = np.divmod(places, -(-windows_per_session // 2))
    endings = pa.array([f"-{'ab'[agent]}-{16 * start:06d}" for agent, start in zip(view, start_unit, strict=True)])
    count, names = len(sessions) * windows_per_session, pa.array(sessions)
    session = np.repeat(np.arange(len(sessions), dtype=np.int32), windows_per_session)
    view, start_unit = (np.tile(column, len(sessions)).astype(np.int32) for column in (view, start_unit))

    def chosen(codes: np.ndarray, values: pa.Array) -> pa.Array:
        return pa.DictionaryArray.from_arrays(pa.array(codes), values)

    def constant(value: object, kind: pa.DataType) -> pa.Array:
        return pa.repeat(pa.scalar(value, kind), count)

    ids = pc.binary_join_element_wise(names.take(pa.array(session)), pa.concat_arrays([endings] * len(sessions)), "")
    agent_speakers = pa.array([f"{name}-a" for name in sessions] + [f"{name}-b" for name in sessions])
    offset = np.arange(count, dtype=np.int64) * WINDOW_BYTES
    consent = pa.repeat(pa.scalar(["share", "show", "train"], pa.list_(pa.string())), count)
    columns = {
        "window_id": ids, "session_id": chosen(session, names), "split": constant("train", pa.string()),
        "agent": chosen(view, pa.array(["a", "b"])), "user": chosen(1 - view, pa.array(["a", "b"])),
        "agent_speaker_id": chosen(session + len(sessions) * view, agent_speakers),
        "user_speaker_id": chosen(session + len(sessions) * (1 - view), agent_speakers),
        "start_unit": pa.array(16 * start_unit), "num_units": constant(32, pa.int32()), "offset": pa.array(offset),
        "num_bytes": constant(WINDOW_BYTES, pa.int64()), "crc32": pa.array(offset * 2_654_435_761 % (1 << 32)),
        "agent_speech_ms": pa.array(offset % 5120), "user_audio_masked_units": constant(0, pa.int32()),
        "agent_audio_masked_units": constant(0, pa.int32()), "licence": constant("CC0-1.0", pa.string()),
        "consent": consent, "schema_version": constant(SCHEMA_VERSION, pa.int16()),
    }  # fmt: skip
    return pa.table(columns)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
