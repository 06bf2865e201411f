"""A voice and a text -> one phrase: samples, times of words and sound; how it ends or is broken off."""

from dataclasses import dataclass, replace

import numpy as np

from pipelines.conversation.voice import RATE_HZ, Voice, VoiceSpec
from wanstreamer.clock import Span, merge_spans

HOP_MS = 10
VOICED_DB = -32.0  # below the loud parts of the same phrase; espeak's pauses are digital silence
CLOSURE_MS = 120  # silences up to this are stops inside words, not pauses
FADE_MS = 12  # without a fade, a cut clicks
TRAIL_MS = 800  # the last part of a turn's last phrase, which grows softer
TRAIL_DB = -10.0  # by this much


@dataclass(frozen=True, kw_only=True)
class Word:
    text: str
    start_ms: int
    end_ms: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Clip:
    """One phrase, trimmed: it starts and ends with sound. Times count from its first sample."""

    samples: np.ndarray  # (T,) float32 at RATE_HZ
    words: tuple[Word, ...]
    speech: tuple[Span, ...]

    @property
    def duration_ms(self) -> int:
        return self.speech[-1].end_ms


def samples_of_ms(ms: int) -> int:
    return round(ms * RATE_HZ / 1000)


def voiced_spans(samples: np.ndarray) -> list[Span]:
    """Spans of a phrase with sound, in ms, to 10 ms; silences of stop consonants are closed."""
    hop = RATE_HZ * HOP_MS // 1000
    frames = np.zeros((-(-len(samples) // hop), hop), dtype=np.float32)
    frames.reshape(-1)[: len(samples)] = samples
    power = (frames**2).mean(axis=1)
    threshold = np.quantile(power, 0.95) * 10 ** (VOICED_DB / 10)
    # The hop is 220 samples, a little under 10 ms: positions are converted from samples only here.
    loud = np.flatnonzero(power > threshold).tolist()
    on = [Span(i * hop * 1000 // RATE_HZ, -(-(i + 1) * hop * 1000 // RATE_HZ)) for i in loud]
    return merge_spans(on, CLOSURE_MS)


def speak(voice: Voice, spec: VoiceSpec, text: str, *, ending: str, rate_factor: float, spoken: str = "") -> Clip:
    """One phrase. `text` goes into the transcript; `ending` ("." "?" ",") shapes the voice's melody; `spoken` is spoken
    instead of the text if its spelling would mislead espeak."""
    bare = (spoken or text).rstrip(".?")
    samples, starts_ms = voice.say(bare + ending, spec, rate_factor)
    voiced = voiced_spans(samples)
    first_ms, last_ms = voiced[0].start_ms, voiced[-1].end_ms
    tokens = text.split()
    if len(starts_ms) != len(tokens):  # phonemes, or words that espeak joins ("uh huh" for uh-huh)
        starts_ms = [first_ms + (last_ms - first_ms) * i // len(tokens) for i in range(len(tokens))]
    starts_ms = [max(0, min(start_ms, last_ms - 20) - first_ms) for start_ms in starts_ms]
    ends_ms = [*starts_ms[1:], last_ms - first_ms]
    return Clip(
        samples=samples[samples_of_ms(first_ms) : samples_of_ms(last_ms)],
        words=tuple(
            Word(text=token, start_ms=start_ms, end_ms=max(start_ms + 1, end_ms))
            for token, start_ms, end_ms in zip(tokens, starts_ms, ends_ms, strict=True)
        ),
        speech=tuple(Span(span.start_ms - first_ms, span.end_ms - first_ms) for span in voiced),
    )


def trail_off(clip: Clip) -> Clip:
    """The phrase, growing softer towards its end: nothing follows. Times do not change."""
    fading = min(len(clip.samples), samples_of_ms(TRAIL_MS))
    samples = clip.samples.copy()
    samples[-fading:] *= 10 ** (np.linspace(0, TRAIL_DB, fading, dtype=np.float32) / 20)
    return replace(clip, samples=samples)


def cut_points_ms(clip: Clip) -> list[int]:
    """Instants at which the phrase can be broken off: in sound, inside a word of at least 140 ms, and not near the end
    of the phrase, where the listener would miss nothing."""
    points = []
    for word in clip.words[:-1]:
        if word.end_ms - word.start_ms < 140 or word.end_ms > clip.duration_ms - 200:
            continue
        points += [
            t for t in range(word.start_ms + 70, word.end_ms - 50, HOP_MS)
            if any(span.start_ms + 30 <= t <= span.end_ms - 10 for span in clip.speech)
        ]  # fmt: skip
    return points


def cut(clip: Clip, at_ms: int) -> Clip:
    """The phrase broken off at `at_ms`, one of `cut_points_ms`."""
    samples = clip.samples[: samples_of_ms(at_ms)].copy()
    fade = samples_of_ms(FADE_MS)
    samples[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
    words = [word for word in clip.words if word.start_ms < at_ms]
    words[-1] = replace(words[-1], text=words[-1].text.rstrip(".?,") + "-", end_ms=at_ms)
    speech = [Span(span.start_ms, min(span.end_ms, at_ms)) for span in clip.speech if span.start_ms < at_ms]
    return Clip(samples=samples, words=tuple(words), speech=tuple(speech))
