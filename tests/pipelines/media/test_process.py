"""ffmpeg as a child process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from pipelines.media.process import running

WORKER = """
import signal, sys
from pipelines.media.process import running
signal.signal(signal.SIGINT, signal.SIG_IGN)
with running([sys.executable, "-c", "import time; print('begun', flush=True); time.sleep(1)"], stdout=None) as process:
    print("ended with", process.wait(), flush=True)
"""


def test_ctrl_c_in_a_terminal_does_not_end_it_half_way() -> None:
    """A worker ignores Ctrl-C, to finish its session; its ffmpeg, which does not, must not get it."""
    root = Path(__file__).parents[3]
    with subprocess.Popen(
        [sys.executable, "-c", WORKER], stdout=subprocess.PIPE, text=True, start_new_session=True, cwd=root
    ) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "begun\n"
        os.killpg(worker.pid, signal.SIGINT)
        assert worker.stdout.readline() == "ended with 0\n"


def test_it_is_killed_at_the_end_of_the_block_with_its_group() -> None:
    with running([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        assert os.getpgid(process.pid) == process.pid
    assert process.returncode == -signal.SIGKILL


def test_it_ends_with_a_worker_that_is_killed(tmp_path: Path) -> None:
    code = WORKER.replace("time.sleep(1)", "time.sleep(60)")
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=Path(__file__).parents[3],
    ) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "begun\n"
        begun_s = time.monotonic()
        worker.kill()
        assert worker.stdout.read() == ""  # the child has the other end: it is gone too
        assert time.monotonic() - begun_s < 30
