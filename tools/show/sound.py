"""The sound of a track, in pieces: 16-bit mono samples, muted where a person who is not shown may be heard."""

import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wanstreamer.clock import Span
from wanstreamer.errors import InputError

MAX_MS = 30_000  # of one piece
Samples = NDArray[np.int16]


def read_samples(path: Path, start_ms: int, end_ms: int) -> tuple[Samples, int]:
    """int16 (num_samples,) of [start_ms, end_ms), zeros past the end of the file, and the rate.

    Raises InputError for a file that is no 16-bit mono WAV, or a piece of over MAX_MS.
    """
    if not 0 <= end_ms - start_ms <= MAX_MS or start_ms < 0:
        raise InputError(f"start_ms {start_ms}, end_ms {end_ms}: expected a piece of 0 to {MAX_MS} ms")
    try:
        with wave.open(str(path), "rb") as file:
            if file.getnchannels() != 1 or file.getsampwidth() != 2:
                raise InputError(f"{path}: not 16-bit mono; run the ingest stage again (python -m pipelines.ingest)")
            rate_hz = file.getframerate()
            start, stop = start_ms * rate_hz // 1000, end_ms * rate_hz // 1000
            file.setpos(min(start, file.getnframes()))
            content = file.readframes(stop - start)
    except (wave.Error, EOFError) as error:
        raise InputError(
            f"{path}: cannot be read ({error or 'ends early'}); run the ingest stage again (python -m pipelines.ingest)"
        ) from error
    samples = np.zeros(stop - start, np.int16)
    part = np.frombuffer(content[: len(content) // 2 * 2], "<i2")
    samples[: len(part)] = part
    return samples, rate_hz


def mute(samples: Samples, rate_hz: int, start_ms: int, spans: Sequence[Span]) -> Samples:
    """The samples, which begin at `start_ms`, with zeros inside the spans."""
    muted = samples.copy()
    for span in spans:
        first = max(0, span.start_ms * rate_hz // 1000 - start_ms * rate_hz // 1000)
        stop = max(0, -(-span.end_ms * rate_hz // 1000) - start_ms * rate_hz // 1000)
        muted[first:stop] = 0
    return muted
