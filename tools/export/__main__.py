"""Write sessions for another project's trainer: `python -m tools.export moshi --out exports/moshi`.

Only sessions in which every participant agreed to `share` are written; the others are counted by reason and named.
What the format cannot hold is printed and counted in `not_held.json`. Called again, the command writes what is missing
or has changed. `data/exports.jsonl` names every file, so that `tools.forget` can remove a person from the export.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from pipelines.engine.errors import exit_on_input_error
from pipelines.engine.params import Section, build_params, read_sections
from pipelines.pack.params import PackParams
from tools.export.form import SPLITS, Choices, Format
from tools.export.formats import FORMATS
from tools.export.people import REASONS, by_reason
from tools.export.run import Report, export

NAMED = 5  # sessions that are named on the screen, per reason
DEFAULT_PARAMS = Path("params.yaml")


def print_report(form: Format, out: Path, report: Report) -> None:
    sessions = report.written + report.unchanged
    print(f"export: {sessions} session{'' if sessions == 1 else 's'} as {form.name} in {out}", end="")
    print(f" ({report.unchanged} were there already)" if report.unchanged else "")
    if report.removed:
        print(f"removed, as they may not be there any more or were not chosen: {report.removed} sessions")
    for reason, left_out in by_reason(report.left_out).items():
        names = ", ".join(each.session_id for each in left_out[:NAMED])
        more = f" and {len(left_out) - NAMED} more" if len(left_out) > NAMED else ""
        detail = REASONS.get(reason) or left_out[0].detail
        print(f"left out: {len(left_out)} {reason} ({detail}): {names}{more}")
    if report.left_out_file:
        print(f"  all of them: {report.left_out_file}")
    for what, count in sorted(report.not_held.items()):
        print(f"not held: {what} ({count})")
    print(f"next: {form.next_step(out)}")


def main(arguments: Sequence[str] | None = None) -> None:
    formats = "\n".join(f"  {form.name:8} {form.meaning}" for form in FORMATS.values())
    parser = argparse.ArgumentParser(
        prog="python -m tools.export",
        description="Write sessions in which everyone agreed to `share` for another project's trainer.",
        epilog=f"formats:\n{formats}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("format", type=str.lower, choices=FORMATS, metavar="FORMAT", help=", ".join(FORMATS))
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write, new or of this export")
    parser.add_argument("--data", type=Path, default=Path("data"), help="data folder (default: data)")
    parser.add_argument("--split", default="", choices=SPLITS, help="only this split (default: all)")
    parser.add_argument(
        "--where",
        default="",
        metavar="SQL",
        help='only sessions with this condition on the view session_summary, such as "overlap_share > 0.1"',
    )
    parser.add_argument(
        "--sessions", nargs="+", default=[], metavar="ID", help="only these sessions (default: all that may be shared)"
    )
    parser.add_argument(
        "--handed-to",
        default="",
        metavar="NAME",
        help="note in the record that this person or place gets a copy; tools.forget names it",
    )
    parser.add_argument(
        "--tokenizer",
        default="",
        metavar="FILE",
        help="nemo: count turns that are too long in tokens of this tokenizer.json (default: in words)",
    )
    parser.add_argument(
        "--cut-seconds",
        type=int,
        default=40,
        metavar="N",
        help="nemo: the longest cut, made in a silence if there is one; 0: whole sessions (default: 40)",
    )
    parser.add_argument(
        "--params",
        type=Path,
        help="parameter file, for pack.max_bleed_db and pack.bleed_guard_units (default: params.yaml, if it exists)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="override a parameter; may be repeated",
    )
    args = parser.parse_args(arguments)
    with exit_on_input_error():
        path = args.params or (DEFAULT_PARAMS if DEFAULT_PARAMS.is_file() else None)
        values = read_sections(path, args.set).get("pack", Section({}, {}))
        choices = Choices(
            split=args.split,
            where=args.where,
            sessions=tuple(args.sessions),
            masks=build_params(PackParams, values, "pack", path=path, overrides=args.set),
            tokenizer=args.tokenizer,
            cut_seconds=args.cut_seconds,
        )
        form = FORMATS[args.format]
        report = export(args.data, form, args.out, choices, handed_to=args.handed_to)
        print_report(form, args.out, report)


if __name__ == "__main__":
    main()
