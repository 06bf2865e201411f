"""Our tracks' sound -> the files of an export: 16-bit samples as they are, with the masked units at zero.

A track is checked against the checksum that ingest recorded, and read in pieces: an hour takes as much memory as a
minute.
"""

import wave
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.engine.files import file_sha256
from pipelines.engine.jobs import Rejected
from tools.export.session import Session
from wanstreamer.clock import UNIT_MS, samples_per_unit

PIECE_UNITS = 256  # 41 s
BYTES_PER_SAMPLE = 2
WAV_BYTES = 2**32 - 1024  # a WAV file holds its length in 32 bits


def num_views(tracks: Sequence[Mapping[str, Any]]) -> int:
    """Role views of a session: two of a dyad; of a group, about those of the pairs that the manifest names."""
    return 2 if len(tracks) == 2 else sum(len(track["partners"] or ()) for track in tracks)


def sound_bytes(tracks: Sequence[Mapping[str, Any]]) -> int:
    """Bytes of one channel of the session's sound."""
    rate_hz = max((track["rate_hz"] or 0 for track in tracks), default=0)
    return int(BYTES_PER_SAMPLE * tracks[0]["num_units"] * rate_hz * UNIT_MS // 1000)


def check_track(session: Session, who: str, kind: str) -> Path:
    """The file of a track. Raises Rejected if it is not what ingest wrote."""
    path = session.path(who, kind)
    if path is None:
        raise Rejected(f"no_{kind}", who)
    try:
        if file_sha256(path) != session.tracks[who][f"{kind}_sha256"]:
            raise Rejected(f"{kind}_damaged", f"{path.name}: its checksum differs")
    except OSError as error:
        raise Rejected(f"{kind}_damaged", f"{path.name}: {error.strerror}") from error
    return path


def unit_pieces(
    path: Path | None, num_units: int, rate_hz: int, masked: np.ndarray | None, part: range | None = None
) -> Iterator[np.ndarray]:
    """int16 pieces of a track of `num_units`, or of the units `part` of it. Masked units, and a track that is None, are
    zero.

    Raises Rejected for a file that is shorter, longer or of another kind.
    """
    per_unit = samples_per_unit(rate_hz)
    part = range(num_units) if part is None else part
    if path is None:
        for start in range(part.start, part.stop, PIECE_UNITS):
            yield np.zeros(min(PIECE_UNITS, part.stop - start) * per_unit, np.int16)
        return
    try:
        with wave.open(str(path), "rb") as file:
            kind = (file.getnchannels(), file.getsampwidth(), file.getframerate())
            if kind != (1, BYTES_PER_SAMPLE, rate_hz) or file.getnframes() != num_units * per_unit:
                raise Rejected(
                    "audio_damaged", f"{path.name}: {file.getnframes()} samples of {kind}, expected {num_units} units"
                )
            file.setpos(part.start * per_unit)
            for start in range(part.start, part.stop, PIECE_UNITS):
                units = min(PIECE_UNITS, part.stop - start)
                samples = np.frombuffer(file.readframes(units * per_unit), "<i2")
                if masked is not None and masked[start : start + units].any():
                    known = ~masked[start : start + units, None]
                    samples = (samples.reshape(units, per_unit) * known).reshape(-1)
                yield samples
    except (wave.Error, EOFError) as error:
        raise Rejected("audio_damaged", f"{path.name}: {type(error).__name__}") from error


def write_stereo(
    path: Path, session: Session, left: Path, right: Path | None, rate_hz: int, right_masked: np.ndarray
) -> None:
    """A 16-bit WAV of two channels, with `right` at zero in its masked units."""
    num_bytes = session.num_units * samples_per_unit(rate_hz) * 2 * BYTES_PER_SAMPLE
    if num_bytes > WAV_BYTES:
        raise Rejected("too_long", f"{num_bytes / 1e9:.3g} GB of sound in two channels; a WAV file holds 4.29")
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(BYTES_PER_SAMPLE)
        file.setframerate(rate_hz)
        file.setnframes(session.num_units * samples_per_unit(rate_hz))
        for channels in zip(
            unit_pieces(left, session.num_units, rate_hz, None),
            unit_pieces(right, session.num_units, rate_hz, right_masked),
            strict=True,
        ):
            file.writeframesraw(np.stack(channels, axis=1).astype("<i2").tobytes())
