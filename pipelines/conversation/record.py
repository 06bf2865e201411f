"""Clean voices and frames -> media files like those of a camera: various containers and rates, noise, bleed.

ffmpeg gets frames through a pipe and sound as a WAV file. It runs on one thread and with bit-exact flags: x264's output
depends on the number of threads, and containers otherwise contain random ids and dates.
"""

import subprocess
import tempfile
import wave
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from pipelines.conversation.cast import Stream
from pipelines.conversation.phrases import samples_of_ms
from pipelines.conversation.voice import RATE_HZ
from pipelines.media.process import ffmpeg_path, running

BLEED_DELAY_MS = 12  # from the other's loudspeaker to this microphone
PEAK = 0.97  # full scale is never reached
X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "24", "-pix_fmt", "yuv420p", "-threads", "1")
EXACT = ("-fflags", "+bitexact", "-flags:v", "+bitexact", "-flags:a", "+bitexact", "-map_metadata", "-1")
AUDIO_BITRATE = {"aac": "96k", "libopus": "64k"}


def rms(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(samples.astype(np.float64) ** 2))) if len(samples) else 0.0


def voice_gain(voice: np.ndarray, speech_rms: float, level_db: float) -> float:
    """Factor that brings speech of this RMS to `level_db` below full scale, or less, so that it stays under PEAK."""
    peak = float(np.abs(voice).max())
    return min(10 ** (level_db / 20) / speech_rms, 0.8 / peak) if peak else 1.0


def mix_track(
    own: np.ndarray, theirs: np.ndarray, own_rms: float, stream: Stream, duration_ms: int, rng: np.random.Generator
) -> np.ndarray:
    """The microphone's signal from session time 0, float32 at RATE_HZ: own voice, noise, the other's bleed.

    Args:
        own: Levelled voice of the participant; `own_rms` is that of its speech.
        theirs: Levelled voice of the other.
        duration_ms: End of the file on the session clock.
    """
    track = np.zeros(samples_of_ms(duration_ms), dtype=np.float64)
    track[: len(own)] += own[: len(track)]
    if stream.bleed_db is not None:
        delay = samples_of_ms(BLEED_DELAY_MS)
        bleed = theirs[: len(track) - delay] * 10 ** (stream.bleed_db / 20)
        track[delay : delay + len(bleed)] += bleed
    noise = room_noise(len(track), rng)
    track += noise * own_rms * 10 ** (-stream.noise_db / 20)
    return (track * min(1.0, PEAK / float(np.abs(track).max()))).astype(np.float32)


def room_noise(length: int, rng: np.random.Generator) -> np.ndarray:
    """Noise of a room: it falls by 0 to 6 dB per octave, with or without mains hum; RMS 1."""
    size = 1 << (length - 1).bit_length()
    spectrum = np.fft.rfft(rng.standard_normal(size))
    frequency = np.maximum(np.fft.rfftfreq(size, 1 / RATE_HZ), 40.0)
    noise = np.fft.irfft(spectrum * frequency ** -float(rng.uniform(0.0, 1.0)))[:length]
    noise /= rms(noise)
    if rng.random() < 0.4:
        time_s = np.arange(length) / RATE_HZ
        noise += sum(0.4 / k * np.sin(2 * np.pi * 50 * k * time_s + k) for k in (1, 2, 3))
    return noise / rms(noise)


def write_wav(path: Path, channels: Sequence[np.ndarray]) -> None:
    """Float tracks of equal length to one 16-bit file at RATE_HZ."""
    samples = np.round(np.stack(channels, axis=1) * 32767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(len(channels))
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(samples.tobytes())


@dataclass(frozen=True, kw_only=True)
class Coding:
    """How picture and sound are coded."""

    audio_codec: str
    rate_hz: int
    frame_rate: str  # in ffmpeg's notation
    width: int
    height: int


def encode(path: Path, sound: Path | None, frames: Iterable[np.ndarray] | None, coding: Coding) -> None:
    """Write one media file. `frames` are BGR, height x width, at the frame rate; None: sound only. No `sound`: mute.

    Raises RuntimeError with ffmpeg's exit code and its own messages if it fails, or does not take all frames.
    """
    command = [ffmpeg_path(), "-v", "error", "-y", "-nostdin"]
    if frames is not None:
        size = f"{coding.width}x{coding.height}"
        command += ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", size, "-r", coding.frame_rate, "-i", "pipe:0"]
    if sound is not None:
        command += ["-i", str(sound), "-ar", str(coding.rate_hz), "-c:a", coding.audio_codec]
        if coding.audio_codec in AUDIO_BITRATE:
            command += ["-b:a", AUDIO_BITRATE[coding.audio_codec]]
    command += [*(X264 if frames is not None else ()), *EXACT, str(path)]
    with (
        tempfile.TemporaryFile() as log,  # not a pipe: while frames are sent, no one would empty it
        running(command, stdin=subprocess.PIPE, stderr=log) as child,
    ):
        assert child.stdin is not None
        took_all = True
        try:
            for frame in frames or ():
                child.stdin.write(cv2.cvtColor(frame, cv2.COLOR_BGR2YUV_I420).data)
            child.stdin.close()
        except BrokenPipeError:  # a file without the rest of the frames is a failure, whatever the exit code
            took_all = False
            with suppress(BrokenPipeError):
                child.stdin.close()
        code = child.wait()
        if code or not took_all:
            log.seek(0)
            message = log.read().decode(errors="replace").strip()[-2000:] or "it reported nothing"
            early = "" if took_all else " before it had all frames"
            raise RuntimeError(f"ffmpeg could not write {path.name}: it ended with exit code {code}{early}: {message}")


def truncate(path: Path, share: float) -> None:
    """Keep the first `share` of the bytes, as after a full disk or a lost connection."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
