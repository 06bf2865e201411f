"""The formats by name: how a file is recognised, read and written, and which intervals of a session it gets.

A format with tiers gets all intervals. A format without tiers gets the kinds it is for. If a session has none of such a
kind, they are derived: speech from words, segments from words joined over gaps. Tiers left out are reported as a loss.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.formats.word_files import BadWords, read_words
from tools.exchange import audacity, eaf, eaf_reader, json_forms, lines, subtitles, textgrid
from tools.exchange.intervals import (
    NON_SPEECH,
    SEGMENTS,
    SPEECH,
    WORDS,
    Interval,
    Losses,
    Read,
    Written,
    in_order,
    part_sounds,
    segments_of,
    speech_of,
)
from wanstreamer.errors import InputError
from wanstreamer.text_files import parse_json, read_text

SEGMENT_GAP_MS = 200  # words closer than this form one segment, as they form one IPU (wanstreamer.turns)


@dataclass(frozen=True, kw_only=True)
class Format:
    """How one format is read and written. `holds`: the kinds it is for; empty: all kinds."""

    suffix: str
    about: str
    read: Callable[[Path, str], Read]
    write: Callable[[Sequence[Interval]], Written] | None = None
    holds: tuple[str, ...] = ()
    many_sessions: bool = False


def read_sidecar(path: Path, session_id: str) -> Read:
    """A participant's word file in a corpus (pipelines.formats.word_files): SESSION/PARTICIPANT.words.json."""
    try:
        words, untimed = read_words(path)
    except BadWords as error:
        raise InputError(f"{path}: {error}") from error
    intervals = [
        Interval(
            session_id=path.resolve().parent.name,
            participant=session_id,
            kind=WORDS,
            start_ms=word["start_ms"],
            end_ms=word["end_ms"],
            text=word["word"],
        )
        for word in words
    ]
    return intervals, +Counter({json_forms.UNTIMED: untimed})


FORMATS: dict[str, Format] = {
    "rttm": Format(
        suffix=".rttm",
        about="speech per speaker, and sounds that are not speech",
        read=lines.read_rttm,
        write=lines.write_rttm,
        holds=(SPEECH, NON_SPEECH),
        many_sessions=True,
    ),
    "ctm": Format(
        suffix=".ctm",
        about="words; the channel is the participant",
        read=lines.read_ctm,
        write=lines.write_ctm,
        holds=(WORDS,),
        many_sessions=True,
    ),
    "stm": Format(
        suffix=".stm",
        about="segments with their text",
        read=lines.read_stm,
        write=lines.write_stm,
        holds=(SEGMENTS,),
        many_sessions=True,
    ),
    "seglst": Format(
        suffix=".seglst.json",
        about="MeetEval's segments",
        read=json_forms.read_seglst,
        write=json_forms.write_seglst,
        holds=(SEGMENTS,),
        many_sessions=True,
    ),
    "textgrid": Format(suffix=".TextGrid", about="Praat", read=textgrid.read_textgrid, write=textgrid.write_textgrid),
    "eaf": Format(suffix=".eaf", about="ELAN", read=eaf_reader.read_eaf, write=eaf.write_eaf),
    "srt": Format(
        suffix=".srt", about="subtitles", read=subtitles.read_srt, write=subtitles.write_srt, holds=(SEGMENTS,)
    ),
    "vtt": Format(suffix=".vtt", about="WebVTT", read=subtitles.read_vtt, write=subtitles.write_vtt, holds=(SEGMENTS,)),
    "whisperx": Format(
        suffix=".whisperx.json",
        about="segments with their words",
        read=json_forms.read_whisperx,
        write=json_forms.write_whisperx,
        holds=(SEGMENTS, WORDS),
    ),
    "moshi": Format(
        suffix=".json", about="words", read=json_forms.read_moshi, write=json_forms.write_moshi, holds=(WORDS,)
    ),
    "audacity": Format(suffix=".txt", about="labels", read=audacity.read_audacity, write=audacity.write_audacity),
    "sidecar": Format(
        suffix=".words.json", about="word files of ingest: ours, Seamless Interaction, CANDOR, AMI", read=read_sidecar
    ),
}
WRITABLE = tuple(name for name, form in FORMATS.items() if form.write)


