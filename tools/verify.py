"""Check every file of a data folder against the checksum that its writer recorded: `python -m tools.verify`.

Tables, tracks, shards with their indexes, the manifest of the windows, the state itself and the weights of the VAEs are
read whole, several at a time. Damage is listed by file, with the sessions it concerns. `--repair` marks these sessions
as undone and runs the stages again that made them; everything else stays as it is. `--store` checks the stores of the
folder, too. `--exports` checks what tools.export has written instead.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from pipelines.engine.errors import exit_on_input_error
from pipelines.engine.files import damage_of, hash_of_blocks
from pipelines.engine.lock import folder_lock
from pipelines.engine.progress import progress
from pipelines.engine.shards import blocks
from pipelines.engine.state import (
    BucketState,
    damage_note,
    key_note,
    num_state_buckets,
    read_about,
    read_state,
    state_file,
    summary_file,
)
from pipelines.engine.store import Store, stages_of, store_at, stores_of
from pipelines.engine.store_check import Stored, fault_of, remove_faulty, stored_objects
from pipelines.engine.tables import bucket_file, check_data_folder
from schemas import TABLES_OF
from tools.export.check import check_exports, mark_faults
from wanstreamer.errors import InputError
from wanstreamer.windows.index import index_path
from wanstreamer.windows.manifest import read_manifest

STAGES = ("people", "ingest", "quality", "annotate", "vae", "encode", "pack")


@dataclass(frozen=True, kw_only=True)
class Damage:
    """A file that is not what a stage wrote."""

    stage: str
    path: str
    what: str
    bucket: int | None = None  # of a table or state: all of its sessions are looked at
    keys: tuple[str, ...] = ()  # sessions that are undone
    store: str = ""  # that has the file; empty: the data folder


@dataclass(kw_only=True)
class Verified:
    files: int = 0
    num_bytes: int = 0
    damages: list[Damage] = field(default_factory=list)


Check = Callable[[], Damage | None]


def verify(data: Path, *, stores: Sequence[str] = (), workers: int | None = None) -> Verified:
    """Check all files of a data folder and of stores; changes nothing.

    Raises InputError if there is no data folder, or a store cannot be reached.
    """
    data = data.resolve()
    check_data_folder(data)
    result = Verified()
    checks: list[tuple[Path | None, Check]] = []
    for stage in STAGES:
        for bucket in range(num_state_buckets(data, stage)):
            checks += _bucket_checks(data, stage, bucket)
    checks += _weight_checks(data)
    checks += _window_checks(data)
    for uri in stores:
        checks += _store_checks(store_at(uri))
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool, progress(len(checks), "verify") as advance:
        for (path, _), damage in zip(checks, pool.map(lambda each: each[1](), checks), strict=True):
            result.files += 1
            result.num_bytes += path.stat().st_size if path is not None and path.is_file() else 0
            if damage is not None:
                result.damages.append(damage)
            advance()
    return result


def _bucket_checks(data: Path, stage: str, bucket: int) -> Iterator[tuple[Path, Check]]:
    path = state_file(data, stage, bucket)
    state = read_state(data, stage, bucket)
    yield path, lambda: _state_damage(data, stage, bucket, path, state)
    for table in (*TABLES_OF.get(stage, ()), f"rejections/{stage}"):
        recorded = state.tables.get(table.partition("/")[0])
        if recorded is not None:
            file = bucket_file(data, table, bucket)
            yield file, _file_check(data, stage, file, recorded["sha256"], bucket=bucket)
    for key, own in state.keys.items():
        for name, (_, sha256) in own.files.items():
            yield data / name, _file_check(data, stage, data / name, sha256, keys=(key,))
    for name, entry in state.shards.items():
        yield data / name, _shard_check(data, stage, name, entry["sha256"], state)
        if "index_sha256" in entry:
            keys = tuple(key for key, own in state.keys.items() if name in {extent.shard for extent in own.segments})
            index = Path(index_path(str(data / name)))
            yield index, _file_check(data, stage, index, entry["index_sha256"], keys=keys)


def _state_damage(data: Path, stage: str, bucket: int, path: Path, state: BucketState) -> Damage | None:
    """The state has a checksum of itself: damaged, it reads as empty."""
    if state.tables:
        return None
    return Damage(stage=stage, path=str(path.relative_to(data)), what="its checksum differs", bucket=bucket)


def _file_check(
    data: Path, stage: str, path: Path, sha256: str, *, bucket: int | None = None, keys: tuple[str, ...] = ()
) -> Check:
    def check() -> Damage | None:
        what = damage_of(path, sha256)
        name = str(path.relative_to(data))
        return Damage(stage=stage, path=name, what=what, bucket=bucket, keys=keys) if what else None

    return check


def _shard_check(data: Path, stage: str, name: str, sha256: str, state: BucketState) -> Check:
    """A damaged shard is looked at session by session."""

    def check() -> Damage | None:
        what = damage_of(data / name, sha256)
        if not what:
            return None
        lost = set()
        for key, own in state.keys.items():
            for extent in own.segments:
                if extent.shard == name and not _has_bytes(data / name, extent.offset, extent.num_bytes, extent.sha256):
                    lost.add(key)
        # Damage between the samples of sessions: the shard is written again if one of them is.
        keys = lost or {key for key, own in state.keys.items() if name in {extent.shard for extent in own.segments}}
        return Damage(stage=stage, path=name, what=what, keys=tuple(sorted(keys)))

    return check


def _has_bytes(path: Path, offset: int, num_bytes: int, sha256: str) -> bool:
    try:
        return hash_of_blocks(blocks(path, offset, num_bytes)) == sha256
    except OSError:
        return False


def _weight_checks(data: Path) -> Iterator[tuple[Path, Check]]:
    summary = summary_file(data, "vae")
    try:
        content = json.loads(summary.read_text())["content"] if summary.is_file() else {}
    except (ValueError, KeyError):
        content = {}
        yield summary, lambda: Damage(stage="vae", path=str(summary.relative_to(data)), what="is not readable")
    for kind, sha256 in content.items():
        path = data / "models" / "vae" / f"{kind}.safetensors"
        yield path, _file_check(data, "vae", path, sha256)


def _window_checks(data: Path) -> Iterator[tuple[Path, Check]]:
    manifest = data / "windows" / "manifest.json"

    def check() -> Damage | None:
        try:
            read_manifest(data / "windows")
        except InputError as error:
            return Damage(stage="pack", path="windows/manifest.json", what=str(error))
        return None

    if num_state_buckets(data, "pack") and any(
        read_about(data, "pack", bucket).shards for bucket in range(num_state_buckets(data, "pack"))
    ):
        yield manifest, check


def _store_checks(store: Store) -> Iterator[tuple[None, Check]]:
    for stage in stages_of(store):
        for stored in stored_objects(store, stage):
            yield None, partial(_stored_damage, store, stored)


def _stored_damage(store: Store, stored: Stored) -> Damage | None:
    what = fault_of(store, stored)
    keys = (stored.key,) if stored.key else ()
    return Damage(stage=stored.stage, path=stored.name, what=what, keys=keys, store=store.uri) if what else None


def mark(data: Path, damages: Sequence[Damage]) -> list[str]:
    """Mark what is damaged as undone; returns the stages that must run again, in their order.

    What is damaged in a store is removed from it.
    """
    stages = set()
    for damage in damages:
        stages.add(damage.stage)
        if damage.store:
            stored = Stored(damage.stage, damage.path, damage.keys[0] if damage.keys else "")
            remove_faulty(store_at(damage.store), [stored])
            continue
        summary_file(data, damage.stage).unlink(missing_ok=True)
        if damage.bucket is not None:
            damage_note(data, damage.stage, damage.bucket).touch()
        for key in damage.keys:
            key_note(data, damage.stage, key).parent.mkdir(parents=True, exist_ok=True)
            key_note(data, damage.stage, key).touch()
        if damage.stage == "vae":
            (data / damage.path).unlink(missing_ok=True)
        if damage.stage == "pack":
            (data / "windows" / "manifest.json").unlink(missing_ok=True)
    return [stage for stage in STAGES if stage in stages]


def repair(data: Path, damages: Sequence[Damage], params: Path, overrides: Sequence[str]) -> None:
    """Run the stages again that made what is damaged. Raises InputError if one of them fails."""
    with folder_lock(data):
        stages = mark(data, damages)
    uris = {damage.store for damage in damages} - {""}
    for stage in stages:
        command = [sys.executable, "-m", f"pipelines.{stage}", "--data", str(data), "--params", str(params)]
        for override in (*overrides, *(f"run.store={uri}" for uri in sorted(uris))):
            command += ["--set", override]
        print(f"verify: repairing {stage}", file=sys.stderr)
        if subprocess.run(command, check=False).returncode:
            raise InputError(f"python -m pipelines.{stage}: ended with an error; see above")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.verify",
        description="Check every file of a data folder against the checksum that its writer recorded.",
    )
    parser.add_argument("--data", type=Path, default=Path("data"), help="data folder (default: data)")
    parser.add_argument(
        "--store",
        nargs="?",
        const="",
        metavar="URI",
        help="check this store, too; without URI, all stores that the data folder has used",
    )
    parser.add_argument("--exports", action="store_true", help="check what was exported instead (exports.jsonl)")
    parser.add_argument("--repair", action="store_true", help="run the stages again that made what is damaged")
    parser.add_argument(
        "--params", type=Path, default=Path("params.yaml"), help="of these stages (default: params.yaml)"
    )
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="of these stages")
    args = parser.parse_args(arguments)
    with exit_on_input_error():
        if args.exports:
            _verify_exports(args.data, repair=args.repair)
            return
        stores = [] if args.store is None else [args.store] if args.store else stores_of(args.data)
        result = verify(args.data, stores=stores)
        for damage in result.damages:
            sessions = f"; sessions: {_some(damage.keys)}" if damage.keys else ""
            print(f"{_address(args.data, damage)}: {damage.what} ({damage.stage}{sessions})")
        print(
            f"{result.files} files, {result.num_bytes / 1e9:.3g} GB: "
            f"{len(result.damages) or 'none'} damaged" + (" or missing" if result.damages else "")
        )
        if not result.damages:
            return
        if not args.repair:
            print(f"repair them with python -m tools.verify --data {args.data} --repair", file=sys.stderr)
            sys.exit(1)
        repair(args.data.resolve(), result.damages, args.params, args.set)
        left = verify(args.data, stores=stores).damages
        if left:
            raise InputError(f"{_address(args.data, left[0])}: {left[0].what} still; make it again from its sources")
        print("all repaired")


def _verify_exports(data: Path, *, repair: bool) -> None:
    check_data_folder(data)
    num_files, faults = check_exports(data)
    for fault in faults:
        print(f"{Path(fault.export) / fault.file}: {fault.what}; {fault.remedy}")
    damaged = [fault for fault in faults if fault.file]
    print(f"{num_files} exported files: {len(damaged) or 'none'} damaged" + (" or missing" if damaged else ""))
    if damaged and repair:
        mark_faults(damaged)
    elif damaged:
        print("with --repair, the next export writes their sessions again", file=sys.stderr)
    if damaged:
        sys.exit(1)


def _address(data: Path, damage: Damage) -> str:
    return f"{damage.store}/{damage.path}" if damage.store else str(data / damage.path)


def _some(keys: Sequence[str]) -> str:
    return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")


if __name__ == "__main__":
    main()
