"""Words of one track with rough times + where its participant speaks -> timed words, and why others were dropped.

The times are the aligner's (whisperx) or Whisper's own. whisperx aligns what Whisper wrote, right or wrong, and some
of its times are unusable. The steps:

1. Times are removed from words that whisperx could not align: words without a time or without a score (whisperx then
   copies a neighbour's time), words of zero or negative duration, outside their segment, or before the previous word.
2. Words without times share the speech that lies between their neighbours, in proportion to their letters, at half the
   neighbours' confidence: a number is often the word that ends or answers a turn, and without it the turn would have
   no words. They are dropped if no speech is left for them, or if nothing in the segment was aligned.
3. Words with no speech of the participant within 200 ms are dropped: Whisper writes words for silence, noise and other
   voices. A word that spans a silence keeps the stretch of speech that covers most of it.
4. If a phrase follows itself more than four times, one copy stays: Whisper's decoder can run in such loops.
5. Whisper's own times are off by up to 0.3 s at a silence: the first and the last word of a stretch of speech take its
   edges, if they are nearer than that.
6. If words overlap, the earlier one ends where the later one begins.

Every word is either returned or counted with a reason.
"""

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipelines.annotate.chunks import EDGE_MS
from wanstreamer.clock import Span, intersect_spans, merge_spans, seconds_to_ms
from wanstreamer.turns import Word

SNAP_MS = 300  # as far as Whisper's own times are moved to an edge of speech
SHORTEST_MS = 40  # two frames of wav2vec2: the least that a word without times gets
MOST_COPIES = 4  # of a phrase in a row; people do say "no no no no"
LOOP_GAP_MS = 1000  # copies further apart were spoken one by one: "yeah" while listening
LOOP_WORDS = 8  # length of the longest phrase that is searched for
UNSPACED = frozenset({"ja", "zh"})  # languages in which whisperx treats a letter as a word


@dataclass(frozen=True, kw_only=True, slots=True)
class TimedWord(Word):
    """A word, its source (sidecar, whisperx or whisper), and the confidence in its time, 0 to 1."""

    source: str
    confidence: float


@dataclass(frozen=True, kw_only=True)
class _Rough:
    """A word from whisperx; `span` is None if its times are unusable."""

    text: str
    span: Span | None
    score: float


def mend_words(
    segments: Sequence[Mapping[str, Any]], speech: Sequence[Span], language: str, source: str = "whisperx"
) -> tuple[list[TimedWord], list[str]]:
    """The words that can be trusted, and a reason for each dropped one.

    Args:
        segments: Of a track, in order: `start`, `end` in seconds, `text` as Whisper wrote it and `words` after
            alignment, each with `word` and, if whisperx knows them, `start`, `end` and `score`.
        speech: Of the participant, ms, disjoint and in order.
        language: ISO 639-1.
        source: whisperx if an aligner gave the times, whisper if they are Whisper's own.

    Returns:
        Words by onset, disjoint, each longer than 0 ms; reasons `word_without_time`, `word_without_letters`,
        `word_over_silence`, `word_repeated`, `word_overlapped`.
    """
    words: list[TimedWord] = []
    reasons: list[str] = []
    near_speech = merge_spans(Span(span.start_ms - EDGE_MS, span.end_ms + EDGE_MS) for span in speech)
    for segment in segments:
        rough = _roughly(segment)
        if source == "whisperx":  # words that it left out, because none of their letters could be aligned
            parts = segment["text"].replace(" ", "") if language in UNSPACED else segment["text"].split()
            reasons += ["word_without_time"] * (len(parts) - len(rough))
        spelled = [word for word in rough if any(letter.isalnum() for letter in word.text)]
        reasons += ["word_without_letters"] * (len(rough) - len(spelled))
        timed = _fill_times(spelled, _span(segment), speech)
        reasons += ["word_without_time"] * (len(spelled) - len(timed))
        spoken = [cut for word in timed if (cut := _on_speech(word, near_speech)) is not None]
        reasons += ["word_over_silence"] * (len(timed) - len(spoken))
        unlooped = _without_loops(spoken)
        reasons += ["word_repeated"] * (len(spoken) - len(unlooped))
        words += unlooped
    apart = _apart(words if source == "whisperx" else _snapped(words, speech))
    reasons += ["word_overlapped"] * (len(words) - len(apart))
    return [replace(word, source=source) for word in apart], reasons


def _roughly(segment: Mapping[str, Any]) -> list[_Rough]:
    """Step 1: remove unusable times."""
    within = _span(segment)
    latest_ms = within.start_ms
    rough: list[_Rough] = []
    for word in segment["words"]:
        text, score = str(word["word"]).strip(), _number(word.get("score"))
        start_s, end_s = _number(word.get("start")), _number(word.get("end"))
        span = None
        if start_s is not None and end_s is not None and score is not None:
            span = Span(seconds_to_ms(start_s), min(seconds_to_ms(end_s), within.end_ms))
            if span.start_ms < latest_ms or span.end_ms <= span.start_ms:
                span = None
            else:
                latest_ms = span.start_ms
        rough.append(_Rough(text=text, span=span, score=min(max(score or 0.0, 0.0), 1.0)))
    return rough


