"""Ctrl-C in child processes, however the tests themselves were started."""

import signal


def hear_ctrl_c() -> None:
    """For `preexec_fn`: what a shell starts in the background ignores SIGINT, and so do its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
