"""What whisperx says of one track, and where its participant speaks -> timed words, and why others were dropped.

whisperx aligns what Whisper wrote, true or not, and some of its times are none. Here, step by step:

1. Times are taken away from words that whisperx could not align: those without a time or without a score (it then
   copies a neighbour's), of no or negative duration, outside their segment, or before the word they follow.
2. Words without times share the speech that lies between their neighbours, by their letters, at half the neighbours'
   confidence: a number is often the word that ends or answers a turn, and losing it would cost the turn its words.
   Where no speech is left for them, or nothing in the segment was aligned, they are dropped.
3. Words with no speech of the participant within 200 ms are dropped: Whisper writes over silence, noise and others.
   A word that reaches over a silence keeps the stretch of speech that holds most of it.
4. Of a phrase that follows itself more than four times, one stays: Whisper's decoder runs in such loops.
5. Where words overlap, the earlier one ends as the later begins.

Each word whisperx gave comes out, or counts with a reason.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from wanstreamer.clock import Span, intersect_spans, merge_spans, seconds_to_ms
from wanstreamer.turns import Word

SHORTEST_MS = 40  # two frames of wav2vec2: a word without times gets no less
EDGE_MS = 200  # sound this near to detected speech may still be its soft beginning or end
MOST_COPIES = 4  # of a phrase in a row; people do say "no no no no"
LOOP_GAP_MS = 1000  # copies further apart were said one by one: "yeah" while listening
LOOP_WORDS = 8  # of the longest phrase that is looked for
UNSPACED = frozenset({"ja", "zh"})  # languages in which whisperx takes a letter as a word


@dataclass(frozen=True, kw_only=True, slots=True)
class TimedWord(Word):
    """A word, where it came from (sidecar or whisperx), and how sure its time is, 0 to 1."""

    source: str
    confidence: float


@dataclass(frozen=True, kw_only=True)
class _Rough:
    """A word as whisperx gave it; `span` is None where its times are none."""

    text: str
    span: Span | None
    score: float


def mend_words(
    segments: Sequence[Mapping[str, Any]], speech: Sequence[Span], language: str
) -> tuple[list[TimedWord], list[str]]:
    """The words that can be believed, and a reason for each other one.

    Args:
        segments: Of a track, in order: `start`, `end` in seconds, `text` as Whisper wrote it and `words` as aligned,
            each with `word` and, where whisperx knows them, `start`, `end` and `score`.
        speech: Of the participant, ms, disjoint and in order.
        language: ISO 639-1.

    Returns:
        Words by onset, disjoint, each longer than 0 ms; reasons `word_without_time`, `word_without_letters`,
        `word_over_silence`, `word_repeated`, `word_overlapped`.
    """
    words: list[TimedWord] = []
    reasons: list[str] = []
    near_speech = merge_spans(Span(span.start_ms - EDGE_MS, span.end_ms + EDGE_MS) for span in speech)
    for segment in segments:
        rough = _roughly(segment)
        parts = segment["text"].replace(" ", "") if language in UNSPACED else segment["text"].split()
        reasons += ["word_without_time"] * (len(parts) - len(rough))  # aligned words that whisperx left out
        spelled = [word for word in rough if any(letter.isalnum() for letter in word.text)]
        reasons += ["word_without_letters"] * (len(rough) - len(spelled))
        timed = _fill_times(spelled, _span(segment), speech)
        reasons += ["word_without_time"] * (len(spelled) - len(timed))
        spoken = [cut for word in timed if (cut := _on_speech(word, near_speech)) is not None]
        reasons += ["word_over_silence"] * (len(timed) - len(spoken))
        kept = _without_loops(spoken)
        reasons += ["word_repeated"] * (len(spoken) - len(kept))
        words += kept
    apart = _apart(words)
    reasons += ["word_overlapped"] * (len(words) - len(apart))
    return apart, reasons


def _roughly(segment: Mapping[str, Any]) -> list[_Rough]:
    """Step 1."""
    within = _span(segment)
    latest_ms = within.start_ms
    found: list[_Rough] = []
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
        found.append(_Rough(text=text, span=span, score=min(max(score or 0.0, 0.0), 1.0)))
    return found


def _fill_times(words: Sequence[_Rough], within: Span, speech: Sequence[Span]) -> list[TimedWord]:
    """Step 2."""
    timed = [_told(word.text, word.span, word.score) for word in words if word.span is not None]
    if not timed:
        return []
    filled: list[TimedWord] = []
    run: list[str] = []
    for word in [*words, None]:
        if word is not None and word.span is None:
            run.append(word.text)
            continue
        before = filled[-1] if filled else None
        after = None if word is None or word.span is None else _told(word.text, word.span, word.score)
        room = Span(before.end_ms if before else within.start_ms, after.start_ms if after else within.end_ms)
        scores = [near.confidence for near in (before, after) if near is not None]
        if run and scores:
            filled += _share(run, room, speech, sum(scores) / len(scores) / 2)
        run = []
        if after is not None:
            filled.append(after)
    return filled


def _share(texts: Sequence[str], room: Span, speech: Sequence[Span], confidence: float) -> list[TimedWord]:
    """The words one after another on the longest speech in `room`, or none where they do not fit."""
    longest = max(intersect_spans([room], speech), key=lambda span: span.duration_ms, default=Span(0, 0))
    if longest.duration_ms < SHORTEST_MS * len(texts):
        return []
    spare_ms, letters = longest.duration_ms - SHORTEST_MS * len(texts), sum(map(len, texts))
    words: list[TimedWord] = []
    begin_ms, done = longest.start_ms, 0
    for index, text in enumerate(texts, start=1):
        done += len(text)
        end_ms = longest.start_ms + SHORTEST_MS * index + spare_ms * done // letters
        words.append(_told(text, Span(begin_ms, end_ms), confidence))
        begin_ms = end_ms
    return words


def _on_speech(word: TimedWord, near_speech: Sequence[Span]) -> TimedWord | None:
    """Step 3."""
    held = max(
        intersect_spans([Span(word.start_ms, word.end_ms)], near_speech),
        key=lambda span: span.duration_ms,
        default=None,
    )
    return None if held is None else replace(word, start_ms=held.start_ms, end_ms=held.end_ms)


def _without_loops(words: Sequence[TimedWord]) -> list[TimedWord]:
    """Step 4."""
    spelled = ["".join(letter for letter in word.text.lower() if letter.isalnum()) for word in words]
    kept: list[TimedWord] = []
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
                kept += words[start : start + size]
                start = stop
                break
        else:
            kept.append(words[start])
            start += 1
    return kept


def _apart(words: Iterable[TimedWord]) -> list[TimedWord]:
    """Step 5. Of two words that begin together, the one with the surer time stays."""
    apart: list[TimedWord] = []
    for word in sorted(words, key=lambda word: (word.start_ms, -word.confidence, word.end_ms)):
        if apart and word.start_ms == apart[-1].start_ms:
            continue
        if apart and word.start_ms < apart[-1].end_ms:
            apart[-1] = replace(apart[-1], end_ms=word.start_ms)
        apart.append(word)
    return apart


def _told(text: str, span: Span, score: float) -> TimedWord:
    return TimedWord(
        text=text, start_ms=span.start_ms, end_ms=span.end_ms, source="whisperx", confidence=round(score, 3)
    )


def _span(segment: Mapping[str, Any]) -> Span:
    return Span(seconds_to_ms(segment["start"]), seconds_to_ms(segment["end"]))


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
