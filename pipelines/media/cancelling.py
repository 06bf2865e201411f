"""Channels that cancel: where the mix of a sound is much weaker than its channels, the louder channel is taken.

One channel of a stereo recording may be wired the wrong way round, so that the mean of both is nearly silent. This is
measured every half second, because a recording may be joined from several. The mix of unrelated channels has the power
of its parts, that of equal ones has twice as much, and that of channels that cancel has next to nothing.
"""

import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import ffmpeg
import numpy as np

from pipelines.engine.jobs import Rejected
from pipelines.media.ffmpeg import GAP_S, Source, decode_audio
from pipelines.media.process import address, ffmpeg_path, running
from wanstreamer.clock import Span, merge_spans

MEASURED_HZ = 8000
STEP_MS = 500
CANCELLED = 0.25  # power of the mix relative to that of its parts: 1 + correlation, for two channels of one level
NEIGHBOURS = 9  # telling steps that decide together: a wide stereo recording may cancel for a moment
LOUD_DB = 35.0  # a step is telling down to this much below the loud ones
QUIETEST = 1e-10  # power of the difference of successive samples; digital silence is less
FADE_MS = 10
PIECE_SAMPLES = 1 << 20


class Mix(NamedTuple):
    """A mono sound, and where it is the louder channel instead of the mix of all."""

    samples_T: np.ndarray
    cancelled: tuple[Span, ...]  # from the start of the file, in ms


def decode_mixed(source: Source, rate_hz: int, scratch: Path | None = None, *, end_ms: int | None = None) -> Mix:
    """`decode_audio` of all channels, with the louder one where they cancel."""
    mix_T = decode_audio(source, rate_hz, None, scratch, end_ms=end_ms)
    return without_cancelling(source, mix_T, rate_hz, scratch)


def without_cancelling(source: Source, mix_T: np.ndarray, rate_hz: int, scratch: Path | None = None) -> Mix:
    """The mono sound of a source, with the louder channel where its channels cancel in `mix_T`.

    mix_T: `decode_audio` of all channels, float32. It is not copied, unless channels cancel.
    """
    weights = [weight for weight in source.audio_weights if weight]
    if len(weights) < 2 or not len(mix_T):
        return Mix(mix_T, ())
    end_ms = -(-len(mix_T) * 1000 // rate_hz)
    steps_S, channel = _cancelled_steps(source, end_ms)
    spans = [Span(step * STEP_MS, (step + 1) * STEP_MS) for step in np.flatnonzero(steps_S).tolist()]
    cancelled = [Span(start_ms, min(end_ms, stop_ms)) for start_ms, stop_ms in merge_spans(spans) if start_ms < end_ms]
    if not cancelled:
        return Mix(mix_T, ())
    loud_T = decode_audio(source, rate_hz, channel, scratch, end_ms=end_ms)
    return Mix(_blended(mix_T, loud_T, cancelled, rate_hz, scratch), tuple(cancelled))


def _cancelled_steps(source: Source, end_ms: int) -> tuple[np.ndarray, int]:
    """bool (S,): whether the channels cancel in each step; and the channel that is the loudest there."""
    weights_C = np.array(source.audio_weights)
    power_SC, mix_S = _powers(source, end_ms)
    parts_S = power_SC @ weights_C**2
    if not len(parts_S):
        return np.zeros(0, bool), 0
    telling = np.flatnonzero(parts_S > max(QUIETEST, np.percentile(parts_S, 95) * 10 ** (-LOUD_DB / 10)))
    if not len(telling):
        return np.zeros(0, bool), 0
    cancels = mix_S[telling] < CANCELLED * parts_S[telling]
    # At an end, the nearest steps decide; in a short recording, all of them.
    half = min(NEIGHBOURS // 2, (len(telling) - 1) // 2)
    padded = np.pad(cancels.astype(int), half, mode="edge")
    decided = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1).sum(1) > half
    # Between telling steps, the one before counts, so that the background does not change with every pause.
    before = np.maximum(0, np.searchsorted(telling, np.arange(len(parts_S)), side="right") - 1)
    steps_S = decided[before]
    loudest_C = np.where(weights_C > 0, power_SC[steps_S].sum(0), -1.0)
    return steps_S, int(loudest_C.argmax())


def _powers(source: Source, end_ms: int) -> tuple[np.ndarray, np.ndarray]:
    """Power of each channel, (S, C), and of their mix, (S,), in each step. Hum and offsets count little."""
    weights_C = np.array(source.audio_weights, np.float32)
    stream = ffmpeg.input(address(source.path), protocol_whitelist="file,pipe", threads=1, copyts=None)
    stream = stream[str(source.audio)].filter("asetpts", f"PTS-({source.start_s:.6f})/TB")
    stream = stream.filter("aresample", MEASURED_HZ, **{"async": 1, "first_pts": 0, "min_hard_comp": GAP_S})
    command = stream.output("pipe:", format="f32le", ac=len(weights_C), ar=MEASURED_HZ, t=end_ms / 1000)
    command = command.global_args("-v", "quiet", "-nostdin").compile(cmd=ffmpeg_path())
    step_bytes = MEASURED_HZ * STEP_MS // 1000 * len(weights_C) * 4
    powers, mixes = [], []
    with running(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        while content := process.stdout.read(step_bytes):
            sound_TC = np.frombuffer(content[: len(content) // (4 * len(weights_C)) * 4 * len(weights_C)], np.float32)
            change_TC = np.diff(sound_TC.reshape(-1, len(weights_C)), axis=0)
            if len(change_TC):
                powers.append((change_TC**2).mean(0))
                mixes.append(((change_TC @ weights_C) ** 2).mean())
    return np.array(powers).reshape(-1, len(weights_C)), np.array(mixes)


def _blended(
    mix_T: np.ndarray, loud_T: np.ndarray, cancelled: list[Span], rate_hz: int, scratch: Path | None
) -> np.ndarray:
    """`loud_T` in the spans and `mix_T` elsewhere, with linear fades; on disk, as both are."""
    fade = rate_hz * FADE_MS // 1000
    edges = [(start_ms * rate_hz // 1000, stop_ms * rate_hz // 1000) for start_ms, stop_ms in cancelled]
    length = min(len(mix_T), len(loud_T))
    with tempfile.TemporaryFile(dir=scratch) as file:
        for begin in range(0, length, PIECE_SAMPLES):
            end = min(length, begin + PIECE_SAMPLES)
            at = np.arange(begin, end)
            share = np.zeros(end - begin, np.float32)
            for start, stop in edges:
                if start < end + fade and begin - fade < stop:
                    rise = 1.0 if start == 0 else np.clip((at - start + fade) / fade, 0, 1)
                    fall = np.clip((stop + fade - at) / fade, 0, 1)
                    share = np.maximum(share, np.minimum(rise, fall).astype(np.float32))
            piece = mix_T[begin:end] * (1 - share) + loud_T[begin:end] * share
            file.write(piece.astype(np.float32).tobytes())
        if not file.tell():
            raise Rejected("unreadable", "no sound in the louder channel")
        file.flush()
        return np.memmap(file, np.float32, mode="r")
