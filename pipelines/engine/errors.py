"""Ends a command after a user's mistake: one line on stderr, exit code 2, no traceback."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from wanstreamer.errors import InputError


@contextmanager
def exit_on_input_error() -> Iterator[None]:
    try:
        yield
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
