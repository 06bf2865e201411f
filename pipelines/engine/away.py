"""Work on a machine that does not have the data folder: only the store connects it to the driver.

The driver leaves a token in its data folder. A worker that does not find it there works in a temporary folder instead.
It gets what the session needs from the store: the files of earlier stages that its job names, the rows of their tables,
and the files that the stage's `setup` names, such as weights. Its part goes into the store, and the driver takes it
from there before the bucket is merged. What else a worker leaves in the data folder, it reports to the driver.

    inputs/<stage>/<16 digits of the sha256>/<name>     in the store: a file below the data folder that `setup` names,
                                                        as long as the stage runs
    attempts/<stage>/<key>/<run>/<number>               that a worker of the run has begun the key; gone when it is done
"""

import fcntl
import os
import shutil
import socket
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.engine.files import file_sha256
from pipelines.engine.forgotten import NAME as FORGOTTEN
from pipelines.engine.jobs import Damaged, Job
from pipelines.engine.kept_lists import copies_of
from pipelines.engine.merge import relocated
from pipelines.engine.parts import read_arrow
from pipelines.engine.store import (
    Store,
    Taken,
    fetch_object,
    has_object,
    has_part,
    list_objects,
    put_object,
    remove_below,
    remove_objects,
    take_part,
)
from pipelines.engine.tables import write_table
from schemas import TABLES
from wanstreamer.errors import InputError

PREFIX = "wanstreamer-away-"  # of temporary folders
HELD = ".held"  # in them: locked as long as their process lives
DIGITS = 16


def token_path(data: Path, stage: str, run_id: str) -> Path:
    return data / "parts" / stage / f".token-{run_id}"


def files_in(setup: object, data: Path) -> list[Path]:
    """Paths below the data folder in the values of `setup`, which may be nested."""
    found: list[Path] = []

    def note(path: Path) -> Path:
        found.append(path)
        return path

    moved_setup(setup, data, note)
    return sorted(set(found))


def moved_setup(value: Any, data: Path, move: Callable[[Path], Path]) -> Any:
    """The same values with other paths instead of those below the data folder."""
    if isinstance(value, str | Path) and str(value).startswith(f"{data}/"):
        return type(value)(move(Path(value)))
    if isinstance(value, Mapping):
        return {name: moved_setup(each, data, move) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(moved_setup(each, data, move) for each in value)
    return value


def put_inputs(store: Store, data: Path, stage: str, setup: object) -> dict[str, str]:
    """Copy the files of `setup` to the store; returns their names below the data folder, and their hashes."""
    hashes = {str(path.relative_to(data)): file_sha256(path) for path in files_in(setup, data) if path.is_file()}
    wanted = {_input_object(stage, name, sha256) for name, sha256 in hashes.items()}
    there = list_objects(store, f"inputs/{stage}")
    for name, sha256 in hashes.items():
        if (place := _input_object(stage, name, sha256)) not in there:
            put_object(store, place, data / name)
    remove_objects(store, sorted(there - wanted))
    return hashes


def _input_object(stage: str, name: str, sha256: str) -> str:
    return f"inputs/{stage}/{sha256[:DIGITS]}/{name}"


def local_setup(setup: Any, data: Path, inputs: Mapping[str, str], store: Store, stage: str, folder: Path) -> Any:
    """`setup` with the paths of copies in a local folder.

    Raises InputError for a folder, and for a file that is not in the store as it should be.
    """

    def move(path: Path) -> Path:
        name = str(path.relative_to(data))
        if name not in inputs:
            raise InputError(
                f"{path}: the worker on {socket.gethostname()} does not have it; expected it in a bucket or on a file "
                "system that all machines share"
            )
        if not (folder / name).is_file():
            copy = folder / f"{name}.part"
            if not fetch_object(store, _input_object(stage, name, inputs[name]), copy, inputs[name]):
                raise InputError(f"{store.uri}: its copy of {name} is missing or damaged; run the same command again")
            copy.replace(folder / name)
        return folder / name

    return moved_setup(setup, data, move)


class AwayFolder:
    """A temporary folder of this process, with a folder for the files of `setup` and one for each key."""

    def __init__(self) -> None:
        _remove_abandoned(Path(tempfile.gettempdir()))
        self.home = Path(tempfile.mkdtemp(prefix=PREFIX))
        held = os.open(self.home / HELD, os.O_CREAT | os.O_RDWR)
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        weakref.finalize(self, _leave, self.home, held)

    @property
    def inputs(self) -> Path:
        return self.home / "inputs"

    @contextmanager
    def data(self) -> Iterator[Path]:
        """A data folder for one key: its name is never used again."""
        folder = Path(tempfile.mkdtemp(dir=self.home)) / "data"
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder.parent, ignore_errors=True)


