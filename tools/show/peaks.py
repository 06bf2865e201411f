"""The waveform of a track, as wide as the screen needs: lowest and highest sample of each bucket.

A pyramid of buckets of 8 ms, 16 ms, ... 4096 ms is made once, in pieces, and lies in a file below the data folder.
Narrower buckets come from the samples. Whatever is shown of a recording of any length, a few kilobytes are read.
"""

import os
import tempfile
import threading
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.engine.files import replace_file
from tools.show.sound import MAX_MS, read_samples
from wanstreamer.errors import InputError

FIRST_MS, LAST_MS = 8, 4096  # width of the buckets of the pyramid
MAX_BUCKETS = 4096  # of one answer
PIECE_MS = 16_384  # read at once; a whole number of buckets of every level but the last
WIDTHS_MS = tuple(1 << power for power in range(13))  # 1 to 4096
_making = threading.Lock()  # one pyramid at a time

Peaks = NDArray[np.int8]  # (buckets, 2): lowest, highest; full scale is -128 to 127


def read_peaks(path: Path, duration_ms: int, cache: Path, *, bucket_ms: int, first: int, count: int) -> Peaks:
    """Buckets first to first + count - 1 of `bucket_ms`; zeros past the end. `cache`: the folder of the pyramids.

    Raises InputError for a width or a number that is not offered.
    """
    if bucket_ms not in WIDTHS_MS:
        raise InputError(f"bucket_ms {bucket_ms}: expected one of {', '.join(map(str, WIDTHS_MS))}")
    if first < 0 or not 0 <= count <= MAX_BUCKETS:
        raise InputError(f"first {first}, count {count}: expected 0 or more, and at most {MAX_BUCKETS} buckets")
    peaks = np.zeros((count, 2), np.int8)
    if bucket_ms < FIRST_MS:
        end_ms = min((first + count) * bucket_ms, -(-duration_ms // bucket_ms) * bucket_ms)
        if end_ms > first * bucket_ms:
            own = _peaks_of(path, first * bucket_ms, end_ms, bucket_ms)
            peaks[: len(own)] = own
        return peaks
    offset, length = _level(duration_ms, bucket_ms)
    wanted = max(0, min(count, length - first))
    if wanted:
        with pyramid(path, duration_ms, cache).open("rb") as file:
            file.seek(2 * (offset + first))
            own = np.frombuffer(file.read(2 * wanted), np.int8).reshape(-1, 2)
            peaks[: len(own)] = own
    return peaks


def pyramid(path: Path, duration_ms: int, cache: Path) -> Path:
    """The file with all levels of a track, made if it is missing or older than the track."""
    state = path.stat()
    final = cache / f"{path.name}.{state.st_size:x}-{state.st_mtime_ns:x}.peaks"
    if final.is_file():
        return final
    with _making:
        if not final.is_file():
            cache.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=cache, prefix=".peaks-")
            temporary = Path(name)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    _write_levels(path, duration_ms, file.fileno())
                replace_file(temporary, final)
            finally:
                temporary.unlink(missing_ok=True)
    return final


def _write_levels(path: Path, duration_ms: int, descriptor: int) -> None:
    """Every level, piece by piece: the memory does not depend on the length."""
    for start_ms in range(0, duration_ms, PIECE_MS):
        end_ms = min(start_ms + PIECE_MS, -(-duration_ms // FIRST_MS) * FIRST_MS)
        peaks = _peaks_of(path, start_ms, end_ms, FIRST_MS)
        width_ms = FIRST_MS
        while width_ms <= LAST_MS:
            offset, _ = _level(duration_ms, width_ms)
            os.pwrite(descriptor, peaks.tobytes(), 2 * (offset + start_ms // width_ms))
            if len(peaks) % 2:
                peaks = np.concatenate([peaks, peaks[-1:]])
            pairs = peaks.reshape(-1, 2, 2)
            peaks = np.stack([pairs[:, :, 0].min(1), pairs[:, :, 1].max(1)], axis=1)
            width_ms *= 2


def _level(duration_ms: int, width_ms: int) -> tuple[int, int]:
    """The place of a level's first bucket in the file, and its number of buckets."""
    offset, width = 0, FIRST_MS
    while width < width_ms:
        offset += -(-duration_ms // width)
        width *= 2
    return offset, -(-duration_ms // width_ms)


def _peaks_of(path: Path, start_ms: int, end_ms: int, width_ms: int) -> Peaks:
    """The buckets of [start_ms, end_ms), from the samples."""
    pieces = []
    step_ms = MAX_MS // width_ms * width_ms
    for piece_ms in range(start_ms, end_ms, step_ms):
        stop_ms = min(piece_ms + step_ms, end_ms)
        samples, rate_hz = read_samples(path, piece_ms, stop_ms)
        edges = np.arange(piece_ms, stop_ms, width_ms) * rate_hz // 1000 - piece_ms * rate_hz // 1000
        if len(samples):
            edges = np.minimum(edges, len(samples) - 1)
            lowest, highest = np.minimum.reduceat(samples, edges), np.maximum.reduceat(samples, edges)
            pieces.append(np.stack([lowest >> 8, highest >> 8], axis=1).astype(np.int8))
    return np.concatenate(pieces) if pieces else np.zeros((0, 2), np.int8)
