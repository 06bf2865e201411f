"""Chunks of speech -> words with the times that Whisper itself gives them, where no aligner knows the language.

Whisper's times come from its attention. Of a synthetic voice, half of the onsets are within 34 ms and nine of ten
within 116 ms (tests/real); of other speech, more are off. That is why a word's confidence is half of its probability.
The batches are decoded in one pass, without the retries at higher temperatures that faster-whisper makes for one
file: those draw random numbers.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from pipelines.annotate.chunks import Chunk
from pipelines.signals.voice_activity import RATE_HZ

BATCH = 8  # chunks at a time
MOST_HEARD = 3  # chunks of which the language is heard
UNSURE = 0.5  # confidence in the time of a word, relative to Whisper's probability of the word
# As in Whisper: a chunk that it takes for silence, and whose words it finds unlikely, has no words.
SILENCE, UNLIKELY = 0.6, -1.0
# Languages whose words faster-whisper finds by their letters, not by blanks.
UNSPACED = frozenset({"ja", "lo", "my", "th", "yue", "zh"})


def own_times(whisper: Any, chunks: Sequence[Chunk], language: str) -> tuple[list[dict[str, Any]], int]:
    """Segments for `mend_words`, in seconds of the track, and the number of words in chunks that are taken for silence.

    Args:
        whisper: A faster_whisper.WhisperModel.
        language: One that the model knows.
    """
    from faster_whisper import BatchedInferencePipeline

    # Each chunk begins at a whole second: faster-whisper cuts offsets to hundredths.
    starts_s = np.cumsum([0, *(-(-len(chunk.audio_T) // RATE_HZ) + 1 for chunk in chunks)])
    joined_T = np.zeros(int(starts_s[-1]) * RATE_HZ, np.float32)
    clips: list[dict[str, float]] = []
    for start_s, chunk in zip(starts_s[:-1].tolist(), chunks, strict=True):
        joined_T[start_s * RATE_HZ :][: len(chunk.audio_T)] = chunk.audio_T
        clips.append({"start": float(start_s), "end": start_s + len(chunk.audio_T) / RATE_HZ})
    found, _ = BatchedInferencePipeline(whisper).transcribe(
        joined_T, language=language, clip_timestamps=clips, word_timestamps=True, batch_size=BATCH
    )
    by_start = dict(zip(starts_s[:-1].tolist(), chunks, strict=True))
    segments: list[dict[str, Any]] = []
    num_unlikely = 0
    for segment in found:
        start_s = segment.seek // 100
        chunk, words = by_start[start_s], list(_whole_words(segment.words or (), language))
        if segment.no_speech_prob > SILENCE and segment.avg_logprob < UNLIKELY:
            num_unlikely += len(words)
            continue
        timed = []
        for text, from_s, to_s, probability in words:
            span = chunk.in_track(from_s - start_s, to_s - start_s)
            times = {"start": span.start_ms / 1000, "end": span.end_ms / 1000}
            timed.append({"word": text, "score": UNSURE * probability} | times)
        covered = {"start": chunk.span.start_ms / 1000, "end": chunk.span.end_ms / 1000}
        segments.append({"text": segment.text, "words": timed} | covered)
    return segments, num_unlikely


def _whole_words(words: Sequence[Any], language: str) -> Iterator[tuple[str, float, float, float]]:
    """(text, start, end, probability). A part without a blank before it belongs to the word before: `uh-huh`."""
    joined: list[list[Any]] = []
    for word in words:
        if joined and language not in UNSPACED and not word.word.startswith(" "):
            joined[-1].append(word)
        else:
            joined.append([word])
    for parts in joined:
        probability = sum(part.probability for part in parts) / len(parts)
        yield "".join(part.word for part in parts).strip(), parts[0].start, parts[-1].end, probability


def heard_languages(whisper: Any, chunks: Sequence[Chunk]) -> dict[str, float]:
    """Whisper's probability of each language (ISO 639-1, a few of three letters), the mean over the first chunks."""
    from faster_whisper.audio import pad_or_trim

    mean: dict[str, float] = {}
    heard = chunks[:MOST_HEARD]
    total = sum(len(chunk.audio_T) for chunk in heard)
    for chunk in heard:
        features = whisper.feature_extractor(chunk.audio_T)[..., :-1]
        (listed,) = whisper.model.detect_language(whisper.encode(pad_or_trim(features)))
        for token, probability in listed:
            name = token.strip("<|>")
            mean[name] = mean.get(name, 0.0) + probability * len(chunk.audio_T) / total
    return mean
