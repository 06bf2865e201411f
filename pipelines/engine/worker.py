"""Runs in the worker processes: gets one job, writes its part, returns a short outcome."""

import errno
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.engine.away import (
    AwayFolder,
    check_store,
    count_attempt,
    fetch_needs,
    forget_attempts,
    local_setup,
    token_path,
)
from pipelines.engine.jobs import Damaged, Job, Rejected, Result, RunParams
from pipelines.engine.parts import (
    NOTE,
    finish_part,
    is_whole,
    noted_files,
    part_path,
    read_part,
    scratch_home,
    write_part,
)
from pipelines.engine.ray import staying_here
from pipelines.engine.spent import cpu_s, start_meter
from pipelines.engine.state import note_damage
from pipelines.engine.store import Copy, Store, digits_of, drop_others, drop_part, has_part, put_local, take_part
from pipelines.engine.watchdog import time_limit
from wanstreamer.errors import InputError

Work = Callable[[Job, Path, Path], Result]

TRANSIENT = frozenset({errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.ECONNRESET})
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
RETRY_AFTER_S = (0.5, 2.0)  # waits after transient errors, such as those of a network mount


class KeyWorker:
    """Does the rows of one stage in a process; the driver uses it too, for what workers cannot do."""

    def __init__(
        self,
        *,
        data: Path,
        stage: str,
        work: Any,
        setup: dict[str, Any],
        tables: tuple[str, ...],
        reads: tuple[str, ...],
        how: RunParams,
        store: Store | None,
        inputs: Mapping[str, str],
        run_id: str,
    ) -> None:
        """`inputs`: the files of `setup` that are in the store, and their hashes."""
        self.data, self.stage, self.work, self.setup = data, stage, work, setup
        self.home = data / "parts" / stage
        self.tables, self.reads, self.how, self.store = tables, reads, how, store
        self.inputs, self.run_id = inputs, run_id
        self.cwd = Path.cwd()  # relative paths in `setup` are relative to it, also on another machine
        self.built: Work | None = None
        self.build_cpu_s = 0.0  # part of a worker's start

    @cached_property
    def away(self) -> AwayFolder | None:
        """None if this process has the data folder.

        Raises InputError if it has not, and there is no store that it shares with the driver either.
        """
        token = token_path(self.data, self.stage, self.run_id)
        for wait_s in (0.0, 0.5, 2.0):  # a network file system may be late
            time.sleep(wait_s)
            if token.exists():
                return None
        if self.store is None:
            raise InputError(
                f"{self.data}: the worker on {socket.gethostname()} does not have this folder; expected it on a file "
                "system that all machines share, or a store: --set run.store=s3://bucket/prefix"
            )
        check_store(self.store)
        return AwayFolder()

    def __call__(self, row: dict[str, str]) -> dict[str, str]:
        """Do the work of a row.

        Returns the key; the message of a user's mistake; whether the part is in the store only; what a worker that is
        away cannot note; and what it took.
        """
        began_s, before_s, built_s = time.monotonic(), cpu_s(), self.build_cpu_s
        meter = start_meter()
        outcome = {"key": row["key"], "error": "", "away": "", "damaged": ""}
        try:
            if self.away is None:
                self._do_row(row)
            else:
                outcome |= {"away": row["fingerprint"], "damaged": self._do_away(row, self.away)}
        except InputError as error:
            outcome["error"] = str(error)
        except OSError as error:
            if error.errno not in FULL:
                raise
            outcome["error"] = self.no_space()
        own_s = cpu_s() - before_s - (self.build_cpu_s - built_s)
        outcome |= {"cpu_s": f"{own_s + meter.elsewhere_s:.3f}", "wall_s": f"{time.monotonic() - began_s:.3f}"}
        return outcome

    def no_space(self) -> str:
        where = f"{self.away.home} on {socket.gethostname()}" if self.away else f"{self.data}"
        return f"{where}: no space left; free some space and run the same command again"

    def _do_row(self, row: dict[str, str]) -> None:
        job = _job_of(row)
        part = read_part(part_path(self.home, job.key))
        if part is not None and part.fingerprint == row["fingerprint"] and is_whole(self.data, self.home, part):
            self._put(job.key, row)
            return  # done by a machine that was lost before it reported it
        os.chdir(self.cwd)
        attempts, scratch = self._begin(scratch_home(self.home, job.key))
        try:
            self._do(job, scratch, attempts, row)
        except (InputError, OSError) as error:
            if isinstance(error, InputError) or error.errno in FULL:
                self._end(scratch)
            raise

    def _do(self, job: Job, scratch: Path, attempts: int, row: Mapping[str, str]) -> None:
        if self.store is not None and self._take(job.key, scratch, row):
            return
        try:
            result = self._result(job, self.data, scratch, attempts)
        except Damaged as damaged:
            self.write_damaged(job.key, scratch, damaged)
            return
        write_part(self.data, self.home, scratch, job.key, result, row["fingerprint"], self.tables)
        self._put(job.key, row)

    def _do_away(self, row: dict[str, str], away: AwayFolder) -> str:
        """Do the work in a folder of this machine, and put the part into the store; returns what is damaged, if it is.

        A part that the store had before the run is checked here, because only a worker can do its work again.
        """
        assert self.store is not None
        job, fingerprint = _job_of(row), row["fingerprint"]
        if self.cwd.is_dir():
            os.chdir(self.cwd)
        attempts = count_attempt(self.store, self.stage, job.key, self.run_id)
        with away.data() as data:
            copies = _copies(row)
            copy = copies.get(digits_of(fingerprint))
            checked = copy is not None and copy.whole
            if checked and take_part(self.store, self.stage, job.key, fingerprint, data / "store") is not None:
                drop_others(self.store, self.stage, job.key, fingerprint, copies)
            elif checked or attempts == 1 or not has_part(self.store, self.stage, job.key, fingerprint):
                home = data / "parts" / self.stage
                scratch = scratch_home(home, job.key) / "1"
                (scratch / "made").mkdir(parents=True)
                try:
                    with staying_here():
                        fetch_needs(self.store, job, json.loads(row["needs"]), self.reads, data)
                        result = self._result(job, data, scratch, attempts)
                except Damaged as damaged:
                    return json.dumps([damaged.stage, damaged.detail])
                write_part(data, home, scratch, job.key, result, fingerprint, self.tables)
                put_local(self.store, data, self.stage, job.key, copies)
        forget_attempts(self.store, self.stage, job.key)
        return ""

    def take_over(self, outcome: Mapping[str, str]) -> None:
        """In the driver: note what a worker that is away could not, or take the part that it has put into the store."""
        key, fingerprint = outcome["key"], outcome["away"]
        assert self.store is not None
        _, scratch = self._begin(scratch_home(self.home, key))
        damaged = Damaged(*json.loads(outcome["damaged"])) if outcome["damaged"] else None
        if damaged is None:
            taken = take_part(self.store, self.stage, key, fingerprint, scratch / "store")
            if taken is not None:
                finish_part(self.data, self.home, scratch, *taken)
                return
            drop_part(self.store, self.stage, key)
            damaged = Damaged(self.stage, f"{self.store.uri}: what a worker has put there is damaged")
        self.write_damaged(key, scratch, damaged)

    def write_damaged(self, key: str, scratch: Path, damaged: Damaged) -> None:
        """Leave the key undone here, and in the stage whose output is damaged."""
        note_damage(self.data, damaged.stage, key)
        result = Result(rejections=[(key, damaged.reason, damaged.detail)])
        never_current = ""  # the next run does it again
        write_part(self.data, self.home, scratch, key, result, never_current, self.tables)

    def give_up(self, key: str) -> None:
        """Leave a key undone whose worker cannot be ended, for example because the source hangs."""
        _, scratch = self._begin(scratch_home(self.home, key))
        result = Result(rejections=[(key, "stalled", "nothing advanced, and its process cannot be ended")])
        write_part(self.data, self.home, scratch, key, result, "", self.tables)

    def _take(self, key: str, scratch: Path, row: Mapping[str, str]) -> bool:
        """Copy the part of the key from the store, if it has it."""
        assert self.store is not None
        fingerprint, copies = row["fingerprint"], _copies(row)
        copy = copies.get(digits_of(fingerprint))
        if copy is None or not copy.whole:
            return False
        taken = take_part(self.store, self.stage, key, fingerprint, scratch / "store")
        if taken is None:
            return False
        finish_part(self.data, self.home, scratch, *taken)
        drop_others(self.store, self.stage, key, fingerprint, copies)
        return True

    def _put(self, key: str, row: Mapping[str, str]) -> None:
        """Copy the finished part of the key to the store, if there is one."""
        if self.store is not None:
            put_local(self.store, self.data, self.stage, key, _copies(row))

    def _begin(self, home: Path) -> tuple[int, Path]:
        """How many times this run has started the key (workers may have died on it), and an empty scratch folder.

        The folder is new each time: a worker on a machine that Ray has lost may still write into the old one.
        """
        note = home / NOTE
        try:
            before = json.loads(note.read_text())
        except (FileNotFoundError, ValueError):
            before = {}
        attempts = before.get("attempts", 0) + 1 if before.get("run") == self.run_id else 1
        scratch = home / f"{attempts}-{os.getpid()}-{time.time_ns()}"
        (scratch / "made").mkdir(parents=True)
        # No fsync: after a loss of power no other run reads the attempts, and files are noted again before they move.
        temporary = note.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(json.dumps({**before, "run": self.run_id, "attempts": attempts}))
        temporary.replace(note)
        return attempts, scratch

    def _end(self, scratch: Path) -> None:
        """Remove the scratch files of a key that is not done; what says that its files were replaced stays."""
        shutil.rmtree(scratch, ignore_errors=True)
        if not noted_files(scratch.parent):
            shutil.rmtree(scratch.parent, ignore_errors=True)

    def _result(self, job: Job, data: Path, scratch: Path, attempts: int) -> Result:
        """The result of the key. After a transient error of the file system the work is tried again, twice."""
        if attempts > self.how.max_attempts:
            return Result(rejections=[(job.key, "worker_died", f"{attempts - 1} attempts")])
        if job.rejected is not None:  # its source has changed since the run was planned
            return Result(rejections=[(job.key, *job.rejected)])
        late = Rejected("timed_out", f"more than {self.how.key_timeout_s:g} s (run.key_timeout_s)")
        for wait_s in (*RETRY_AFTER_S, None):
            try:
                if self.built is None:
                    before_s = cpu_s()
                    pa.array([0])  # if pandas is installed, pyarrow imports it now: two seconds of a worker's start
                    self.built = self._build()
                    self.build_cpu_s += cpu_s() - before_s
                with time_limit(self.how.key_timeout_s, late):
                    return self.built(job, data, scratch / "made")
            except Damaged:
                raise
            except Rejected as rejected:
                return Result(rejections=[(job.key, rejected.reason, rejected.detail)])
            except OSError as error:
                if error.errno not in TRANSIENT:
                    raise
                if wait_s is None:
                    detail = f"{error.strerror}, {len(RETRY_AFTER_S) + 1} attempts"
                    return Result(rejections=[(job.key, "input_output_error", detail)])
                time.sleep(wait_s)
                shutil.rmtree(scratch / "made")
                (scratch / "made").mkdir()
        raise AssertionError("unreachable")

    def _build(self) -> Work:
        """The work, with the files of `setup` that this machine has."""
        if not isinstance(self.work, type):
            return self.work  # type: ignore[no-any-return]
        setup = self.setup
        if self.away is not None:
            assert self.store is not None
            setup = local_setup(setup, self.data, self.inputs, self.store, self.stage, self.away.inputs)
        return self.work(**setup)  # type: ignore[no-any-return]


def _job_of(row: Mapping[str, str]) -> Job:
    loaded = json.loads(row["job"])
    return Job(**loaded | {"inputs": tuple(loaded["inputs"])})


def _copies(row: Mapping[str, str]) -> dict[str, Copy]:
    return {digits: Copy(*copy) for digits, copy in json.loads(row["stored"]).items()}
