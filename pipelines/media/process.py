"""ffmpeg as a child process that ends with its parent, and its error messages."""

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
    """A path in a form that is safe for ffmpeg: `-y.mp4` is not read as an option, `http:x` not as a protocol."""
    return f"file:{path}"


@cache
def ffmpeg_path() -> str:
    return imageio_ffmpeg.get_ffmpeg_exe()


@contextmanager
def running(
    command: list[str],
    *,
    stdin: int = subprocess.DEVNULL,
    stdout: "int | IO[bytes]" = subprocess.DEVNULL,
    stderr: "int | IO[bytes]" = subprocess.PIPE,
) -> "Iterator[subprocess.Popen[bytes]]":
    """A child process: killed at the end of the block, after an exception too, and by the kernel if the worker dies."""
    process = subprocess.Popen(
        command, stdin=stdin, stdout=stdout, stderr=stderr, preexec_fn=_die_with_parent if _HAS_PRCTL else None
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
    """The last line of ffmpeg's errors. Raises OSError if it could not write: then the source is not at fault."""
    text = (errors or b"").decode(errors="replace")
    for number in (errno.ENOSPC, errno.EDQUOT):
        if os.strerror(number) in text:
            raise OSError(number, os.strerror(number))
    lines = text.strip().splitlines()
    return lines[-1][:200] if lines else "ffmpeg reported nothing"