def recognise(path: Path) -> str:
    """The format of a file by its suffix, else by its first characters. Raises InputError if neither is known."""
    if path.name.endswith((".words.json", ".words.xml")):
        return "sidecar"
    name = by_suffix(path)
    if name and path.suffix.lower() not in (".json", ".txt"):
        return name
    text = read_text(path)
    if path.suffix.lower() == ".json" or text.lstrip()[:1] in ("{", "["):
        return _json_format(path, text)
    if re.match(r"-?[\d.]+\t-?[\d.]+(\t|\n|\r|$)", text):
        return "audacity"
    marks = {'File type = "ooTextFile': "textgrid", "WEBVTT": "vtt", "SPEAKER ": "rttm"}
    form_name = next((form for mark, form in marks.items() if text.startswith(mark)), None)
    if form_name is None and "<ANNOTATION_DOCUMENT" in text[:1000]:
        form_name = "eaf"
    if form_name is None:
        raise InputError(f"{path}: format not recognised; name the format with --from ({', '.join(FORMATS)})")
    return form_name


def by_suffix(path: Path) -> str | None:
    name = path.name.lower()
    # Several formats are JSON files: the suffix .json alone does not decide.
    matching = [form for form in FORMATS if form != "moshi" and name.endswith(FORMATS[form].suffix.lower())]
    return max(matching, key=lambda form: len(FORMATS[form].suffix), default=None)


def _json_format(path: Path, text: str) -> str:
    content = parse_json(text, str(path))
    if isinstance(content, list):
        return "seglst"
    marks = {"alignments": "moshi", "segments": "whisperx"}
    marks |= dict.fromkeys(("words", "metadata:transcript", "results"), "sidecar")
    form_name = next((form for mark, form in marks.items() if isinstance(content, dict) and mark in content), None)
    if form_name is None:
        raise InputError(
            f"{path}: JSON, but none of the known formats; name the format with --from ({', '.join(FORMATS)})"
        )
    return form_name


def read_file(path: Path, form: str | None = None) -> Read:
    """Intervals of one file. If the format does not name the session, it has the file's name without suffix."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    form = form or recognise(path)
    intervals, losses = FORMATS[form].read(path, session_named_by(path, form))
    return in_order(intervals), losses


def session_named_by(path: Path, form: str) -> str:
    """The session of a file whose format does not name it: the file's name without suffix."""
    suffix = FORMATS[form].suffix
    return path.name[: -len(suffix)] if path.name.lower().endswith(suffix.lower()) else path.stem


def given_to(form: str, intervals: Sequence[Interval], tiers: Collection[str]) -> tuple[list[Interval], Losses]:
    """What a format is given to write: the requested tiers, else the kinds it is for. Raises InputError for none."""
    kinds = sorted({interval.kind for interval in intervals})
    unknown = sorted(set(tiers) - set(kinds))
    if unknown:
        raise InputError(f"--tiers {' '.join(unknown)}: no such tier; there are {', '.join(kinds) or 'none'}")
    losses: Losses = Counter()
    holds = FORMATS[form].holds
    if tiers or not holds:
        chosen = [interval for interval in intervals if not tiers or interval.kind in tiers]
    else:
        chosen = in_order(interval for kind in holds for interval in _layer(kind, intervals))
        used = {*holds, *(interval.kind for interval in chosen)}
        rest = part_sounds(intervals)[0] if NON_SPEECH in holds else intervals
        losses.update(f"tier {interval.kind}, left out" for interval in rest if interval.kind not in used)
        if not chosen:
            raise InputError(f"{form} holds {' and '.join(holds)}, and the input has none; it has {', '.join(kinds)}")
    return chosen, losses


def _layer(kind: str, intervals: Iterable[Interval]) -> list[Interval]:
    if kind == SPEECH:
        return speech_of(intervals)
    if kind == NON_SPEECH:
        return part_sounds(intervals)[1]
    if kind == SEGMENTS:
        return segments_of(intervals, SEGMENT_GAP_MS)
    return [interval for interval in intervals if interval.kind == kind]
