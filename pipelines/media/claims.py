"""What the header of a media file states about its length, compared with what its packets hold.

A file is cut off if a stream ends well before the end that the header states for that stream, or if all streams end
well before the end that it states for the file. A length that ffmpeg guesses from a bit rate or from the last
timestamps is no statement: nothing can be missing from it.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CUT_OFF_MS = 1000  # a stream that ends this much before its stated end is cut off; headers are rounded
OF_STREAMS = frozenset({"mov", "mxf", "gxf"})  # their headers state the length of each stream
OF_FRAMES = frozenset({"avi", "caf"})  # they state the number of frames of each stream
# The header states one length, for the file.
OF_FILES = frozenset(
    {"aiff", "ape", "asf", "au", "flac", "flv", "matroska", "nistsphere", "nut", "rm", "tta", "wtv", "wv"}
)
ENDS_ARE_STATED = frozenset({"matroska"})  # the stated duration is the end of the last block, wherever the first begins
GUESS = 0.001  # a guess differs from size / bit rate by less than this
_MP3_FRAMES = (b"Xing", b"Info", b"VBRI")  # of the first frame of an MP3 that states the number of its frames
_HEADER_BYTES = 4096
_CONSTANT_RATE = frozenset({0x0001, 0x0002, 0x0003, 0x0006, 0x0007, 0x0011, 0xFFFE})  # PCM, ADPCM, G.711 in a WAV
_UNKNOWN_BYTES = 0x7FFF0000  # programs that write through a pipe state such a length, or 0, or 4 GiB


@dataclass(frozen=True, kw_only=True)
class Claims:
    """Stated ends in ms from the start of the file; 0: not stated."""

    video_ms: int = 0
    audio_ms: int = 0
    file_ms: int = 0


@dataclass(frozen=True, kw_only=True)
class Reached:
    """Where the packets end on the file's own clock, in ms from the start of the file; 0 without packets."""

    video_ms: int = 0
    audio_ms: int = 0
    file_ms: int = 0  # of all streams of the file


def read_claims(path: Path, container: Any, video: Any, audio: Any, start_s: float) -> Claims:
    """What an open file states. `video` and `audio`: the chosen streams of PyAV, or None."""
    names = set(container.format.name.split(","))
    file_s = (container.duration or 0) / 1_000_000
    if names & OF_STREAMS:
        return Claims(video_ms=_ms(_end_s(video, start_s)), audio_ms=_ms(_end_s(audio, start_s)))
    if names & OF_FRAMES:  # the demuxer guesses the durations of a file that was cut, but not the numbers of frames
        return Claims(video_ms=_ms(_frames_s(video)), audio_ms=_ms(_frames_s(audio)))
    if "wav" in names:
        return Claims(file_ms=_ms(_wav_s(path)))
    if "mp3" in names:
        return Claims(file_ms=_ms(file_s) if _counts_frames(path) else 0)
    if names & OF_FILES and not _is_guess(container, file_s):
        return Claims(file_ms=_ms(file_s - (start_s if names & ENDS_ARE_STATED else 0)))
    return Claims()


def cut_off(claims: Claims, reached: Reached) -> str:
    """Which streams are cut off, and where; empty: none."""
    ends = (
        ("video ", reached.video_ms, claims.video_ms),
        ("audio ", reached.audio_ms, claims.audio_ms),
        ("", reached.file_ms, claims.file_ms),
    )
    return ", ".join(
        f"{name}{end_ms} of {stated_ms} ms" for name, end_ms, stated_ms in ends if end_ms < stated_ms - CUT_OFF_MS
    )


def _ms(seconds: float) -> int:
    return max(0, round(1000 * seconds))


def _end_s(stream: Any, start_s: float) -> float:
    if stream is None or not stream.duration or not stream.time_base:
        return 0.0
    return float(((stream.start_time or 0) + stream.duration) * stream.time_base) - start_s


def _frames_s(stream: Any) -> float:
    return float(stream.frames * stream.time_base) if stream is not None and stream.time_base else 0.0


def _is_guess(container: Any, file_s: float) -> bool:
    """Whether ffmpeg took the duration from the size of the file and the bit rates of its streams."""
    rates = [stream.codec_context.bit_rate or 0 for stream in container.streams if stream.codec_context]
    bits = 8 * container.size
    return bool(rates) and all(rates) and bits > 0 and abs(file_s * sum(rates) / bits - 1) < GUESS


def _counts_frames(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(10)
        if start[:3] == b"ID3" and len(start) == 10:
            file.seek(10 + sum(byte << shift for byte, shift in zip(start[6:], (21, 14, 7, 0), strict=True)))
        content = start + file.read(_HEADER_BYTES)
    return any(name in content for name in _MP3_FRAMES)


def _wav_s(path: Path) -> float:
    """The length that the data chunk of a WAV states; ffmpeg cuts it to the size of the file. 0: not known."""
    with path.open("rb") as file:
        if file.read(12)[8:] != b"WAVE":
            return 0.0
        bytes_per_s = 0
        while len(header := file.read(8)) == 8:
            name, num_bytes = struct.unpack("<4sI", header)
            if name == b"data":
                known = bytes_per_s and num_bytes < _UNKNOWN_BYTES
                return num_bytes / bytes_per_s if known else 0.0
            content = file.read(16) if name == b"fmt " else b""
            if len(content) == 16:
                codec, _, _, bytes_per_s = struct.unpack("<HHII", content[:12])
                if codec not in _CONSTANT_RATE:
                    return 0.0
            file.seek(num_bytes + num_bytes % 2 - len(content), 1)
    return 0.0
