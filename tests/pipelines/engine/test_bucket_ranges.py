"""Drivers with ranges of buckets, beside each other in one data folder: together they make what one driver makes."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.engine import buckets, shards
from pipelines.engine import run as engine_run
from pipelines.engine.buckets import bucket_of
from pipelines.engine.command import stage_main
from pipelines.engine.compact import compact
from pipelines.engine.jobs import PartlyDone, RunParams
from pipelines.engine.lock import folder_lock
from pipelines.engine.state import num_state_buckets, state_file, summary_file
from pipelines.engine.tables import read_rows
from pipelines.quality.params import QualityParams
from pipelines.vae.params import VaeParams
from tests.helpers.counted_jobs import contents
from tests.helpers.fault_points import corpus
from tests.helpers.paths import ROOT
from tests.helpers.sealed_jobs import make_small, run
from tests.helpers.staged_corpus import stage_corpus
from tools.verify import verify
from wanstreamer.errors import InputError

CORPUS = corpus(*(f"s{number}" for number in range(12)))
KEYS = {f"s{number}": 1 for number in range(12)}
HOLD = """
import sys, time
from pathlib import Path
from pipelines.engine.lock import folder_lock
with folder_lock(Path(sys.argv[1]), buckets=range(4, 8)):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight buckets; work and merges run in this process."""
    make_small(monkeypatch)


@pytest.fixture
def beside(tmp_path: Path) -> Iterator[None]:
    """Another process that has the buckets 4 to 7 of tmp_path / "data"."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "data")]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield
    process.kill()
    process.wait()


def run_range(data: Path, versions: dict[str, int], own: str) -> PartlyDone:
    with pytest.raises(PartlyDone) as done:
        run(data, versions, buckets=own)
    return done.value


@pytest.mark.parametrize("ranges", [("0-3", "4-7"), ("4-7", "0-0", "1-3"), ("7-7",)])
def test_ranges_in_any_order_and_a_last_run_make_what_one_run_makes(tmp_path: Path, ranges: tuple[str, ...]) -> None:
    data, once = tmp_path / "data", tmp_path / "once"
    done = 0
    for own in ranges:
        part = run_range(data, KEYS, own)
        assert f"buckets {own} of 8 are done" in part.hint
        done += part.counts["keys"]
        assert num_state_buckets(data, "encode") == 8
        assert not summary_file(data, "encode").exists()
    first, last = int(ranges[0][0]), int(ranges[0][2])
    assert done == sum(first <= bucket_of(key, 8) <= last or len(ranges) > 1 for key in KEYS)
    counts = run(data, KEYS)
    assert counts == run(once, KEYS)
    assert contents(data) == contents(once)


def test_only_the_own_buckets_are_done_again(tmp_path: Path) -> None:
    data = tmp_path / "data"
    run(data, KEYS)
    before = {bucket: state_file(data, "encode", bucket).read_bytes() for bucket in range(8)}
    changed = dict.fromkeys(KEYS, 2)
    run_range(data, changed, "0-3")
    after = {bucket: state_file(data, "encode", bucket).read_bytes() for bucket in range(8)}
    keys = {bucket: [key for key in KEYS if bucket_of(key, 8) == bucket] for bucket in range(8)}
    assert {bucket for bucket in before if before[bucket] != after[bucket]} == {b for b in range(4) if keys[b]}
    run(data, changed)
    run(tmp_path / "once", changed)
    compact(data, "encode", ("latents",), 8)
    assert summary_file(data, "encode").read_bytes() == summary_file(tmp_path / "once", "encode").read_bytes()


def test_what_another_driver_is_writing_stays(tmp_path: Path) -> None:
    data = tmp_path / "data"
    run(data, KEYS)
    theirs = [
        data / "state" / "encode" / ".b=0005.parquet.tmp",
        data / "tables" / "latents" / ".b=0005.parquet.tmp",
        data / "latents" / f"0005-{16 * '0'}.tar",
        data / "parts" / "encode" / ".token-other",
        data / "parts" / "encode" / f".{next(key for key in KEYS if bucket_of(key, 8) > 3)}" / "note",
    ]
    own = [data / "tables" / "latents" / ".b=0001.parquet.tmp", data / "latents" / f"0001-{16 * '0'}.tar"]
    for path in (*theirs, *own):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    run_range(data, dict.fromkeys(KEYS, 2), "0-3")
    assert all(path.exists() for path in theirs)
    assert not any(path.exists() for path in own)


