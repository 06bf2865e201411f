"""A worker that makes no progress is ended, and nothing else is; its monitor ends with it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pipelines.engine.monitor import Elsewhere, Linux
from tests.helpers.paths import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

STALL_S = 1.5
WORKER = """
import os, subprocess, sys, time
from pipelines.engine.watchdog import Stalled, Watch, time_limit, waiting_for_others, watching
watch = Watch(stall_s=float(sys.argv[1]), report_to=sys.argv[2])
with watching(watch, "s1"):
    print("begun", flush=True)
    {work}
print("finished", flush=True)
time.sleep(60)
"""


@pytest.fixture
def begin() -> "Iterator[object]":
    """A function that starts a worker on some work, and waits until it has begun."""
    workers: list[subprocess.Popen[str]] = []

    def start(work: str, *, stall_s: float = STALL_S, report_to: str = "") -> "subprocess.Popen[str]":
        code = WORKER.format(work=work.strip().replace("\n", "\n    "))
        worker = subprocess.Popen(
            [sys.executable, "-c", code, str(stall_s), report_to], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        workers.append(worker)
        assert line_of(worker) == "begun"
        return worker

    yield start
    for worker in workers:
        worker.kill()
        worker.wait()


def line_of(worker: "subprocess.Popen[str]") -> str:
    assert worker.stdout is not None
    return worker.stdout.readline().strip()


def monitor_of(worker: "subprocess.Popen[str]") -> psutil.Process:
    (monitor,) = [child for child in psutil.Process(worker.pid).children() if "monitor.py" in " ".join(child.cmdline())]
    return monitor


def ends(process: psutil.Process, within_s: float = 10) -> bool:
    return not psutil.wait_procs([process], timeout=within_s)[1]


STOPPED_CHILD = """
child = subprocess.Popen(["sleep", "60"])
os.kill(child.pid, 19)
try:
    with time_limit(0, LookupError()):
        child.wait()
        raise ValueError("the child failed")
except Stalled as error:
    print(error.errno == 110, child.returncode, type(error.__cause__).__name__, flush=True)
"""


def test_a_stopped_child_is_killed_and_the_work_fails_as_one_that_may_be_tried_again(begin) -> None:
    worker = begin(STOPPED_CHILD)
    assert line_of(worker) == "True -9 ValueError"
    assert line_of(worker) == "finished"


def test_a_child_that_is_stopped_next_to_busy_ones_is_killed_alone(begin) -> None:
    worker = begin(
        """
busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
child = subprocess.Popen(["sleep", "60"])
os.kill(child.pid, 19)
print(child.wait(), busy.poll(), flush=True)
busy.kill()
"""
    )
    assert line_of(worker) == "-9 None"


def test_a_stopped_worker_is_killed(begin) -> None:
    worker = begin("while True: time.sleep(0.01)")
    monitor = monitor_of(worker)
    worker.send_signal(signal.SIGSTOP)
    assert worker.wait(timeout=30) == -signal.SIGKILL
    assert ends(monitor)


def test_a_worker_that_waits_for_nothing_is_killed_with_its_children(begin, tmp_path: Path) -> None:
    worker = begin(f'subprocess.Popen(["sleep", "1000"], cwd="{tmp_path}")\ntime.sleep(60)')
    assert worker.wait(timeout=30) == -signal.SIGKILL
    assert not [process for process in psutil.process_iter(["cwd"]) if process.info["cwd"] == str(tmp_path)]


GOES_ON = {
    "computes": "end_s = time.monotonic() + 4\nwhile time.monotonic() < end_s: pass",
    "reads": "for _ in range(20):\n    time.sleep(0.2)\n    open('/proc/self/stat').read()",
    "its child works": "subprocess.run([sys.executable, '-c', 'import time\\nfor _ in range(40): time.sleep(0.1)'])",
    "its thread works": """
import threading
thread = threading.Thread(target=lambda: [time.sleep(0.1) for _ in range(40)])
thread.start()
thread.join()
""",
    "waits for other workers": "with waiting_for_others(): time.sleep(4)",
    "is not watched": "time.sleep(4)",
}


def test_a_worker_that_goes_on_is_left_alone(begin) -> None:
    workers = {name: begin(work, stall_s=STALL_S * (name != "is not watched")) for name, work in GOES_ON.items()}
    assert {name: line_of(worker) for name, worker in workers.items()} == dict.fromkeys(GOES_ON, "finished")
    time.sleep(2 * STALL_S)  # without a key it may wait as long as it likes
    assert {name: worker.poll() for name, worker in workers.items()} == dict.fromkeys(GOES_ON)


def test_a_worker_that_does_not_hear_its_time_limit_is_killed(begin) -> None:
    worker = begin(
        """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
with time_limit(0.5, LookupError()):
    while True: pass
""",
        stall_s=0,
    )
    began_s = time.monotonic()
    assert worker.wait(timeout=60) == -signal.SIGKILL
    assert time.monotonic() - began_s > 0.5


def test_a_machine_that_slept_is_no_stall(begin) -> None:
    """A laptop, or a job that its scheduler stopped: the monitor stops with the worker, and counts nothing."""
    worker = begin("for _ in range(40): time.sleep(0.1)")
    monitor = monitor_of(worker)
    monitor.suspend()
    worker.send_signal(signal.SIGSTOP)
    time.sleep(3 * STALL_S)
    worker.send_signal(signal.SIGCONT)
    monitor.resume()
    assert line_of(worker) == "finished"


def test_the_monitor_is_small_and_ends_with_its_worker(begin) -> None:
    for end in (signal.SIGKILL, signal.SIGTERM):
        worker = begin("pass")
        monitor = monitor_of(worker)
        assert monitor.memory_info().rss < 25e6
        worker.send_signal(signal.SIGINT)  # Ctrl-C reaches both
        monitor.send_signal(signal.SIGINT)
        worker.send_signal(end)
        worker.wait()
        assert ends(monitor)


def test_the_driver_hears_what_was_ended(begin) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)
        worker = begin("time.sleep(60)", report_to=f"127.0.0.1 {server.getsockname()[1]} secret")
        caller = server.accept()[0]
        with caller:
            received = json.loads(caller.makefile().readline())
        assert received == {"token": "secret", "key": "s1", "ended": "worker"}
        assert worker.wait(timeout=10) == -signal.SIGKILL


@pytest.mark.parametrize("kind", [Linux, Elsewhere])
def test_both_ways_to_look_at_processes_see_the_same(kind: type) -> None:
    code = "import subprocess, sys; subprocess.run(['sleep', '60'])"
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        try:
            looks = kind(process.pid, [])
            while not (children := looks.descendants()):
                time.sleep(0.05)
            assert {psutil.Process(child).name() for child in children} <= {"sleep", Path(sys.executable).name}
            everyone = children | {process.pid}
            assert looks.stopped(everyone) == set()
            time.sleep(0.5)
            before = looks.activity(everyone)
            time.sleep(0.3)
            assert looks.activity(everyone) == before
            os.kill(min(children), signal.SIGSTOP)
            time.sleep(0.2)
            assert looks.stopped(everyone) == {min(children)}
            os.kill(min(children), signal.SIGKILL)
            process.wait()
            assert looks.activity(everyone) != before and looks.descendants() == set()
        finally:
            process.kill()
