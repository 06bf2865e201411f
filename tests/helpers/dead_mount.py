"""A file system that has died: a file can be opened there, and a process that reads it cannot even be killed.

A FUSE server of our own that answers everything but reads. A process that waits for an answer to a request that the
server has taken is in uninterruptible sleep, as on a hung NFS mount, until the mount is gone.
"""

import ctypes
import errno
import os
import select
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

LOOKUP, FORGET, GETATTR, OPEN, READ, INIT, OPENDIR, INTERRUPT, BATCH_FORGET = 1, 2, 3, 14, 15, 26, 27, 36, 42
HEADER = struct.Struct("<IIQQIIII")  # length, opcode, unique, node, uid, gid, pid, padding
ROOT, FILE = 1, 2  # nodes
DETACH = 2
SIZE = 1 << 20


def _attributes(node: int) -> bytes:
    mode, links = (0o40755, 2) if node == ROOT else (0o100644, 1)
    return struct.pack("<6Q10I", node, SIZE, SIZE // 512, 0, 0, 0, 0, 0, 0, mode, links, 0, 0, 0, 4096, 0)


def _answer(opcode: int, node: int) -> bytes | None:
    """What follows the header of an answer; None: an error."""
    if opcode == INIT:
        return struct.pack("<IIIIHHIIHH8I", 7, 31, 0, 0, 4, 3, 4096, 1, 0, 0, *[0] * 8)
    if opcode == LOOKUP:
        return struct.pack("<4Q2I", FILE, 0, 3600, 3600, 0, 0) + _attributes(FILE)
    if opcode == GETATTR:
        return struct.pack("<Q2I", 3600, 0, 0) + _attributes(node)
    return struct.pack("<Q2I", 1, 0, 0) if opcode in (OPEN, OPENDIR) else None


def _serve(device: int, stop: int) -> None:
    with suppress(OSError):  # the mount is gone
        while stop not in select.select([device, stop], [], [])[0]:
            request = os.read(device, 1 << 17)
            _, opcode, unique, node, *_ = HEADER.unpack_from(request)
            if opcode in (READ, FORGET, INTERRUPT, BATCH_FORGET):
                continue
            body = _answer(opcode, node)
            error = 0 if body is not None else -errno.ENOSYS
            os.write(device, struct.pack("<IiQ", 16 + len(body or b""), error, unique) + (body or b""))


@contextmanager
def dead_mount(folder: Path) -> Iterator[Path]:
    """Mount it on the folder, which is empty; yields a file there. Skips the test where that is not allowed."""
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        device = os.open("/dev/fuse", os.O_RDWR)
    except OSError as error:
        pytest.skip(f"/dev/fuse: {error.strerror}")
    options = f"fd={device},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()},allow_other"
    if libc.mount(b"dead", os.fsencode(folder), b"fuse", 0, options.encode()):
        os.close(device)
        pytest.skip(f"mount: {os.strerror(ctypes.get_errno())}")
    stop, stopping = os.pipe()
    server = threading.Thread(target=_serve, args=(device, stop), daemon=True)
    server.start()
    try:
        yield folder / "recording.mp4"
    finally:
        libc.umount2(os.fsencode(folder), DETACH)
        os.write(stopping, b"x")
        server.join()
        for file in (device, stop, stopping):  # the last end of the device: what waits gets an error, and dies
            os.close(file)
