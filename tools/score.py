"""Compare detected speech and events with what people annotated: `python -m tools.score REFERENCE ...`.

    python -m tools.score call.rttm --data mine/data        the annotate stage's speech and events
    python -m tools.score call.rttm --found other.rttm      another detector's speech
    python -m tools.score call.rttm --audio call.wav        our speech detector on the recording itself

Speech: the detection error rate of pyannote.metrics (missed speech plus false alarms, divided by the reference's
speech), once for all participants together and once for each. A participant is compared with the one of the reference
that shares most speech, even if their names differ. Events: the turn rules are applied to the reference's speech and
words; their events are matched one to one, by onsets within +-200 ms, with the events of `--data` or with those that
the rules find in `--found`. Words: the word error rate of each participant, where the reference has words or segments
with text (tools/word_errors.py).
"""

import argparse
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from pipelines.engine.errors import exit_on_input_error
from pipelines.engine.jobs import Rejected
from pipelines.engine.tables import check_data_folder, read_rows, session_rows
from pipelines.signals.speech_models import DetectorParams, load_detector
from pipelines.signals.voice_activity import VoiceParams, speech_spans
from tools.bench.agreement import Item, match
from tools.convert import read_all, report
from tools.diarize import sound_of
from tools.events import annotate_intervals
from tools.exchange.data_folder import read_data
from tools.exchange.intervals import SPEECH, WORDS, Interval, part_sounds, speech_of
from tools.word_errors import WordErrors, word_errors, words_by_person
from wanstreamer.clock import Span, intersect_spans, merge_spans
from wanstreamer.errors import InputError
from wanstreamer.turns import TurnParams

EVERYBODY = "everybody"
Speech = dict[str, dict[str, list[Span]]]  # session, participant or EVERYBODY -> spans


def speech_by_person(intervals: Iterable[Interval]) -> Speech:
    """Spans of speech per session and participant, and of all participants together (EVERYBODY)."""
    speech: Speech = {}
    for interval in speech_of(intervals):
        for who in (interval.participant, EVERYBODY):
            speech.setdefault(interval.session_id, {}).setdefault(who, []).append(
                Span(interval.start_ms, interval.end_ms)
            )
    return {session: {who: merge_spans(spans) for who, spans in own.items()} for session, own in speech.items()}


def same_people(detected: Speech, reference: Speech) -> dict[tuple[str, str], str]:
    """(session, detected name) -> the name in the reference that shares most speech with it; each name is used once.

    Ingest names the speakers of an RTTM a, b, c; other programs use other names.
    """
    names: dict[tuple[str, str], str] = {}
    for session, theirs in reference.items():
        ours = detected.get(session, {})
        shared = sorted(
            (
                (
                    -sum(span.duration_ms for span in intersect_spans(ours[name], theirs[reference_name])),
                    name != reference_name,
                    name,
                    reference_name,
                )
                for name in ours
                for reference_name in theirs
                if EVERYBODY not in (name, reference_name)
            ),
        )
        taken: set[str] = set()
        for _, _, name, reference_name in shared:
            if (session, name) not in names and reference_name not in taken:
                names[session, name] = reference_name
                taken.add(reference_name)
    return names


def detection(detected: Sequence[Span], reference: Sequence[Span], collar_ms: int) -> dict[str, float]:
    """Missed speech, false alarms and their sum, as shares of the reference's speech. Around each edge of the
    reference `collar_ms` are not scored, half of them before the edge and half after it."""
    try:
        from pyannote.core import Annotation, Segment, Timeline
        from pyannote.metrics.detection import DetectionErrorRate
    except ImportError as error:
        raise InputError(
            f"tools.score needs pyannote.metrics ({error.name} is missing): run `uv pip install -e '.[asr]' "
            "-c constraints.txt` in the project"
        ) from error
    annotations = []
    for spans in (reference, detected):
        annotation = Annotation()
        for number, span in enumerate(spans):
            annotation[Segment(span.start_ms / 1000, span.end_ms / 1000), number] = "speech"
        annotations.append(annotation)
    ends_ms = max((span.end_ms for span in (*detected, *reference)), default=0)
    metric = DetectionErrorRate(collar=collar_ms / 1000)
    extent = Timeline([Segment(0, max(ends_ms, 1) / 1000)])
    parts: dict[str, float] = metric.compute_components(
        annotations[0], annotations[1], uem=extent, collar=collar_ms / 1000
    )
    total = parts["total"] or 1.0
    return {
        "missed": parts["miss"] / total,
        "false_alarm": parts["false alarm"] / total,
        "error": (parts["miss"] + parts["false alarm"]) / total,
        "speech_s": parts["total"],
    }


