"""Run all stages, and kill itself just before a write: `python -m tests.helpers.fault_points DATA LOG N`.

Each operation that changes the data folder (a rename, a removal, a file opened for writing) is one line of LOG: its
kind. The process kills itself before operation N; with N = 0 it runs to its end.
"""

import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from pipelines.engine import buckets, shards
from tests.helpers.small_corpus import Person
from tests.helpers.staged_corpus import Corpus, stage_corpus

WRITES = ("os.rename", "os.remove", "open")


WORDS = [("red", 0, 200), ("blue", 300, 600)]
PEOPLE = {"a": Person(speaker_id="ann", words=WORDS), "b": Person(speaker_id="bob")}


def corpus(*sessions: str) -> Corpus:
    """Sessions of 12 units; those with an odd number are in the split test."""
    return {key: ("test" if int(key[1:]) % 2 else "train", 12, PEOPLE) for key in sessions}


BEFORE = corpus("s1", "s2", "s3", "s4", "s5")
AFTER = corpus("s2", "s3", "s4", "s6", "s7", "s8") | {"s5": ("train", 16, PEOPLE)}


def make_small(patch: pytest.MonkeyPatch) -> None:
    """Two sessions a bucket, shards of a few sessions."""
    patch.setattr(buckets, "SESSIONS_PER_BUCKET", 2)
    patch.setattr(shards, "SHARD_BYTES", 20_000)


def kind_of(event: str, path: Path, data: Path) -> str:
    """The operation, and the path without what differs from stage to stage, session to session and run to run."""
    name = path.relative_to(data).as_posix()
    for pattern, general in (
        (r"[0-9a-f]{16}|\d+", "N"),
        (r"^tracks/[^/]+", "tracks/X"),
        (r"^tables/(rejections/)?[^/]+", r"tables/\1T"),
        (r"^(parts|state|timings)/(\.?)[a-z]+", r"\1/\2STAGE"),
        (r"duplicates/tmp[^/]+", "duplicates/X"),
    ):
        name = re.sub(pattern, general, name)
    return f"{event} {name}"


def kill_before(data: Path, log: Path, number: int) -> None:
    """From now on, log the operations below `data`, and end this process before operation `number`."""
    home, lines, seen = f"{data}{os.sep}", log.open("w", buffering=1), 0

    def hook(event: str, args: tuple[Any, ...]) -> None:
        nonlocal seen
        if event not in WRITES or (event == "open" and not args[2] & (os.O_WRONLY | os.O_RDWR)):
            return
        path = os.fsdecode(args[1 if event == "os.rename" else 0]) if not isinstance(args[0], int) else ""
        if not path.startswith(home) or ".lock" in path:
            return
        seen += 1
        if seen == number:
            os.kill(os.getpid(), signal.SIGKILL)
        lines.write(kind_of(event, Path(path), data) + "\n")

    sys.addaudithook(hook)


def main() -> None:
    data, log, number = Path(sys.argv[1]).resolve(), Path(sys.argv[2]), int(sys.argv[3])
    with pytest.MonkeyPatch.context() as patch:
        make_small(patch)
        kill_before(data, log, number)
        stage_corpus(data, AFTER)


if __name__ == "__main__":
    main()
