"""CTM, RTTM and the like -> events.parquet, without any media: `python -m tools.events *.ctm --out events.parquet`.

The turn rules see the words of the files and the speech: that of an RTTM, else of segments, else the words' intervals.
Tags such as `[laughter]`, RTTM's NON-LEX and NON-SPEECH and a tier `non_speech` become rows of their own.
The table is the one of the annotate stage (schemas/annotate.py).
"""

import argparse
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pipelines.annotate.stage import AnnotateParams, event_rows
from pipelines.engine.errors import exit_on_input_error
from pipelines.engine.params import build_params, read_sections
from pipelines.engine.tables import to_table, write_table
from pipelines.media.languages import is_language, same_language
from tools.convert import read_all, report
from tools.exchange.formats import FORMATS
from tools.exchange.intervals import WORDS, Interval, Losses, part_sounds, sound_label, speech_of
from wanstreamer.clock import Span
from wanstreamer.errors import InputError
from wanstreamer.turns import Sound, TurnParams, Word, annotate_session

DEFAULT_PARAMS = Path("params.yaml")


def annotate_intervals(
    intervals: Iterable[Interval], params: TurnParams, *, language: str = "en"
) -> tuple[list[dict[str, Any]], Losses]:
    """Event rows of every session, sessions in order, and what the rules could not use."""
    sessions: dict[str, list[Interval]] = {}
    for one in intervals:
        sessions.setdefault(one.session_id, []).append(one)
    rows: list[dict[str, Any]] = []
    losses: Losses = Counter()
    for session_id, told in sorted(sessions.items()):
        own, sounds = part_sounds(told)
        speech: dict[str, list[Span]] = {one.participant: [] for one in own}
        for one in speech_of(own):
            speech[one.participant].append(Span(one.start_ms, one.end_ms))
        words: dict[str, list[Word]] = {one.participant: [] for one in told if one.kind == WORDS}
        for one in sorted(own, key=lambda one: (one.start_ms, one.end_ms)):
            if one.kind != WORDS:
                continue
            if not one.text or one.end_ms == one.start_ms:
                losses["words without text or duration"] += 1
                continue
            words[one.participant].append(Word(start_ms=one.start_ms, end_ms=one.end_ms, text=one.text))
        made: dict[str, list[Sound]] = {}
        for one in sounds:
            if one.end_ms == one.start_ms:
                losses["sounds without duration"] += 1
                continue
            confidence = 1.0 if one.confidence is None else min(max(one.confidence, 0.0), 1.0)
            made.setdefault(one.participant, []).append(
                Sound(start_ms=one.start_ms, end_ms=one.end_ms, label=sound_label(one), confidence=confidence)
            )
        losses["sessions of one participant: nothing to tell between people"] += len(speech) < 2
        found = annotate_session(speech, words, params, sounds=made, lexical=same_language(language, "en"))
        rows += event_rows(session_id, found)
    return rows, +losses


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.events", description="Annotate files of words or speech by the turn rules."
    )
    parser.add_argument("inputs", nargs="+", type=Path, metavar="FILE", help="put together by session")
    parser.add_argument(
        "--from", dest="source", type=str.lower, choices=FORMATS, help="their format (default: by suffix or content)"
    )
    parser.add_argument("--out", type=Path, required=True, help="Parquet file to write")
    parser.add_argument("--force", action="store_true", help="replace a file that is there")
    parser.add_argument("--language", default="en", help="of the words, as a tag such as en or pt-BR (default: en)")
    parser.add_argument("--params", type=Path, help="parameter file (default: params.yaml, if there is one)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="override one of the turn rules, which `python -m pipelines.annotate --help` lists",
    )
    args = parser.parse_args(arguments)
    with exit_on_input_error():
        if args.out.suffix != ".parquet":
            raise InputError(f"--out {args.out}: expected a name that ends in .parquet")
        if args.out.exists() and not args.force:
            raise InputError(f"{args.out}: there already; --force replaces it")
        if not is_language(args.language):
            raise InputError(f"--language {args.language}: no known language tag; expected one such as en, de or pt-BR")
        path = args.params or (DEFAULT_PARAMS if DEFAULT_PARAMS.is_file() else None)
        values = read_sections(path, args.set).get("annotate", {})
        params = build_params(AnnotateParams, values, "annotate", path=path, overrides=args.set)
        intervals, unread = read_all(args.inputs, args.source)
        if not intervals:
            raise InputError(f"{args.inputs[0]}: holds no words and no speech")
        rows, unused = annotate_intervals(intervals, params, language=args.language)
        write_table(args.out.parent, "events", to_table("events", rows), args.out.name)
        report(unread, "input")
        report(unused, "events")
        labels = Counter(f"{row['kind']}.{row['label']}" for row in rows)
        counts = ", ".join(f"{count} {label}" for label, count in sorted(labels.items()))
        sessions = len({one.session_id for one in intervals})
        print(f"events: {len(rows)} in {sessions} session{'' if sessions == 1 else 's'}: {counts or 'none'}")


if __name__ == "__main__":
    main()
