"""Write tables and shards as a run from scratch would: `python -m tools.compact`.

Every run that adds sessions writes new shards for them. Training does not depend on this: the order of the windows and
their hash are functions of the windows alone. Compacting makes the files of a data folder that grew in steps equal,
byte for byte, to those of one that was made at once. Buckets that are so already are not touched.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from pipelines.engine.compact import canonical_buckets, compact
from pipelines.engine.errors import exit_on_input_error
from pipelines.engine.lock import folder_lock
from pipelines.engine.progress import progress
from pipelines.engine.state import num_state_buckets
from pipelines.engine.tables import check_data_folder
from pipelines.pack.index import write_shard_index
from pipelines.pack.stage import rewrite_folder
from schemas import TABLES_OF
from wanstreamer.errors import InputError

STAGES = ("people", "ingest", "quality", "annotate", "encode", "pack")


def compact_folder(data: Path) -> None:
    """Compact all stages. Raises InputError if damaged data was met: its sessions are undone now."""
    data = data.resolve()
    check_data_folder(data)
    with folder_lock(data):
        undone: dict[str, list[str]] = {}
        for stage in STAGES:
            if not num_state_buckets(data, stage):
                continue
            num_buckets = canonical_buckets(data, "people" if stage == "people" else "ingest")
            with progress(num_buckets, f"compact {stage}") as advance:
                if stage == "pack":
                    with rewrite_folder(data):
                        undone[stage] = compact(data, stage, TABLES_OF[stage], num_buckets, write_shard_index, advance)
                else:
                    undone[stage] = compact(data, stage, TABLES_OF[stage], num_buckets, None, advance)
    lost = [f"{key} ({stage})" for stage, keys in undone.items() for key in keys]
    if lost:
        raise InputError(
            f"{data}: damaged files of {len(lost)} sessions were found, for example {lost[0]}; run python -m "
            "tools.verify --repair"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.compact", description="Write tables and shards as a run from scratch would."
    )
    parser.add_argument("--data", type=Path, default=Path("data"), help="data folder (default: data)")
    args = parser.parse_args(arguments)
    with exit_on_input_error():
        compact_folder(args.data)
        print(f"{args.data}: tables and shards are as from scratch")


if __name__ == "__main__":
    main()
