"""Data folders as annotate leaves them, from given intervals and words through the real rules; no sound, no Ray."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.annotate.stage import AnnotateParams, event_rows, ipu_rows, turn_rows, word_rows
from pipelines.annotate.unit_labels import unit_rows
from pipelines.annotate.whisperx_words import TimedWord
from pipelines.engine.tables import to_table, write_table
from tests.helpers.blank_rows import blank_row
from wanstreamer.clock import UNIT_MS, Span
from wanstreamer.turns import Sound, annotate_session
from wanstreamer.turns.nonspeech import part_words

Utterances = Sequence[tuple[int, int, str | None]]  # start_ms, end_ms, words and tags of sounds; None: no transcript

# A asks, b answers; a tells, b listens; b breaks in and a gives way; silence; both begin, b goes on, twice; a latch.
TALK: dict[str, Utterances] = {
    "a": [(1000, 2200, "is it red?"), (4000, 6000, "well i went down to the"), (6500, 9000, "sea and looked at"),
          (10_500, 12_500, "and then we all went -"), (20_000, 20_600, "so then -"), (25_520, 27_500, "it was late.")],
    "b": [(2600, 3200, "no blue."), (5000, 5400, "mhm"), (12_000, 15_000, "but wait that was last year."),
          (20_100, 22_500, "anyway we came home."), (24_200, 25_500, "and that was it.")],
}  # fmt: skip


def write_annotated(
    data: Path,
    sessions: Mapping[str, Mapping[str, Utterances]],
    *,
    consent: Mapping[str, list[str] | None],
    num_units: int,
) -> Path:
    """Tables of `sessions` (participant -> what is said) under `data`; returns it. `consent` is by participant."""
    rows: dict[str, list[dict[str, Any]]] = {
        name: [] for name in ("sessions", "tracks", "speech", "words", "ipus", "turns", "events", "units")
    }
    for key, utterances in sessions.items():
        speech = {who: [Span(start, end) for start, end, _ in own] for who, own in utterances.items()}
        words: dict[str, list[TimedWord] | None] = {}
        sounds: dict[str, list[Sound]] = {}
        for who, own in utterances.items():
            timed = _timed(own)
            words[who], tagged = part_words(timed) if timed is not None else (None, [])
            sounds[who] = [Sound(start_ms=sound.start_ms, end_ms=sound.end_ms, label=label) for sound, label in tagged]
        annotation = annotate_session(speech, words, AnnotateParams(), sounds=sounds)
        speech = annotation.speech
        rows["sessions"].append(
            blank_row("sessions", session_id=key, num_participants=len(utterances), num_units=num_units,
                      duration_ms=num_units * UNIT_MS, language="en")
        )  # fmt: skip
        tracks = [
            blank_row("tracks", session_id=key, participant=who, speaker_id=f"<p&{who}>", num_units=num_units,
                      consent=consent.get(who), attributed=True)
            for who in utterances
        ]  # fmt: skip
        rows["tracks"] += tracks
        rows["speech"] += [
            {"session_id": key, "participant": who, **span._asdict(), "source": "silero", "confidence": 1.0}
            for who, own in speech.items()
            for span in own
        ]
        rows["words"] += word_rows(key, words, speech)
        rows["ipus"] += ipu_rows(key, annotation, AnnotateParams())
        rows["turns"] += turn_rows(key, annotation)
        rows["events"] += event_rows(key, annotation)
        rows["units"] += [row for track in tracks for row in unit_rows(key, track, speech, annotation)]
    for table, content in rows.items():
        write_table(data, table, to_table(table, content))
    return data


def _timed(utterances: Utterances) -> list[TimedWord] | None:
    """Words spread evenly over what is said."""
    words = []
    for start_ms, end_ms, text in utterances:
        if text is None:
            return None
        parts = text.split()
        step_ms = (end_ms - start_ms) // len(parts)
        words += [
            TimedWord(
                start_ms=start_ms + i * step_ms,
                end_ms=start_ms + (i + 1) * step_ms,
                text=part,
                source="sidecar",
                confidence=1.0,
            )
            for i, part in enumerate(parts)
        ]
    return words
