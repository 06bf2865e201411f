"""Work that writes rows, a file and a segment per key, as ingest, annotate and encode together would."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from pipelines.engine import buckets, shards
from pipelines.engine.jobs import Job, Rejected, Result, RunParams, Segment
from pipelines.engine.run import run_keys
from pipelines.formats.npy_tar import member_bytes
from schemas.latents import LATENTS
from tests.helpers.small_corpus import keep_in_process

BLANK: dict[str, Any] = {
    f"{kind}_{name}": None
    for kind in ("audio", "video")
    for name in ("member", "offset", "sha256", "codec", "mean", "std")
}


def make_small(patch: pytest.MonkeyPatch) -> None:
    """Two sessions a bucket, shards of a few sessions; work and merges run in this process."""
    keep_in_process(patch)
    patch.setattr(buckets, "SESSIONS_PER_BUCKET", 2)
    patch.setattr(shards, "SHARD_BYTES", 6000)


def work(job: Job, data: Path, scratch: Path) -> Result:
    """Two members of a size that the key decides; their bytes depend on the key and on its version."""
    import numpy as np

    if job.spec.get("bad"):
        raise Rejected("unreadable", "0 bytes")
    version = job.spec["version"]
    seed = hashlib.sha256(f"{job.key} {version}".encode()).digest()
    content, rows = b"", []
    for who in ("a", "b"):
        array = np.frombuffer(seed * (1 + seed[0] % 7), np.float16)
        rows.append(
            {
                **BLANK, "session_id": job.key, "participant": who, "num_units": len(array), "shard": "0",
                "audio_member": f"{job.key}.{who}.npy", "audio_offset": len(content) + 512,
            }
        )  # fmt: skip
        content += member_bytes(f"{job.key}.{who}.npy", array)
    (scratch / "segment").write_bytes(content)
    (scratch / "file").write_bytes(seed)
    return Result(
        tables={"latents": rows},
        files={f"files/{job.key}.bin": scratch / "file"},
        segments=[Segment(path=scratch / "segment", folder="latents")],
        rejections=[(f"{job.key}/a", "short", "")],
    )


def run(data: Path, versions: dict[str, int], bad: frozenset[str] = frozenset(), **how: Any) -> dict[str, Any]:
    """Run over keys with these versions."""
    jobs = [
        Job(key=key, spec={"version": version, "bad": key in bad}, inputs=(str(version),))
        for key, version in versions.items()
    ]
    data.mkdir(parents=True, exist_ok=True)
    return run_keys(
        data, "encode", jobs, work, params=None, tables=(LATENTS,), how=RunParams(**{"workers": 1, **how}), code=()
    )
