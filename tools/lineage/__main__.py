"""From a unit of a training window to the source's frames and samples, and back.

- `python -m tools.lineage WINDOW UNIT`: all that the unit was made from
- `python -m tools.lineage --source FILE --at 61.2`: all windows that hold this moment of a file
- `python -m tools.lineage --session ID --at 61.2`: all windows that hold this moment of a session
"""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from pipelines.engine.errors import exit_on_input_error
from pipelines.engine.params import add_params_options, build_params, read_sections
from pipelines.pack.params import PackParams
from tools.lineage.moment import windows_of_session, windows_of_source
from tools.lineage.show import moment_lines, unit_lines
from tools.lineage.unit import trace_unit
from wanstreamer.errors import InputError


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.lineage", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("window", nargs="?", metavar="WINDOW", help="window_id, as in the table windows")
    add("unit", nargs="?", metavar="UNIT", help="index of the unit in the window, from 0")
    add("--source", metavar="FILE", help="a recording, as in the table sources, or a path to it")
    add("--session", metavar="ID", help="session_id, as in the table sessions")
    add("--at", metavar="SECONDS", help="seconds from the start of the file, or of the session's tracks")
    add("--data", type=Path, default=Path("data"), help="data folder (default: data)")
    add("--no-look", action="store_true", help="do not read the recordings: their frames are not named")
    add("--json", action="store_true", help="print JSON")
    add_params_options(parser)
    args = parser.parse_args(arguments)
    with exit_on_input_error():
        run(args)


def run(args: argparse.Namespace) -> None:
    ways = [bool(args.window or args.unit), args.source is not None, args.session is not None]
    if sum(ways) != 1:
        raise InputError("expected WINDOW UNIT, or --source FILE --at SECONDS, or --session ID --at SECONDS")
    if ways[0]:
        if args.unit is None or not args.unit.isdecimal():
            raise InputError(f"UNIT {args.unit}: expected the index of a unit in the window, from 0")
        sections = read_sections(args.params if args.params.is_file() else None, args.set)
        params = build_params(PackParams, sections.get("pack") or {}, "pack", path=args.params, overrides=args.set)
        traced = trace_unit(args.data, args.window, int(args.unit), params=params, look=not args.no_look)
        lines = unit_lines(traced)
    else:
        at_s = _seconds(args.at)
        if args.source is not None:
            traced = windows_of_source(args.data, args.source, at_s)
        else:
            traced = windows_of_session(args.data, args.session, at_s)
        lines = moment_lines(traced, args.data)
    if args.json:
        json.dump(traced, sys.stdout, indent=2, ensure_ascii=False)
        print()
    else:
        print("\n".join(lines))


def _seconds(text: str | None) -> float:
    try:
        seconds = float(text or "")
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise InputError(f"--at {text}: expected seconds, for example 61.2")
    return seconds


if __name__ == "__main__":
    main()
