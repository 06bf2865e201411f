"""What a data folder holds, as one HTML page: `python -m tools.report`, and with two folders side by side.

Hours kept and lost, people, talk, turns beside published figures, quality, consent, sizes, time and cost. Every figure
is the answer to a query that the page shows.
"""

import argparse
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from pipelines.engine.errors import check_writable, exit_on_input_error
from pipelines.engine.files import write_bytes_atomic
from pipelines.engine.progress import progress
from tools.plan.spent import read_plan
from tools.report.answers import answers, queries
from tools.report.page import Folder, page
from wanstreamer.errors import InputError

REPORT = Path("reports") / "report.html"  # below the data folder, where tools.forget removes it


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.report", description=__doc__)
    add = parser.add_argument
    add("data", nargs="?", type=Path, default=Path("data"), help="data folder (default: data)")
    add("other", nargs="?", type=Path, help="another data folder, which is shown beside the first")
    add("--out", type=Path, help=f"the page to write (default: {REPORT.as_posix()} in the data folder)")
    add("--cpu-hour", type=float, help="price of a core for an hour (default: that of plan.json in the data folder)")
    args = parser.parse_args(arguments)
    with exit_on_input_error():
        out = args.out or args.data / REPORT
        write_report([args.data, *([args.other] if args.other else [])], out, args.cpu_hour)
        print(f"{out}: open it in a browser")


def write_report(folders: Sequence[Path], out: Path, cpu_hour: float | None = None) -> None:
    """Write the page for one or two data folders. `cpu_hour`: price of a core; None: of each folder's plan, if any.

    Raises InputError for a folder without tables, a negative price, and a page that cannot be written.
    """
    if cpu_hour is not None and not 0 <= cpu_hour < float("inf"):
        raise InputError(f"--cpu-hour {cpu_hour}: expected 0 or more")
    if out.is_dir():
        raise InputError(f"--out {out}: expected a file such as report.html")
    check_writable(out.parent, "--out")
    found = []
    with progress(len(folders) * len(queries()), "figures") as advance:
        for data in folders:
            price = _price(data) if cpu_hour is None else cpu_hour
            found.append(Folder(str(data), answers(data, cpu_hour=price, advance=advance)))
    out.parent.mkdir(parents=True, exist_ok=True)
    write_bytes_atomic(out, page(found, f"Made on {date.today().isoformat()}").encode())


def _price(data: Path) -> float:
    plan = data / "plan.json"
    return float(read_plan(plan)["prices"]["cpu_hour"]) if plan.is_file() else 0.0


if __name__ == "__main__":
    main(sys.argv[1:])
