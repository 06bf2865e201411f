"""Two stages, of which the second reads rows, files and samples of the first one; and what goes wrong."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from pipelines.engine.files import file_sha256
from pipelines.engine.inputs import check_files
from pipelines.engine.jobs import Job, Rejected, Result, RunParams
from pipelines.engine.run import run_keys
from pipelines.engine.state import keys_of
from pipelines.engine.tables import session_rows
from schemas.annotate import SPEECH
from tests.helpers import sealed_jobs
from tests.helpers.small_corpus import keep_in_process

FIGURES = {"source": "silero", "confidence": 1.0}


class Reader:
    """Its rows depend on all that it reads; its file has a copy of what it read."""

    def __init__(self, weights: Path, marks: Path) -> None:
        self.weights, self.marks = weights.read_bytes(), marks

    def __call__(self, job: Job, data: Path, scratch: Path) -> Result:
        with (self.marks / job.key).open("a") as file:
            file.write("x")
        tries = len((self.marks / job.key).read_text())
        if job.key in job.spec["dies"] and tries <= job.spec["dies"][job.key]:
            os.kill(os.getpid(), signal.SIGKILL)
        check_files(data, "encode", job.spec["files"])
        rows = session_rows(data, "latents", job.key)
        if not rows:
            raise Rejected("no_latents")
        samples = b""
        for row in rows:
            with (data / row["shard"]).open("rb") as shard:
                shard.seek(row["audio_offset"])
                samples += shard.read(64)
        files = b"".join((data / name).read_bytes() for name in sorted(job.spec["files"]))
        (scratch / "copy").write_bytes(b"|".join([self.weights, files, samples]))
        speech = {"session_id": job.key, "participant": "a", "start_ms": 0, "end_ms": 100, **FIGURES}
        return Result(tables={"speech": [speech]}, files={f"copies/{job.key}.bin": scratch / "copy"})


def run(
    data: Path, marks: Path, versions: dict[str, int], *, bad: frozenset[str] = frozenset(),
    dies: dict[str, int] | None = None, first: bool = True, **how: Any,
) -> dict[str, Any]:  # fmt: skip
    """Both stages, or only the second one. `how`: of the second one; the first one runs here, with its store."""
    weights = data / "models" / "weights.bin"
    if first:
        weights.parent.mkdir(parents=True, exist_ok=True)
        weights.write_bytes(b"weights")
        with pytest.MonkeyPatch.context() as patch:
            keep_in_process(patch)
            sealed_jobs.run(data, versions, bad, store=how.get("store", ""))

    marks.mkdir(exist_ok=True)
    jobs = []
    for key, state in keys_of(data, "encode", 0, 1).items():
        files = {name: sha256 for name, (_, sha256) in state.files.items()}
        spec = {"files": files, "dies": dies or {}}
        jobs.append(Job(key=key, spec=spec, inputs=(file_sha256(weights), *files.values())))
    return run_keys(
        data, "annotate", jobs, Reader, params=None, tables=(SPEECH,), reads=("latents",),
        how=RunParams(**{"workers": 2, "ray": False, **how}), code=(), setup={"weights": weights, "marks": marks},
    )  # fmt: skip


def tries(marks: Path) -> dict[str, int]:
    return {path.name: len(path.read_text()) for path in sorted(marks.iterdir())}
