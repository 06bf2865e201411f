"""Buckets: fixed groups of sessions, the unit in which tables and state are written.

The hash of a session's id decides its bucket, so every stage finds a session in the same bucket without a lookup.
Buckets are ranges of the hash: with twice as many buckets, each one is split into two neighbours.
"""

import hashlib
from collections.abc import Callable, Iterable
from functools import lru_cache

SESSIONS_PER_BUCKET = 512  # an added session rewrites the tables of a bucket in seconds; 100,000 hours are 2,048 files
HASH_DIGITS = 8


def session_hash(session_id: str) -> str:
    return hashlib.sha256(session_id.encode()).hexdigest()


def bucket_of(session_id: str, num_buckets: int) -> int:
    """The bucket of a session, 0 to num_buckets - 1.

    >>> [bucket_of("talk-0000", num_buckets) for num_buckets in (1, 2, 4)]
    [0, 1, 2]
    """
    return int(session_hash(session_id)[:HASH_DIGITS], 16) * num_buckets >> 4 * HASH_DIGITS


def buckets_for(num_sessions: int) -> int:
    """The number of buckets for a corpus: a power of two, so that a bucket has at most about SESSIONS_PER_BUCKET.

    >>> [buckets_for(sessions) for sessions in (0, 40, 512, 513, 60_000)]
    [1, 1, 1, 2, 128]
    """
    num_buckets = 1
    while num_sessions > num_buckets * SESSIONS_PER_BUCKET:
        num_buckets *= 2
    return num_buckets


def by_bucket(session_ids: Iterable[str]) -> Callable[[int, int], list[str]]:
    """A function (bucket, num_buckets) -> its sessions, in their order. Each session is hashed once per num_buckets."""
    session_ids = list(session_ids)

    @lru_cache(maxsize=1)
    def grouped(num_buckets: int) -> list[list[str]]:
        groups: list[list[str]] = [[] for _ in range(num_buckets)]
        for session_id in session_ids:
            groups[bucket_of(session_id, num_buckets)].append(session_id)
        return groups

    return lambda bucket, num_buckets: grouped(num_buckets)[bucket]


def bucket_name(bucket: int) -> str:
    return f"b={bucket:04d}"


def overlapping(bucket: int, num_buckets: int, other_buckets: int) -> range:
    """The buckets, of `other_buckets` in all, that share sessions with this one.

    >>> overlapping(1, 4, 2), overlapping(1, 2, 8), overlapping(3, 4, 4)
    (range(0, 1), range(4, 8), range(3, 4))
    """
    if other_buckets >= num_buckets:
        times = other_buckets // num_buckets
        return range(bucket * times, (bucket + 1) * times)
    parent = bucket * other_buckets // num_buckets
    return range(parent, parent + 1)


def track_folder(session_id: str) -> str:
    """The two letters of the folder of a session's tracks."""
    return session_hash(session_id)[:2]
