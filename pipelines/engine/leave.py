"""Removes sessions from what a stage has made: its tables, shards, files, parts and state."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.engine.buckets import bucket_of
from pipelines.engine.commit import finish_commits
from pipelines.engine.merge import Index, Merge, merge_bucket
from pipelines.engine.parts import noted_files, part_path, read_part, remove_part, scratch_home
from pipelines.engine.shards import remove_unused_shards
from pipelines.engine.state import key_note, num_state_buckets, read_about, read_state, sum_up, summary_file
from schemas import TABLES_OF


@dataclass(kw_only=True)
class Left:
    """What was removed."""

    rows: int = 0
    files: int = 0


def remove_keys(
    data: Path, stage: str, keys: Sequence[str], *, index: Index | None = None, judge: Callable[[], None] | None = None
) -> Left:
    """Remove keys from a stage. Only the buckets that have some are written, and the shards with their samples.

    Other keys of these shards move to new ones, as in a run without the removed keys. Each bucket is changed in one
    step: after a kill, the same call removes the rest.

    Args:
        data: The data folder; the caller holds its lock.
        stage: Name of the stage.
        keys: Keys that leave; unknown ones are ignored.
        index: As in `run_keys`.
        judge: Is called before the stage counts as done again, to write what depends on all keys.
    """
    finish_commits(data, data / "state" / stage)
    left = Left()
    for key in keys:
        left.files += _remove_unmerged(data, stage, key)
    num_buckets = num_state_buckets(data, stage)
    states = {bucket: read_state(data, stage, bucket) for bucket in sorted({bucket_of(k, num_buckets) for k in keys})}
    changing = {bucket for bucket, state in states.items() if state.keys.keys() & set(keys) or not state.tables}
    if not num_buckets or not changing:
        return left
    whole = summary_file(data, stage).is_file()
    summary_file(data, stage).unlink(missing_ok=True)
    given_up = frozenset(
        extent.shard
        for bucket in changing
        for key in states[bucket].keys.keys() & set(keys)
        for extent in states[bucket].keys[key].segments
    )
    before = {bucket: read_about(data, stage, bucket) for bucket in range(num_buckets)}
    changing |= {bucket for bucket, about in before.items() if given_up & set(about.shards)}
    for bucket in sorted(changing):
        state = states.get(bucket) or read_state(data, stage, bucket)
        merge = Merge(
            data=data, stage=stage, bucket=bucket, tables=TABLES_OF[stage],
            keys=tuple(sorted(set(state.keys) - set(keys))), given_up=given_up, index=index, num_buckets=num_buckets,
        )  # fmt: skip
        whole &= not merge_bucket(merge)
        left.files += sum(len(own.files) for key, own in state.keys.items() if key in keys)
        after = read_about(data, stage, bucket)
        left.rows += sum(
            before[bucket].tables[name]["num_rows"] - after.tables[name]["num_rows"] for name in state.tables
        )
    remove_unused_shards(data, stage, given_up)
    if judge is not None:
        judge()
    sum_up(data, stage, TABLES_OF[stage], whole=whole)
    return left


def _remove_unmerged(data: Path, stage: str, key: str) -> int:
    """Remove the part and the scratch folder of a key; returns how many files."""
    home = data / "parts" / stage
    scratch = scratch_home(home, key)
    names = set(noted_files(scratch))
    part = read_part(part_path(home, key))
    if part is not None:
        names |= set(part.files)
    count = sum((data / name).is_file() for name in names) + part_path(home, key).is_file()
    for name in names:
        (data / name).unlink(missing_ok=True)
    remove_part(home, key)
    key_note(data, stage, key).unlink(missing_ok=True)
    shutil.rmtree(scratch, ignore_errors=True)
    return count