def event_agreement(
    detected: Iterable[Mapping[str, Any]], reference: Iterable[Mapping[str, Any]], *, within_ms: int = 200
) -> dict[str, tuple[int, int, int]]:
    """Per kind and label: how many match one to one by onset, were detected, are in the reference. Sounds count only if
    the reference has some."""
    detected, reference = list(detected), list(reference)
    if not any(row["kind"] == "non_speech" for row in reference):
        detected = [row for row in detected if row["kind"] != "non_speech"]
    ours, theirs = (sorted(map(_item, rows), key=attrgetter("order")) for rows in (detected, reference))
    matched = [item for item, _ in match(theirs, ours, within_ms=within_ms, ends=False)]
    counts = [Counter(item.kind for item in items) for items in (matched, ours, theirs)]
    return {kind: (counts[0][kind], counts[1][kind], counts[2][kind]) for kind in sorted(counts[1] | counts[2])}


def _item(row: Mapping[str, Any]) -> Item:
    names = ("session_id", "participant", "start_ms", "end_ms")
    label = ".".join(filter(None, (row["kind"], row["label"], row["outcome"])))
    return Item(kind=label, **{name: row[name] for name in names})


def transcript_errors(detected: Iterable[Interval], reference: Iterable[Interval]) -> dict[tuple[str, str], WordErrors]:
    """(session, participant) -> errors, for those with text in the reference; empty if nothing was transcribed."""
    ours, theirs = words_by_person(detected), words_by_person(reference)
    return {who: word_errors(ours.get(who, []), words) for who, words in theirs.items()} if ours else {}


def heard_in(path: Path, session_id: str) -> list[Interval]:
    """The default speech detector on a recording, as one participant's speech."""
    try:
        audio_T = sound_of(path)
    except Rejected as rejected:
        raise InputError(f"{path}: {rejected.reason}") from rejected
    spans = speech_spans(load_detector(DetectorParams())(audio_T), audio_T, VoiceParams())
    return [
        Interval(session_id=session_id, participant="", kind=SPEECH, start_ms=span.start_ms, end_ms=span.end_ms)
        for span in spans
    ]


def show(
    detected: Speech, reference: Speech, events: Mapping[str, tuple[int, int, int]] | None, collar_ms: int
) -> None:
    console = Console()
    table = Table(box=SIMPLE_HEAD, title=f"speech; collar {collar_ms} ms", title_justify="left")
    for name in ("session", "participant", "reference", "missed", "false alarm", "error"):
        table.add_column(name, justify="left" if name in ("session", "participant") else "right")
    for session, people in sorted(reference.items()):
        for who in sorted(set(people) & set(detected[session]), key=lambda who: (who != EVERYBODY, who)):
            parts = detection(detected[session][who], people[who], collar_ms)
            shares = (f"{100 * parts[name]:.1f} %" for name in ("missed", "false_alarm", "error"))
            table.add_row(session, who, f"{parts['speech_s']:.1f} s", *shares)
    console.print(table)
    if events is None:
        return
    table = Table(box=SIMPLE_HEAD, title="events; onsets within 200 ms", title_justify="left")
    for name in ("event", "reference", "found", "matched", "F1"):
        table.add_column(name, justify="left" if name == "event" else "right")
    for label, (matched, ours, theirs) in sorted(events.items()):
        table.add_row(label, str(theirs), str(ours), str(matched), f"{2 * matched / (ours + theirs):.2f}")
    console.print(table)


