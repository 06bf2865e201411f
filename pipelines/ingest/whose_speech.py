"""Who speaks when in a sound of several people: from an RTTM, or as the stage `people` has found it."""

from pathlib import Path

from pipelines.engine.jobs import Rejected
from pipelines.formats.rttm import read_rttm
from pipelines.ingest.clocks import FileClock
from pipelines.ingest.found import FoundPerson
from pipelines.sources.row import SourceRow, recording_names
from wanstreamer.clock import UNIT_MS, Span, intersect_spans, merge_spans
from wanstreamer.errors import InputError


def own_speech(root: Path, row: SourceRow, person: FoundPerson | None, sound: FileClock) -> list[Span] | None:
    """When a participant speaks, on the tracks' clock: outside of it, the track is silent. None: not known; the track
    has all of its sound."""
    if person is not None:
        return sound.spans(person.speech)
    if row.rttm_uri:
        return _rttm_spans(root, row, sound).get(row.rttm_speaker or "", [])
    return None


def mixed_spans(
    root: Path, row: SourceRow, person: FoundPerson | None, sound: FileClock, num_units: int
) -> list[Span]:  # fmt: skip
    """When a track's audio contains more than one participant, or a third voice."""
    whole = Span(0, num_units * UNIT_MS)
    if person is not None:
        return intersect_spans([whole], merge_spans(sound.spans(person.mixed)))
    if row.audio_kind == "own":
        return []
    if not row.rttm_uri:
        return [whole]
    spans = _rttm_spans(root, row, sound)
    own = merge_spans(spans[row.rttm_speaker or ""])
    others = merge_spans(span for name, theirs in spans.items() if name != row.rttm_speaker for span in theirs)
    return intersect_spans([whole], intersect_spans(own, others))


def _rttm_spans(root: Path, row: SourceRow, sound: FileClock) -> dict[str, list[Span]]:
    """Speech of all speakers in the RTTM, on the tracks' clock."""
    try:
        speech = read_rttm(root / str(row.rttm_uri), recording_names(row))
    except InputError as error:
        raise Rejected("bad_rttm", str(error).replace(f"{root}/", "")) from error
    if row.rttm_speaker not in speech:
        names = ", ".join(speech) or "no one"
        wanted = f"no speaker {row.rttm_speaker}" if row.rttm_speaker else "rttm_speaker is empty"
        raise Rejected("bad_rttm", f"{row.rttm_uri}: {wanted}; it has {names}")
    return {name: sound.spans(spans) for name, spans in speech.items()}
