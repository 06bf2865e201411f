"""Annotate CTM, RTTM and similar files without any media: `python -m tools.events *.ctm --out events.parquet`.

The turn rules get the words and the speech of the files. Speech comes from an RTTM, else from segments, else from the
words' intervals. Tags such as `[laughter]`, RTTM's NON-LEX and NON-SPEECH and a tier `non_speech` become rows of their
own. The table has the columns of the annotate stage's `events` (schemas/annotate.py).
"""

import argparse
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pipelines.annotate.stage import AnnotateParams, event_rows
from pipelines.engine.errors import exit_on_input_error
from pipelines.engine.params import Section, build_params, read_sections
from pipelines.engine.tables import in_order, to_table, write_rows
from pipelines.media.languages import is_language, same_language
from tools.convert import read_all, report
from tools.exchange.formats import FORMATS
from tools.exchange.intervals import WORDS, Interval, Losses, part_sounds, sound_label, speech_of
from wanstreamer.clock import Span, merge_spans
from wanstreamer.errors import InputError
from wanstreamer.turns import Sound, TurnParams, Word, annotate_session
from wanstreamer.turns.transcript_times import misplaced, over_silence

DEFAULT_PARAMS = Path("params.yaml")


def annotate_intervals(
    intervals: Iterable[Interval], params: TurnParams, *, language: str = "en"
) -> tuple[list[dict[str, Any]], Losses]:
    """Event rows of all sessions, in order of session, and what the rules could not use."""
    sessions: dict[str, list[Interval]] = {}
    for interval in intervals:
        sessions.setdefault(interval.session_id, []).append(interval)
    rows: list[dict[str, Any]] = []
    losses: Losses = Counter()
    for session_id, session_intervals in sorted(sessions.items()):
        own, sounds = part_sounds(session_intervals)
        speech: dict[str, list[Span]] = {interval.participant: [] for interval in own}
        for interval in speech_of(own):
            speech[interval.participant].append(Span(interval.start_ms, interval.end_ms))
        words: dict[str, list[Word]] = {
            interval.participant: [] for interval in session_intervals if interval.kind == WORDS
        }
        for interval in sorted(own, key=lambda interval: (interval.start_ms, interval.end_ms)):
            if interval.kind != WORDS:
                continue
            if not interval.text or interval.end_ms == interval.start_ms:
                losses["words without text or duration"] += 1
                continue
            words[interval.participant].append(
                Word(start_ms=interval.start_ms, end_ms=interval.end_ms, text=interval.text)
            )
        sounds_by_person: dict[str, list[Sound]] = {}
        for interval in sounds:
            if interval.end_ms == interval.start_ms:
                losses["sounds without duration"] += 1
                continue
            confidence = 1.0 if interval.confidence is None else min(max(interval.confidence, 0.0), 1.0)
            sounds_by_person.setdefault(interval.participant, []).append(
                Sound(
                    start_ms=interval.start_ms,
                    end_ms=interval.end_ms,
                    label=sound_label(interval),
                    confidence=confidence,
                )
            )
        losses["sessions with one participant: no events between people"] += len(speech) < 2
        spoken = {who: merge_spans(spans) for who, spans in speech.items()}
        trusted: dict[str, list[Word] | None] = dict(words)
        for who, own_words in words.items():
            own_speech = spoken.get(who, [])
            losses["words over silence"] += sum(over_silence(own_words, own_speech))
            others = {other: spans for other, spans in spoken.items() if other != who}
            if (why := misplaced(own_words, own_speech, others, params.max_words_over_silence)) is not None:
                losses[f"transcript with unreliable times, not used: {session_id}, {who}: {why}"] += 1
                trusted[who] = None
        annotation = annotate_session(
            speech, trusted, params, sounds=sounds_by_person, lexical=same_language(language, "en")
        )
        rows += event_rows(session_id, annotation)
    return rows, +losses


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.events", description="Apply the turn rules to files of words or speech."
    )
    parser.add_argument("inputs", nargs="+", type=Path, metavar="FILE", help="files to read; merged by session")
    parser.add_argument(
        "--from",
        dest="source",
        type=str.lower,
        choices=FORMATS,
        help="format of the files (default: by suffix or content)",
    )
    parser.add_argument("--out", type=Path, required=True, help="Parquet file to write")
    parser.add_argument("--force", action="store_true", help="replace an existing file")
    parser.add_argument(
        "--language", default="en", help="language of the words, a tag such as en or pt-BR (default: en)"
    )
    parser.add_argument("--params", type=Path, help="parameter file (default: params.yaml, if it exists)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="override one turn rule; `python -m pipelines.annotate --help` lists them",
    )
    args = parser.parse_args(arguments)
    with exit_on_input_error():
        if args.out.suffix != ".parquet":
            raise InputError(f"--out {args.out}: expected a name that ends in .parquet")
        if args.out.exists() and not args.force:
            raise InputError(f"{args.out}: exists already; pass --force to replace it")
        if not is_language(args.language):
            raise InputError(f"--language {args.language}: no known language tag; expected one such as en, de or pt-BR")
        path = args.params or (DEFAULT_PARAMS if DEFAULT_PARAMS.is_file() else None)
        values = read_sections(path, args.set).get("annotate", Section({}, {}))
        params = build_params(AnnotateParams, values, "annotate", path=path, overrides=args.set)
        intervals, unread = read_all(args.inputs, args.source)
        if not intervals:
            raise InputError(f"{args.inputs[0]}: no words and no speech in it")
        rows, unused = annotate_intervals(intervals, params, language=args.language)
        write_rows(args.out, in_order("events", to_table("events", rows)))
        report(unread, "input")
        report(unused, "events")
        labels = Counter(f"{row['kind']}.{row['label']}" for row in rows)
        counts = ", ".join(f"{count} {label}" for label, count in sorted(labels.items()))
        sessions = len({interval.session_id for interval in intervals})
        print(f"events: {len(rows)} in {sessions} session{'' if sessions == 1 else 's'}: {counts or 'none'}")


if __name__ == "__main__":
    main()
