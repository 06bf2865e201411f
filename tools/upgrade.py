"""Bring a data folder of an older version into the present form: `python -m tools.upgrade --data DIR`.

Older versions had one file per table, a folder per session and stage, and a tar per session. What did not change its
form stays: recordings, weights, the tokenizer, reports, and the list of people to be forgotten. Tables, tracks,
latents, windows and parts of the old form are removed; the next run of the stages makes them again.
"""

import argparse
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.engine.errors import exit_on_input_error
from pipelines.engine.lock import folder_lock
from pipelines.engine.tables import check_data_folder
from wanstreamer.errors import InputError


@dataclass(kw_only=True)
class Old:
    """What a data folder has of the old form."""

    paths: list[Path] = field(default_factory=list)
    num_bytes: int = 0


def find_old(data: Path) -> Old:
    """Files and folders that only older versions wrote."""
    old = Old()
    old.paths += sorted((data / "tables").glob("*.parquet")) + sorted(
        (data / "tables" / "rejections").glob("*.parquet")
    )
    old.paths += sorted(path.parent for path in (data / "parts").glob("*/*/part.json"))
    # A track of the present form is in a folder of two letters.
    old.paths += sorted({path.parent for path in (data / "tracks").glob("*/*") if len(path.parent.name) != 2})
    old.paths += sorted(path for path in (data / "latents").glob("*.tar") if not _is_shard(path))
    old.paths += sorted(path for path in (data / "windows").glob("*.tar"))
    if (data / "windows" / "index.parquet").is_file():
        old.paths += [data / "windows" / "index.parquet", data / "windows" / "manifest.json"]
    old.paths += [path for path in (data / "parts" / "ingest-hashes.json",) if path.is_file()]
    old.paths = [path for path in old.paths if path.exists()]
    files = [file for path in old.paths for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file()]
    old.num_bytes = sum(file.stat().st_size for file in files)
    return old


def _is_shard(path: Path) -> bool:
    """Whether a tar has a name of the present form: the bucket and 16 digits of its hash."""
    bucket, dash, digits = path.stem.partition("-")
    return bucket.isdecimal() and bool(dash) and len(digits) == 16


def upgrade(data: Path) -> Old:
    """Remove what is of the old form; returns it. Raises InputError if there is no data folder."""
    check_data_folder(data)
    with folder_lock(data.resolve()):
        old = find_old(data.resolve())
        for path in old.paths:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    return old


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.upgrade", description="Bring a data folder of an older version into the present form."
    )
    parser.add_argument("--data", type=Path, default=Path("data"), help="data folder (default: data)")
    parser.add_argument("--dry-run", action="store_true", help="only print what would be removed")
    parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    args = parser.parse_args(arguments)
    with exit_on_input_error():
        check_data_folder(args.data)
        old = find_old(args.data.resolve())
        if not old.paths:
            print(f"{args.data}: nothing of an older version in it")
            return
        print(f"{args.data}: {len(old.paths)} files and folders of an older version, {old.num_bytes / 1e9:.3g} GB")
        print(
            "recordings, weights and reports stay; tables, tracks, latents and windows are made again by the next run"
        )
        if args.dry_run:
            print("\n".join(f"  {path}" for path in old.paths))
            return
        if not args.yes:
            if not sys.stdin.isatty():
                raise InputError("this removes files; pass --yes to confirm, or --dry-run to list them")
            if input("Remove them? [y/N] ").lower() != "y":
                sys.exit(1)
        upgrade(args.data)
        print("upgraded; now run the stages again: make repro, or make windows with the arguments of last time")


if __name__ == "__main__":
    main()
