"""Rows over worker processes, plain ones and Ray's: all come back, once, whatever happens to the workers."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pipelines.engine import workers as engine_workers
from pipelines.engine.ray import NoRay, environment
from pipelines.engine.schedule import Row
from pipelines.engine.watchdog import Watch
from pipelines.engine.workers import gpu_workers, map_rows
from tests.helpers.dead_mount import dead_mount
from tests.helpers.mapped_rows import Doer, Feed, row
from tests.helpers.paths import ROOT
from tools.bench.local_cluster import ray_nodes
from wanstreamer.errors import InputError

WATCH = Watch(stall_s=2.0)
SLOW = Watch(stall_s=60.0)


@pytest.fixture(params=[pytest.param(False, id="plain"), pytest.param(True, id="ray", marks=pytest.mark.slow)])
def ray(request: pytest.FixtureRequest) -> bool:
    """Plain processes, and Ray, which takes seconds to start them."""
    if request.param:
        request.getfixturevalue("ray_once")
    return request.param


def mapped(rows: "list[Row] | Feed", worker: Doer, **how: object) -> list[Row]:
    feed = rows if isinstance(rows, Feed) else Feed(rows)
    how = {"workers": 2, "ray": False, "watch": WATCH} | how
    outcomes = list(map_rows(feed, worker, **how))  # type: ignore[arg-type]
    assert feed.calls == 1
    return outcomes


def rows_of(count: int, does: str = "", **spec: object) -> list[Row]:
    return [row(f"k{number:03d}", does, **spec) for number in range(count)]


def keys(outcomes: list[Row]) -> list[str]:
    return sorted(outcome["key"] for outcome in outcomes)


@pytest.mark.parametrize("builds", [False, True])
def test_every_row_comes_back_once_and_messages_pass(ray: bool, builds: bool) -> None:
    rows = rows_of(200)
    rows[50:50] = [{"key": "", "text": "a message"}]
    outcomes = mapped(rows, Doer(), ray=ray, builds=builds)
    assert keys(outcomes) == ["", *keys(rows_of(200))]
    assert [outcome for outcome in outcomes if not outcome["key"]] == [{"key": "", "text": "a message"}]
    assert {outcome["error"] for outcome in outcomes if outcome["key"]} == {""}
    built = Counter(outcome["process"] for outcome in outcomes if outcome["key"])
    assert len(built) <= 2
    if builds:  # one worker for each process
        assert max(int(outcome["nth"]) for outcome in outcomes if outcome["key"]) == max(built.values())


def test_all_workers_work(ray: bool, tmp_path: Path) -> None:
    """Each of these two rows ends only when the other has begun."""
    outcomes = mapped([row("a", "meet", other="b"), row("b", "meet", other="a")], Doer(tmp_path), ray=ray, watch=SLOW)
    assert len({outcome["process"] for outcome in outcomes}) == 2


@pytest.mark.parametrize("how", [False, True, None])
def test_a_feed_without_rows_starts_nothing(how: bool | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_workers, "_map_ray", None)
    monkeypatch.setattr(engine_workers, "_map_processes", None)
    assert mapped([], Doer(), ray=how) == []
    assert mapped([{"key": "", "n": "1"}] * 3, Doer(), ray=how) == [{"key": "", "n": "1"}] * 3


def test_rows_come_back_as_they_finish_and_are_pulled_as_they_are_needed(ray: bool) -> None:
    feed = Feed([row(f"k{number:03d}", "sleep", seconds=0.05) for number in range(400)])
    ahead, came = [], 0
    for _ in map_rows(feed, Doer(), workers=2, ray=ray, watch=WATCH):
        came += 1
        ahead.append(feed.pulled - came)
    assert came == 400
    assert max(ahead) < 2 * 2 * 41 + 2 * 2 * 41 + 20  # tasks of two seconds: two waiting and two out for each worker
    assert ahead[:200].count(max(ahead)) < 200 and min(ahead) == 0


def test_the_row_of_a_worker_that_dies_goes_to_another(ray: bool, tmp_path: Path) -> None:
    rows = [*rows_of(6), row("dies", "die", times=3), *(row(f"m{n}") for n in range(6))]
    outcomes = mapped(rows, Doer(tmp_path), ray=ray, builds=True)
    assert keys(outcomes) == keys(rows)
    assert Doer(tmp_path).tries("dies") == 4


def test_an_exception_is_a_bug_and_ends_the_run(ray: bool) -> None:
    with pytest.raises(ZeroDivisionError, match="a bug"):
        mapped([*rows_of(3), row("bug", "bug"), *rows_of(300, "sleep", seconds=0.2)[3:]], Doer(), ray=ray)


def test_what_fails_in_the_feed_ends_the_run(ray: bool) -> None:
    def fails() -> Iterator[Row]:
        yield from rows_of(20)
        raise ZeroDivisionError("a bug of the feed")

    with pytest.raises(ZeroDivisionError, match="a bug of the feed"):
        list(map_rows(fails, Doer(), workers=2, ray=ray, watch=WATCH))


def test_processes_without_progress_cost_a_try(ray: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A stopped child of a worker, whose key works again in the same worker; a stopped worker, and one that hangs."""
    rows = [*rows_of(9), row("child", "stop_child"), row("worker", "stop"), row("hangs", "hang")]
    rows += [row(f"m{number}") for number in range(4)]
    began_s = time.monotonic()
    outcomes = mapped(rows, Doer(tmp_path), ray=ray)
    assert keys(outcomes) == keys(rows)
    assert {outcome["error"] for outcome in outcomes} == {""}
    assert [Doer(tmp_path).tries(key) for key in ("child", "worker", "hangs")] == [2, 2, 2]
    assert time.monotonic() - began_s < 60
    printed = capsys.readouterr().err
    assert "child: made no progress; the processes it has started are ended, and it is tried again\n" in printed
    for key in ("worker", "hangs"):
        assert f"{key}: made no progress; its worker is ended, and it is tried again\n" in printed