@pytest.mark.usefixtures("beside")
def test_runs_share_a_folder_only_with_other_buckets(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with folder_lock(data, buckets=range(4)), folder_lock(data, buckets=range(4)):
        pass
    run_range(data, KEYS, "0-3")
    for own in (range(3, 5), range(7, 9), range(5, 6)):
        message = f"some of the buckets {own.start} to {own.stop - 1}"
        with pytest.raises(InputError, match=message), folder_lock(data, buckets=own):
            pass
    with pytest.raises(InputError, match="in use by .*wait for its end"), folder_lock(data):
        pass


def test_what_fails_within_the_lock_is_not_about_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PermissionError, match="of the work"), folder_lock(tmp_path, buckets=range(4)):
        raise PermissionError("of the work")
    with folder_lock(tmp_path):  # it is released
        pass

    def no_locks(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("pipelines.engine.lock.fcntl.flock", no_locks)
    with pytest.raises(InputError, match="its file system has no locks"), folder_lock(tmp_path, buckets=range(4)):
        pass


@pytest.mark.usefixtures("beside")
def test_buckets_are_split_by_a_run_that_is_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "data"
    run_range(data, KEYS, "0-3")
    monkeypatch.setattr(buckets, "SESSIONS_PER_BUCKET", 1)
    with pytest.raises(InputError, match="in use by"):
        run(data, KEYS, buckets="0-3")


def test_more_buckets_are_made_first(tmp_path: Path) -> None:
    data, few = tmp_path / "data", dict(list(KEYS.items())[:4])
    run(data, few)
    assert num_state_buckets(data, "encode") == 2
    run_range(data, KEYS, "0-3")
    run_range(data, KEYS, "4-7")
    run(data, KEYS)
    assert {row["session_id"] for row in read_rows(data, "latents")} == set(KEYS)
    run(tmp_path / "once", KEYS)
    compact(data, "encode", ("latents",), 8)
    run(data, KEYS)
    assert contents(data) == contents(tmp_path / "once")


def test_a_shard_of_two_ranges_is_not_given_up_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a split of buckets, both halves have samples in the old shard."""
    monkeypatch.setattr(shards, "SHARD_BYTES", 1 << 20)
    data, few = tmp_path / "data", dict(list(KEYS.items())[:4])
    run(data, few)
    run_range(data, KEYS, "0-0")
    with pytest.raises(InputError, match=r"share a shard with bucket \d.*tools.compact"):
        for bucket in range(8):
            run_range(data, dict.fromkeys(KEYS, 2), f"{bucket}-{bucket}")


def test_a_killed_split_is_finished_by_any_range(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.engine import commit

    data, few = tmp_path / "data", dict(list(KEYS.items())[:4])
    run(data, few)
    with monkeypatch.context() as patch:
        patch.setattr(commit, "_apply", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(data, KEYS, buckets="0-3")
    assert num_state_buckets(data, "encode") == 2
    run_range(data, KEYS, "4-7")
    assert num_state_buckets(data, "encode") == 8
    run_range(data, KEYS, "0-3")
    run(data, KEYS)
    assert {row["session_id"] for row in read_rows(data, "latents")} == set(KEYS)


def test_the_last_step_is_left_to_the_last_run(tmp_path: Path) -> None:
    finished = []
    how = RunParams(workers=1, buckets="0-0")
    (tmp_path / "data").mkdir()
    with pytest.raises(PartlyDone):
        engine_run.run_keys(
            tmp_path / "data", "encode", [], print, params=None, tables=(), how=how, code=(),
            finish=lambda: finished.append(1),
        )  # fmt: skip
    assert finished == []


@pytest.mark.slow
@pytest.mark.parametrize("with_store", [False, True])
def test_all_stages_by_ranges_make_what_they_make_at_once(tmp_path: Path, with_store: bool) -> None:
    made = {}
    for name, ranges in (("once", ()), ("ranges", ("4-7", "0-1", "2-3"))):
        home = tmp_path / "home"  # the same: the path of the tokenizer is a parameter
        shutil.rmtree(home, ignore_errors=True)
        data, store = home / "data", home / "store"
        stage_corpus(data, CORPUS, ranges=ranges, store=str(store) if with_store else "")
        assert verify(data).damages == []
        made[name] = contents(home)
    assert made["ranges"] == made["once"]


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ("8-9", "--buckets 8-9: encode has buckets 0 to 7 for this corpus"),
        ("0-8", "--buckets 0-8: encode has buckets 0 to 7 for this corpus"),
    ],
)
def test_buckets_that_are_not_there_are_refused(tmp_path: Path, own: str, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}$"):
        run(tmp_path / "data", KEYS, buckets=own)


@pytest.mark.parametrize("wrong", ["3", "5-3", "a-b", "0-", "-1-2"])
def test_what_is_no_range_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="expected the first and the last one, for example 0-63"):
        RunParams(buckets=wrong)


def test_the_command_says_what_is_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def partly(data: Path, params: object, how: RunParams) -> dict[str, Any]:
        assert how.bucket_range == range(2)
        raise PartlyDone({"keys": 3, "done": 2, "rejected": {"silent": 1}}, "buckets 0-1 of 4 are done")

    arguments = ["--data", str(tmp_path), "--params", str(ROOT / "params.yaml"), "--buckets", "0-1"]
    stage_main("quality", QualityParams, partly, arguments)
    assert capsys.readouterr().out.startswith("quality: 2 of 3 sessions, 1 rejected as silent in ")
    with pytest.raises(SystemExit):
        stage_main("vae", VaeParams, partly, arguments)
    assert "--buckets: vae does not work session by session" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        stage_main("quality", QualityParams, partly, [*arguments[:-1], "1-0"])
    assert "error: --buckets: '1-0', expected the first" in capsys.readouterr().err