def _fill_times(words: Sequence[_Rough], within: Span, speech: Sequence[Span]) -> list[TimedWord]:
    """Step 2: give times to words that have none."""
    timed = [_timed_word(word.text, word.span, word.score) for word in words if word.span is not None]
    if not timed:
        return []
    filled: list[TimedWord] = []
    run: list[str] = []
    for word in [*words, None]:
        if word is not None and word.span is None:
            run.append(word.text)
            continue
        before = filled[-1] if filled else None
        after = None if word is None or word.span is None else _timed_word(word.text, word.span, word.score)
        room = Span(before.end_ms if before else within.start_ms, after.start_ms if after else within.end_ms)
        scores = [near.confidence for near in (before, after) if near is not None]
        if run and scores:
            filled += _share(run, room, speech, sum(scores) / len(scores) / 2)
        run = []
        if after is not None:
            filled.append(after)
    return filled


def _share(texts: Sequence[str], room: Span, speech: Sequence[Span], confidence: float) -> list[TimedWord]:
    """The words one after another on the longest speech in `room`; empty if they do not fit."""
    longest = max(intersect_spans([room], speech), key=lambda span: span.duration_ms, default=Span(0, 0))
    if longest.duration_ms < SHORTEST_MS * len(texts):
        return []
    spare_ms, letters = longest.duration_ms - SHORTEST_MS * len(texts), sum(map(len, texts))
    words: list[TimedWord] = []
    begin_ms, done = longest.start_ms, 0
    for index, text in enumerate(texts, start=1):
        done += len(text)
        end_ms = longest.start_ms + SHORTEST_MS * index + spare_ms * done // letters
        words.append(_timed_word(text, Span(begin_ms, end_ms), confidence))
        begin_ms = end_ms
    return words


def _on_speech(word: TimedWord, near_speech: Sequence[Span]) -> TimedWord | None:
    """Step 3: keep the part of a word that lies on speech; None if there is none."""
    spoken = max(
        intersect_spans([Span(word.start_ms, word.end_ms)], near_speech),
        key=lambda span: span.duration_ms,
        default=None,
    )
    return None if spoken is None else replace(word, start_ms=spoken.start_ms, end_ms=spoken.end_ms)


def _without_loops(words: Sequence[TimedWord]) -> list[TimedWord]:
    """Step 4: remove loops of repeated phrases."""
    spelled = ["".join(letter for letter in word.text.lower() if letter.isalnum()) for word in words]
    unlooped: list[TimedWord] = []
    start = 0
    while start < len(words):
        for size in range(1, LOOP_WORDS + 1):
            stop = start + size
            while (
                stop + size <= len(words)
                and spelled[stop : stop + size] == spelled[start : start + size]
                and words[stop].start_ms - words[stop - 1].end_ms <= LOOP_GAP_MS
            ):
                stop += size
            if stop - start > MOST_COPIES * size:
                unlooped += words[start : start + size]
                start = stop
                break
        else:
            unlooped.append(words[start])
            start += 1
    return unlooped


def _snapped(words: Sequence[TimedWord], speech: Sequence[Span]) -> list[TimedWord]:
    """Step 5: put words next to a silence on the edges of speech."""
    snapped = sorted(words, key=lambda word: (word.start_ms, word.end_ms))
    starts_ms = [span.start_ms for span in speech]
    own: dict[int, list[int]] = {}
    for index, word in enumerate(snapped):
        middle_ms = (word.start_ms + word.end_ms) // 2
        place = max(0, bisect_right(starts_ms, middle_ms) - 1)
        near = [number for number in (place, place + 1) if number < len(speech)]
        nearest = min(
            near, key=lambda number: max(speech[number].start_ms - middle_ms, middle_ms - speech[number].end_ms)
        )
        own.setdefault(nearest, []).append(index)
    for number, indices in own.items():
        first, span = snapped[indices[0]], speech[number]
        if abs(first.start_ms - span.start_ms) <= SNAP_MS and span.start_ms < first.end_ms:
            snapped[indices[0]] = replace(first, start_ms=span.start_ms)
        last = snapped[indices[-1]]
        if abs(last.end_ms - span.end_ms) <= SNAP_MS and last.start_ms < span.end_ms:
            snapped[indices[-1]] = replace(last, end_ms=span.end_ms)
    return snapped


def _apart(words: Iterable[TimedWord]) -> list[TimedWord]:
    """Step 6: end each word where the next begins. If two begin together, the more confident one stays."""
    apart: list[TimedWord] = []
    for word in sorted(words, key=lambda word: (word.start_ms, -word.confidence, word.end_ms)):
        if apart and word.start_ms == apart[-1].start_ms:
            continue
        if apart and word.start_ms < apart[-1].end_ms:
            apart[-1] = replace(apart[-1], end_ms=word.start_ms)
        apart.append(word)
    return apart


def _timed_word(text: str, span: Span, score: float) -> TimedWord:
    return TimedWord(
        text=text, start_ms=span.start_ms, end_ms=span.end_ms, source="whisperx", confidence=round(score, 3)
    )


def _span(segment: Mapping[str, Any]) -> Span:
    return Span(seconds_to_ms(segment["start"]), seconds_to_ms(segment["end"]))


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