def test_the_caller_may_stop_early(ray: bool) -> None:
    feed = Feed(1_000_000)
    outcomes = map_rows(feed, Doer(), workers=2, ray=ray, watch=WATCH)
    next(outcomes)
    outcomes.close()  # type: ignore[attr-defined]
    pulled = feed.pulled
    time.sleep(0.5)
    assert feed.pulled <= pulled + 1


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    before = set(psutil.Process().children(recursive=True))
    during: set[psutil.Process] = set()
    for _ in map_rows(Feed(rows_of(20, "sleep", seconds=0.1)), Doer(), workers=2, ray=False, watch=WATCH):
        during |= set(psutil.Process().children(recursive=True)) - before
    assert len(during) >= 4  # two workers, two monitors
    assert psutil.wait_procs(during, timeout=10)[1] == []


def test_a_handful_of_rows_needs_no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless one runs already, or idle cores could help with the rows."""
    chosen: list[str] = []

    def note(name: str):  # type: ignore[no-untyped-def]
        def choose(schedule, *_, **__):  # type: ignore[no-untyped-def]
            chosen.append(name)
            schedule.stop()
            return iter(())

        return choose

    monkeypatch.setattr(engine_workers, "_map_ray", note("ray"))
    monkeypatch.setattr(engine_workers, "_map_processes", note("plain"))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    for workers, count in ((2, 4), (2, 5), (16, 8), (16, 9), (1, 2), (1, 3)):
        mapped(rows_of(count), Doer(), ray=None, workers=workers)
    assert chosen == ["plain", "ray"] * 3
    chosen.clear()
    for workers, spreads in ((4, True), (3, True), (4, False)):
        mapped(rows_of(3), Doer(), ray=None, workers=workers, spreads=spreads)
    assert chosen == ["ray", "plain", "plain"]
    chosen.clear()
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    mapped(rows_of(1), Doer(), ray=None)
    assert chosen == ["ray"]


def test_plain_processes_do_the_work_where_ray_does_not_start(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refused(workers: int) -> None:
        raise NoRay("Ray did not start: no memory")

    monkeypatch.setattr(engine_workers, "ray_session", refused)
    assert len(mapped(rows_of(20), Doer(), ray=True)) == 20
    assert capfd.readouterr().err == (
        "Ray did not start: no memory\nThis run goes on without Ray, in processes of this machine\n"
    )


@pytest.mark.slow
def test_a_worker_that_spreads_is_not_taken_for_stalled(tmp_path: Path, ray_once: None) -> None:
    rows = [row("spreads", "spread", seconds=0.9, calls=8), row("other")]  # longer than WATCH allows without a sign
    outcomes = mapped(rows, Doer(tmp_path), ray=True, spreads=True)
    assert keys(outcomes) == ["other", "spreads"] and Doer(tmp_path).tries("spreads") == 1


def test_plain_processes_share_the_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    outcomes = mapped(rows_of(4, "see_gpu"), Doer(), uses_gpu=True)
    gpus = {outcome["process"]: outcome["gpu"] for outcome in outcomes}
    assert sorted(gpus.values()) == ["4", "7"]
    assert {outcome["gpu"] for outcome in mapped(rows_of(2, "see_gpu"), Doer())} == {"4,7"}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="mounts a file system")
def test_a_worker_that_cannot_be_ended_does_not_hang_the_run(ray: bool, tmp_path: Path) -> None:
    with dead_mount(tmp_path) as dead:
        rows = [row("dead", "read", path=str(dead)), *rows_of(30, "sleep", seconds=0.1)]
        began_s = time.monotonic()
        outcomes = mapped(rows, Doer(), ray=ray)
        assert time.monotonic() - began_s < 60
        assert outcomes[-1] == {"key": "dead", "stalled": "1"}
        assert keys(outcomes) == keys(rows)


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="mounts a file system")
def test_workers_that_all_cannot_be_ended_end_the_run(ray: bool, tmp_path: Path) -> None:
    with dead_mount(tmp_path) as dead, pytest.raises(InputError, match="workers on these keys wait for a file system"):
        mapped(rows_of(9, "read", path=str(dead)), Doer(), ray=ray)


def test_processes_that_cannot_start_end_the_run() -> None:
    class Local(Doer):  # found by no other process
        pass

    with pytest.raises(Exception, match="Local|ended at their start"):
        mapped(rows_of(2), Local())


@pytest.mark.parametrize(
    ("nodes", "workers", "size", "share"),
    [
        ([], 4, 4, 0.0),
        ([(1, 1)], 1, 1, 1.0),
        ([(16, 1)], 16, 16, 0.0625),
        ([(3, 1)], 3, 3, 0.3333),
        ([(3, 2)], 3, 3, 0.5),
        ([(16, 8)], 2, 2, 1.0),
        ([(8, 1), (8, 1)], 100, 16, 0.125),  # other cores of the cluster have no GPU
        ([(4, 4), (96, 8)], 100, 12, 1.0),  # no node may get more workers than cores, nor one GPU more than another
        ([(0, 4), (2, 1)], 5, 2, 0.5),
    ],
)
def test_workers_share_the_gpus_evenly_and_all_fit(
    nodes: list[tuple[int, int]], workers: int, size: int, share: float
) -> None:
    assert gpu_workers(nodes, workers) == (size, share)
    each = round(1 / share) if share else 0
    assert not nodes or sum(min(cores, gpus * each) for cores, gpus in nodes) >= size


ON_NODES = """
import json
from pipelines.engine.watchdog import Watch
from pipelines.engine.workers import map_rows
from tests.helpers.mapped_rows import Doer, Feed, row
rows = [row(f"k{number}", "see_node") for number in range(24)]
for uses_gpu in (True, False):
    how = {"workers": 3, "ray": True, "watch": Watch(), "builds": True, "uses_gpu": uses_gpu}
    outcomes = list(map_rows(Feed(rows), Doer(), **how))
    print(json.dumps([[outcome[name] for name in ("gpus", "gpu", "process")] for outcome in outcomes]))
"""


@pytest.mark.long
def test_gpu_work_is_on_gpu_nodes_and_other_work_everywhere() -> None:
    with environment({"RAY_AUTH_MODE": "disabled"}), ray_nodes([1, 2], ["--num-gpus=0"], ["--num-gpus=1"]) as address:
        variables = {name: value for name, value in os.environ.items() if name != "RAY_AUTH_MODE"}
        variables |= {"RAY_ADDRESS": address, "RAY_AUTH_TOKEN": "0" * 32}  # a token that this cluster does not ask for
        done = subprocess.run(
            [sys.executable, "-c", ON_NODES], cwd=ROOT, env=variables, text=True, stdout=subprocess.PIPE, check=True
        )
    gpu, other = (json.loads(line) for line in done.stdout.splitlines()[-2:])
    assert {(gpus, seen) for gpus, seen, _ in gpu} == {("1", "0")}
    assert len({process for _, _, process in gpu}) == 2  # its two cores share the GPU
    assert len({process for _, _, process in other}) == 3 and {gpus for gpus, _, _ in other} == {"0", "1"}
