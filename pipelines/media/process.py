"""ffmpeg as a child process that ends with its parent, and its error messages."""

import errno
import os
import re
import signal
import subprocess
import sys
from collections.abc import Container, Iterator
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
    """A child process: killed at the end of the block, after an exception too, and by the kernel if the worker dies.

    It has a process group of its own. Ctrl-C in a terminal reaches all processes of the terminal's group; a run that is
    stopped so finishes what it works on, and an ffmpeg that had ended half way would look like a damaged recording.
    """
    process = subprocess.Popen(
        command,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        process_group=0,
        preexec_fn=_die_with_parent if _HAS_PRCTL else None,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


# [aac @ 0x55a0] [error] channel element 1.3 is not allocated: the addresses differ from run to run.
_PARTS = re.compile(
    r"(?:\[(?P<part>[^\]]*) @ 0x[0-9a-f]+\] )?(?:\[[^\]]* @ 0x[0-9a-f]+\] )*(?:\[(?P<level>[a-z]+)\] )?(?P<message>.*)"
)
_OWN_WORK = re.compile(
    r"Error (submitting|while|opening|processing|parsing|sending|initializing|marking|reinitializing|selecting)"
    r"|Terminating thread|Conversion failed|Task finished|Nothing was written|Last message repeated"
    r"|Decode error rate|Output file is empty|Exiting|\s"
)
_HAS_PRCTL = sys.platform == "linux"
_PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def complaint(errors: bytes | None, about: Container[str] = ()) -> str:
    """The line of ffmpeg's errors that says what is wrong: the first that is not about ffmpeg's own work.

    `about`: names of parts of ffmpeg, such as decoders, whose lines count before those of others.

    Raises OSError if ffmpeg could not write: then the source is not at fault.

    >>> complaint(b"[aac @ 0x5f] channel element 1.3 is not allocated\\n[dec:aac @ 0x6] Error submitting packet")
    'channel element 1.3 is not allocated'
    """
    text = (errors or b"").decode(errors="replace")
    for number in (errno.ENOSPC, errno.EDQUOT):
        if os.strerror(number) in text:
            raise OSError(number, os.strerror(number))
    lines = [match.groups() for match in map(_PARTS.fullmatch, text.splitlines()) if match and match["message"]]
    if any(level for _, level, _ in lines):
        lines = [line for line in lines if line[1] in ("error", "fatal", "panic")]
    telling = [(part, message) for part, _, message in lines if not _OWN_WORK.match(message)]
    telling.sort(key=lambda line: line[0] not in about)
    messages = [message for _, message in telling] or [message for _, _, message in lines]
    return messages[0][:200] if messages else "ffmpeg reported nothing"
