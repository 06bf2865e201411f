"""Ends a command after a user's mistake: one line on stderr, exit code 2, no traceback."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wanstreamer.errors import InputError

# What the operating system refuses because of a path that the user named, and the remedy. Other OSErrors are bugs.
REMEDIES = {
    errno.EACCES: "check its permissions, or name another folder",
    errno.EPERM: "check its permissions, or name another folder",
    errno.EROFS: "name a folder that can be written",
    errno.ENOTDIR: "a part of this path is a file; name another folder",
    errno.ENAMETOOLONG: "use a shorter name",
    errno.ELOOP: "a link leads back to itself; name another folder",
    errno.ENOSPC: "free some space and run the same command again",
    errno.EDQUOT: "free some space and run the same command again",
}


@contextmanager
def exit_on_input_error() -> Iterator[None]:
    try:
        yield
    except InputError as error:
        _exit(str(error))
    except OSError as error:
        if error.errno not in REMEDIES:
            raise
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror).partition("\n")[0]
        _exit(f"{what}; {REMEDIES[error.errno]}")


def _exit(line: str) -> None:
    print(f"error: {line}", file=sys.stderr)
    sys.exit(2)


def check_writable(folder: Path, option: str = "--data") -> None:
    """Raises InputError if the folder cannot be written, or cannot be made."""
    above = folder.absolute()
    while not os.path.lexists(above):  # false for what may not be read, where Path.exists would raise
        above = above.parent
    if not above.is_dir():
        what = "is a file" if above.is_file() else "is no folder"
        raise InputError(f"{option} {folder}: {above} {what}; expected a folder, or one that can be made")
    if not os.access(above, os.W_OK | os.X_OK):
        raise InputError(f"{option} {folder}: no permission to write in {above}; {REMEDIES[errno.EACCES]}")
