"""ffmpeg as a child process that ends with its parent, and what it complained about."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO

import imageio_ffmpeg


def address(path: Path) -> str:
    """A path as ffmpeg's own libraries take it, whatever its name: `-y.mp4` is no option, `http:x` no protocol."""
    return f"file:{path}"


@cache
def ffmpeg_path() -> str:
    return imageio_ffmpeg.get_ffmpeg_exe()


@contextmanager
def running(
    command: list[str], *, stdin: int = subprocess.DEVNULL, stdout: "int | IO[bytes]" = subprocess.DEVNULL
) -> "Iterator[subprocess.Popen[bytes]]":
    """A child that ends with its parent: killed on any way out of the block, and by the kernel when a worker dies."""
    process = subprocess.Popen(
        command, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, preexec_fn=_die_with_parent if _HAS_PRCTL else None
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


_HAS_PRCTL = sys.platform == "linux"


_PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def complaint(errors: bytes | None) -> str:
    """The last thing ffmpeg said. Raises OSError where it could not write: that is no fault of the source."""
    text = (errors or b"").decode(errors="replace")
    for number in (errno.ENOSPC, errno.EDQUOT):
        if os.strerror(number) in text:
            raise OSError(number, os.strerror(number))
    lines = text.strip().splitlines()
    return lines[-1][:200] if lines else "ffmpeg said nothing"
