"""Draw the annotations of sessions as SVG: `python -m tools.picture --session ID`.

Writes `<data>/reports/annotations/SESSION.svg`; a long session becomes `SESSION-01.svg`, `SESSION-02.svg`, ... of three
minutes each. Words and speaker ids are shown only for people who agreed to `show`.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from pipelines.engine.errors import exit_on_input_error
from tools.picture.drawing import pages
from tools.picture.session import read_pictures
from wanstreamer.errors import InputError

LIMIT = 6


def draw(data: Path, out: Path, sessions: Sequence[str], limit: int = LIMIT) -> list[Path]:
    """Draw the sessions, or the first `limit` sessions if none is named; returns the files, in order."""
    written = []
    for picture in read_pictures(data, sessions, limit):
        drawn = pages(picture)
        out.mkdir(parents=True, exist_ok=True)
        for number, page in enumerate(drawn, start=1):
            name = picture.session_id if len(drawn) == 1 else f"{picture.session_id}-{number:02d}"
            written.append(out / f"{name}.svg")
            written[-1].write_text(page, encoding="utf-8")
    return written


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.picture", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"), help="data folder (default: data)")
    parser.add_argument(
        "--session",
        action="append",
        default=[],
        metavar="ID",
        help="only this session; may be repeated (default: the first --limit sessions)",
    )
    parser.add_argument(
        "--limit", type=int, default=LIMIT, help=f"number of sessions, if none is named (default: {LIMIT})"
    )
    parser.add_argument("--out", type=Path, help="folder to write to (default: <data>/reports/annotations)")
    args = parser.parse_args(arguments)
    with exit_on_input_error():
        if args.limit < 1:
            raise InputError(f"--limit {args.limit}: expected 1 or more")
        out = args.out or args.data / "reports" / "annotations"
        written = draw(args.data, out, args.session, args.limit)
        print(f"{len(written)} picture{'' if len(written) == 1 else 's'} in {out}")


if __name__ == "__main__":
    main()
