"""A stage's driver on a made-up corpus, in a process of its own: `python -m tools.bench.scale_stage STAGE HOME`.

Prints what the driver and the processes that merge took, as JSON. The stage is the real one; only its worker is
`TemplateWorker`.
"""

import argparse
import json
import os
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from pipelines.engine import merge, run, shards
from pipelines.engine.jobs import RunParams
from pipelines.engine.merge import Merge
from tools.bench.resources import peak_gb
from tools.bench.scale_bulk import BulkMerge, merge_bulk, use_bulk
from tools.bench.scale_corpus import SHARD_VARIABLE, STAGES, VOCAB_SIZE, TemplateWorker, stage_shard_bytes


def merge_measured(task: Merge) -> list[str]:
    """Merge a bucket into shards of the scaled size, and note the peak memory of this process."""
    shards.SHARD_BYTES = int(os.environ[SHARD_VARIABLE])
    undone = merge_bulk(task) if isinstance(task, BulkMerge) and task.fed else merge.merge_bucket(task)
    note = task.data.parent / "peaks" / f"{os.getpid()}.json"
    note.write_text(json.dumps({"gb": peak_gb(), "cpu_s": time.process_time()}))
    return undone


def run_stage(stage: str, home: Path, how: RunParams) -> None:
    """Only this stage is imported: its start counts."""
    params: dict[str, dict[str, Any]] = {
        "ingest": {"source": str(home / "sources" / "manifest.parquet")},
        "pack": {"vocab_size": VOCAB_SIZE},
    }
    params_class = getattr(import_module(f"pipelines.{stage}.params"), f"{stage.title()}Params")
    import_module(f"pipelines.{stage}.stage").run(home / "data", params_class(**params.get(stage, {})), how)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.bench.scale_stage", description=__doc__)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("home", type=Path, help="folder with sources/, templates/ and data/")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--bulk", action="store_true", help="no worker and no parts (scale_bulk.py)")
    args = parser.parse_args()
    home: Path = args.home.resolve()
    peaks = home / "peaks"
    peaks.mkdir(exist_ok=True)
    for path in peaks.iterdir():
        path.unlink()
    run.KeyWorker = TemplateWorker  # type: ignore[misc]
    run.merge_bucket = merge_measured
    if args.bulk:
        use_bulk()
    os.environ[SHARD_VARIABLE] = str(stage_shard_bytes(home, args.stage))
    began_s, before_s = time.perf_counter(), time.process_time()
    run_stage(args.stage, home, RunParams(workers=args.workers))
    merges = [json.loads(path.read_text()) for path in peaks.iterdir() if path.stem != str(os.getpid())]
    figures = {
        "wall_s": round(time.perf_counter() - began_s, 2),
        "driver_cpu_s": round(time.process_time() - before_s, 2),
        "driver_gb": round(peak_gb(), 3),
        "merge_gb": round(max((each["gb"] for each in merges), default=0.0), 3),
        "merge_cpu_s": round(sum(each["cpu_s"] for each in merges), 2),
    }
    json.dump(figures, sys.stdout)


if __name__ == "__main__":
    main()
