"""RTTM: who speaks when; one `SPEAKER` line per interval of speech."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from wanstreamer.clock import Span, merge_spans, seconds_to_ms
from wanstreamer.errors import InputError


class SpeakerLine(NamedTuple):
    """One `SPEAKER` line as written: times in seconds, confidence as text (`<NA>` if there is none)."""

    file: str
    start_s: float
    duration_s: float
    speaker: str
    confidence: str


def speaker_lines(text: str, where: Path) -> Iterator[SpeakerLine]:
    """The `SPEAKER` lines of an RTTM. Raises InputError naming the line that is not RTTM."""
    for number, line in enumerate(text.splitlines(), start=1):
        fields = line.split()
        if not fields or fields[0] != "SPEAKER":
            continue
        try:
            start_s, duration_s = float(fields[3]), float(fields[4])
            seconds_to_ms(start_s), seconds_to_ms(duration_s)  # raises for values that are not finite
            yield SpeakerLine(fields[1], start_s, duration_s, fields[7], fields[8] if len(fields) > 8 else "<NA>")
        except (IndexError, ValueError, OverflowError) as error:
            raise InputError(
                f"{where} line {number}: not RTTM; expected SPEAKER file 1 start duration <NA> <NA> name"
            ) from error


def read_rttm(path: Path) -> dict[str, list[Span]]:
    """Speech per speaker of one RTTM, speakers in order of first appearance, on the file's clock.

    Raises InputError naming the line that is not RTTM.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such RTTM; correct rttm_uri")
    spans: dict[str, list[Span]] = {}
    for line in speaker_lines(path.read_text(encoding="utf-8"), path):
        start_ms = seconds_to_ms(line.start_s)
        spans.setdefault(line.speaker, []).append(Span(start_ms, start_ms + seconds_to_ms(line.duration_s)))
    ordered = sorted(spans, key=lambda speaker: (min(spans[speaker]), speaker))
    return {speaker: merge_spans(spans[speaker]) for speaker in ordered}
