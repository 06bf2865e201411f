"""One run at a time per data folder, however it is started and however it ends."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.engine import lock
from pipelines.engine.lock import NAME, folder_lock
from tests.helpers.paths import ROOT
from wanstreamer.errors import InputError

HOLD = "import sys, time; from pathlib import Path; from pipelines.engine.lock import folder_lock\n"
HOLD += "with folder_lock(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"


@pytest.fixture
def holder(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process that holds the folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_the_second_run_names_who_holds_the_folder(tmp_path: Path, holder: "subprocess.Popen[str]") -> None:
    with pytest.raises(InputError) as refused, folder_lock(tmp_path):
        pass
    message = str(refused.value)
    assert f"host {socket.gethostname()}, process {holder.pid}, since 20" in message and "wait for its end" in message


def test_a_dead_run_holds_nothing(tmp_path: Path, holder: "subprocess.Popen[str]") -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with folder_lock(tmp_path):
        assert json.loads((tmp_path / NAME).read_text())["pid"] == os.getpid()
    assert (tmp_path / NAME).read_text() == ""


def test_a_call_within_a_call_goes_on_and_the_lock_stays(tmp_path: Path) -> None:
    with folder_lock(tmp_path):
        with folder_lock(tmp_path):
            pass
        assert json.loads((tmp_path / NAME).read_text())["pid"] == os.getpid()


def no_locks(*_: object) -> None:
    raise OSError(95, "Operation not supported")


def test_without_locks_of_the_file_system_an_old_note_is_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock.fcntl, "flock", no_locks)
    note = tmp_path / NAME
    note.write_text(json.dumps({"host": "elsewhere", "pid": 1, "since": "now", "command": "pipelines.pack"}))
    with pytest.raises(InputError, match="in use by pipelines.pack .host elsewhere, process 1"), folder_lock(tmp_path):
        pass
    old_s = time.time() - 2 * lock.DEAD_AFTER_S
    os.utime(note, (old_s, old_s))
    with folder_lock(tmp_path):
        assert json.loads(note.read_text())["host"] == socket.gethostname()


def test_without_locks_a_dead_run_of_this_machine_is_taken_over_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    monkeypatch.setattr(lock.fcntl, "flock", no_locks)
    (tmp_path / NAME).write_text(json.dumps({"host": socket.gethostname(), "pid": ended.pid}))
    with folder_lock(tmp_path):
        pass