def _leave(home: Path, held: int) -> None:
    shutil.rmtree(home, ignore_errors=True)
    os.close(held)


def _remove_abandoned(folder: Path) -> None:
    """Remove what killed processes have left."""
    for home in folder.glob(f"{PREFIX}*"):
        with suppress(OSError):
            held = os.open(home / HELD, os.O_RDWR)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(home, ignore_errors=True)
            finally:
                os.close(held)


def check_store(store: Store) -> None:
    """Raises InputError if the driver has not written here: a folder of this machine that has the same name."""
    if not any(has_object(store, name) for name in copies_of(FORGOTTEN)):
        raise InputError(
            f"run.store {store.uri}: the worker on {socket.gethostname()} does not find there what this run has put "
            "there; expected a bucket or a folder that all machines share"
        )


def count_attempt(store: Store, stage: str, key: str, run_id: str) -> int:
    """How many times workers of this run have begun the key, this time included."""
    home = f"attempts/{stage}/{key}"
    others = list_objects(store, home)
    own = sorted(name for name in others if name.startswith(f"{home}/{run_id}/"))
    remove_objects(store, sorted(others - set(own)))
    put_object(store, f"{home}/{run_id}/{len(own) + 1}", b"")
    return len(own) + 1


def keys_with_attempts(store: Store, stage: str) -> set[str]:
    """Keys that workers have begun and not finished."""
    home = f"attempts/{stage}/"
    return {name[len(home) :].partition("/")[0] for name in list_objects(store, home.rstrip("/"))}


def forget_attempts(store: Store, stage: str, key: str) -> None:
    remove_below(store, f"attempts/{stage}/{key}")


def fetch_needs(store: Store, job: Job, needs: Mapping[str, str], tables: Sequence[str], data: Path) -> None:
    """Make what earlier stages have of a session, and its job needs, available in a local data folder.

    Args:
        needs: Stage -> the fingerprint of its part of this session; empty if it has none.
        tables: Whose rows are read.

    Raises:
        Damaged: The store's copy of a part is not as it was written.
        InputError: The store has no copy.
    """
    named = set(_strings(job.spec))
    for stage, fingerprint in needs.items():
        own = [table for table in tables if TABLES[table].stage == stage]
        if not fingerprint:
            _write_rows(data, own, {})
            continue
        folder = data / "taken" / stage
        taken = take_part(store, stage, job.key, fingerprint, folder, only=named)
        if taken is None and has_part(store, stage, job.key, fingerprint):
            raise Damaged(stage, f"{store.uri}: its copy of what {stage} made is damaged")
        if taken is None:
            raise InputError(
                f"{store.uri}: nothing of the {stage} stage for {job.key}; run that stage with the same run.store "
                f"(python -m pipelines.{stage} --set run.store={store.uri}): it copies what is missing"
            )
        for name, path in taken.files.items():
            (data / name).parent.mkdir(parents=True, exist_ok=True)
            path.replace(data / name)
        _write_rows(data, own, _rows_of(taken, own, data))


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, each in value.items():
            yield str(name)
            yield from _strings(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _strings(each)


def _rows_of(taken: Taken, tables: Iterable[str], data: Path) -> dict[str, pa.Table]:
    """The rows of a part; those with samples name its segments as shards."""
    shards = {str(number): (str(path.relative_to(data)), 0) for number, path in enumerate(taken.segments)}
    rows = {table: read_arrow(taken.content[table], table) for table in tables if table in taken.content}
    return {
        table: relocated(own, table, shards) if "shard" in TABLES[table].schema.names else own
        for table, own in rows.items()
    }


def _write_rows(data: Path, tables: Iterable[str], rows: Mapping[str, pa.Table]) -> None:
    for table in tables:
        write_table(data, table, rows[table] if table in rows else TABLES[table].schema.empty_table())
