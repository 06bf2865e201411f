"""RTTM: who speaks when, one `SPEAKER` line per stretch of speech."""

from pathlib import Path

from wanstreamer.clock import Span, merge_spans, seconds_to_ms
from wanstreamer.errors import InputError


def read_rttm(path: Path) -> dict[str, list[Span]]:
    """Speech per speaker of one RTTM, speakers in order of first appearance, on the file's clock.

    Raises InputError naming the line that is not RTTM.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such RTTM; mend rttm_uri")
    spans: dict[str, list[Span]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        fields = line.split()
        if not fields or fields[0] != "SPEAKER":
            continue
        try:
            start_ms, duration_ms, speaker = seconds_to_ms(float(fields[3])), seconds_to_ms(float(fields[4])), fields[7]
        except (IndexError, ValueError) as error:
            raise InputError(
                f"{path} line {number}: not RTTM; expected SPEAKER file 1 start duration <NA> <NA> name"
            ) from error
        spans.setdefault(speaker, []).append(Span(start_ms, start_ms + duration_ms))
    ordered = sorted(spans, key=lambda speaker: (min(spans[speaker]), speaker))
    return {speaker: merge_spans(spans[speaker]) for speaker in ordered}