def show_words(errors: Mapping[tuple[str, str], WordErrors]) -> None:
    table = Table(box=SIMPLE_HEAD, title="words; case and punctuation aside", title_justify="left")
    for name in ("session", "participant", "reference", "substituted", "missed", "inserted", "error"):
        table.add_column(name, justify="left" if name in ("session", "participant") else "right")
    total = WordErrors(*map(sum, zip(*errors.values(), strict=True)))
    for (session, who), own in [(("all", EVERYBODY), total), *sorted(errors.items())]:
        counts = (str(count) for count in (own.words, own.substituted, own.missed, own.inserted))
        table.add_row(session, who, *counts, "" if own.rate is None else f"{100 * own.rate:.1f} %")
    Console().print(table)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.score", description="Compare detected speech and events with files that people annotated."
    )
    parser.add_argument(
        "reference", nargs="+", type=Path, help="RTTM, CTM, EAF, ...: any format that tools.convert reads"
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, help="data folder with the sessions of the reference")
    source.add_argument("--found", type=Path, nargs="+", help="files of another detector, in any of the same formats")
    source.add_argument("--audio", type=Path, help="recording of the session that has its name, or of the only session")
    parser.add_argument(
        "--collar-ms",
        type=int,
        default=0,
        help="time around each edge of the reference that is not scored (default: 0)",
    )
    args = parser.parse_args(arguments)
    with exit_on_input_error():
        if args.collar_ms < 0:
            raise InputError(f"--collar-ms {args.collar_ms}: expected 0 or more")
        intervals, unread = read_all(args.reference, None)
        report(unread, "reference")
        if args.data:
            intervals = _named_as_in(args.data, args.reference, intervals)
        reference = speech_by_person(intervals)
        if not reference:
            raise InputError(f"{args.reference[0]}: no speech and no words in it")
        events, errors = None, {}
        if args.audio:
            name = _session_of(args.audio, sorted(reference))
            reference = {name: reference[name]}
            detected = speech_by_person(heard_in(args.audio, name))
        else:
            listed, rows = _annotations(args, intervals, sorted(reference))
            names = same_people(speech_by_person(listed), reference)
            listed = [
                replace(interval, participant=names.get((interval.session_id, interval.participant), "?"))
                for interval in listed
            ]
            rows = [row | {"participant": names.get((row["session_id"], row["participant"]), "?")} for row in rows]
            detected = speech_by_person(listed)
            errors = transcript_errors(listed, intervals)
            events = event_agreement(rows, annotate_intervals(intervals, TurnParams())[0])
        missing = sorted(set(reference) - set(detected))
        if missing:
            raise InputError(f"session {missing[0]}: in the reference, but nothing was detected in it")
        show(detected, reference, events, args.collar_ms)
        if errors:
            show_words(errors)


def _named_as_in(data: Path, paths: Sequence[Path], intervals: Sequence[Interval]) -> list[Interval]:
    """The reference with the session names of the data folder. Ingest names a session after its file; if a reference
    file has one session under another name, the name of the file counts.

    Raises InputError for a folder or session that does not exist.
    """
    check_data_folder(data)
    present = {row["session_id"] for row in read_rows(data, "sessions")}
    named = sorted({interval.session_id for interval in intervals})
    stems = {path.name.partition(".")[0] for path in paths}
    if len(named) == 1 and named[0] not in present and len(stems & present) == 1:
        return [replace(interval, session_id=next(iter(stems & present))) for interval in intervals]
    if absent := [name for name in named if name not in present]:
        raise InputError(
            f"{paths[0]}: session {absent[0]} is not in {data}; there are {', '.join(sorted(present)[:6])}: rename the "
            "session in the file, or the file"
        )
    return list(intervals)


def _session_of(audio: Path, sessions: Sequence[str]) -> str:
    if len(sessions) > 1 and audio.stem not in sessions:
        raise InputError(
            f"--audio {audio}: the reference has no session {audio.stem}; it has {', '.join(sessions[:6])}: rename the "
            "recording like its session"
        )
    return audio.stem if len(sessions) > 1 else sessions[0]


def _annotations(
    args: argparse.Namespace, reference: Sequence[Interval], sessions: Sequence[str]
) -> tuple[list[Interval], list[dict[str, Any]]]:
    """The detected intervals and their events. The rules use words only if the reference has words."""
    listed, unread = read_data(args.data, sessions) if args.data else read_all(args.found, None)
    if not args.data:
        report(unread, "found")
    if not any(interval.kind == WORDS for interval in reference):
        print("the reference has no words: events of both sides are derived from timing alone")
        detected = [*speech_of(listed), *part_sounds(listed)[1]]
        return listed, annotate_intervals(detected, TurnParams())[0]
    if args.data:
        return listed, [row for session in sessions for row in session_rows(args.data, "events", session)]
    return listed, annotate_intervals(listed, TurnParams())[0]


if __name__ == "__main__":
    main()
