"""Writes a stage's buckets as a run from scratch would: the number of buckets, and which sessions a shard holds."""

from collections.abc import Callable, Sequence
from pathlib import Path

from pipelines.engine.buckets import buckets_for
from pipelines.engine.commit import finish_commits
from pipelines.engine.merge import Index, Merge, merge_bucket
from pipelines.engine.rebucket import rebucket
from pipelines.engine.shards import remove_unused_shards
from pipelines.engine.state import num_state_buckets, read_about, read_state


def canonical_buckets(data: Path, stage: str) -> int:
    """The number of buckets of a run from scratch over the sessions that a stage has now."""
    return buckets_for(sum(len(read_state(data, stage, b).keys) for b in range(num_state_buckets(data, stage))))


def compact(
    data: Path,
    stage: str,
    tables: Sequence[str],
    num_buckets: int,
    index: Index | None = None,
    advance: Callable[[], object] = lambda: None,
) -> list[str]:
    """Write the buckets of a stage that are not as from scratch; `advance` is called for each bucket.

    Returns keys that are undone now, because their present data turned out to be damaged.
    """
    finish_commits(data, data / "state" / stage)
    if num_state_buckets(data, stage) not in (0, num_buckets):
        rebucket(data, stage, tables, num_buckets)
    undone: list[str] = []
    former: set[str] = set()
    for bucket in range(num_state_buckets(data, stage)):
        about = read_about(data, stage, bucket)
        former |= set(about.shards)
        if not about.canonical:
            keys = tuple(sorted(read_state(data, stage, bucket).keys))
            undone += merge_bucket(
                Merge(
                    data=data, stage=stage, bucket=bucket, tables=tuple(tables), keys=keys,
                    given_up=frozenset(about.shards), inputs=about.inputs, index=index, num_buckets=num_buckets,
                )
            )  # fmt: skip
        advance()
    remove_unused_shards(data, stage, former)
    return undone
