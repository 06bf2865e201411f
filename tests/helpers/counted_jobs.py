"""Work that leaves a mark per call, so that tests can count what was done."""

import errno
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.engine.jobs import Job, Rejected, Result
from pipelines.engine.run import RunParams, run_keys
from schemas.annotate import SPEECH
from wanstreamer.errors import InputError

FIGURES = {"source": "silero", "confidence": 1.0}


@dataclass(frozen=True, kw_only=True)
class Settings:
    length_ms: int = 100


def speak(job: Job, data: Path, scratch: Path) -> Result:
    """A speech row and a bulk file per key; leaves a mark per call, so that tests can count the work done."""
    marks = data / "marks"
    marks.mkdir(exist_ok=True)
    with (marks / job.key).open("a") as file:
        file.write("x")
    if job.spec.get("dies"):
        os.kill(os.getpid(), signal.SIGKILL)
    if job.spec.get("hangs"):
        time.sleep(60)
    if job.spec.get("stutters") and calls(data)[job.key] <= job.spec["stutters"]:
        raise OSError(errno.EIO, "Input/output error")
    if job.spec.get("full"):
        raise OSError(errno.ENOSPC, "No space left on device")
    if job.spec.get("bad"):
        raise Rejected("unreadable", "0 bytes")
    if job.spec.get("bug"):
        raise ZeroDivisionError("a bug")
    if job.spec.get("mistake"):
        raise InputError("weights/: no such folder")
    (scratch / "x.bin").write_bytes(job.key.encode() * 10)
    row = {"session_id": job.key, "participant": "a", "start_ms": 0, "end_ms": 100, **FIGURES}
    return Result(
        tables={"speech": [row]},
        files={f"bulk/{job.key}.bin": scratch / "x.bin"},
        rejections=[(f"{job.key}/a", "short", "")] * 2,
    )


def run(data: Path, jobs: list[Job], params: Settings | None = None, **how: Any) -> dict:
    data.mkdir(exist_ok=True, parents=True)
    return run_keys(
        data, "annotate", jobs, speak, params=params or Settings(), tables=(SPEECH,),
        how=RunParams(**{"workers": 2, **how}), code=(),
    )  # fmt: skip


def jobs_of(*keys: str, **spec: Any) -> list[Job]:
    return [Job(key=key, spec=dict(spec), inputs=(key,)) for key in keys]


def calls(data: Path) -> dict[str, int]:
    return {path.name: len(path.read_text()) for path in sorted((data / "marks").iterdir())}


def contents(data: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(data)): path.read_bytes()
        for path in sorted(data.rglob("*"))
        if path.is_file() and not {"marks", "timings"} & set(path.parts) and not path.name.startswith(".lock")
    }


class Speaker:
    """As `speak`, with a mark per process that builds it."""

    def __init__(self, data: Path) -> None:
        with (data / "marks" / "built").open("a") as file:
            file.write("x")

    def __call__(self, job: Job, data: Path, scratch: Path) -> Result:
        return speak(job, data, scratch)
