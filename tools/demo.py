"""Make four sample conversations, annotate, draw and query them: `make demo`, or `python -m tools.demo`.

Everything is written below `demo/`; nothing is trained. A second run makes only what is missing or out of date.
"""

import argparse
import json
import os
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from pipelines.annotate import stage as annotate
from pipelines.annotate.params import AnnotateParams
from pipelines.engine.code import code_hash
from pipelines.engine.errors import check_writable, exit_on_input_error
from pipelines.engine.files import hash_of, write_json_atomic
from pipelines.engine.jobs import RunParams
from pipelines.ingest import stage as ingest
from pipelines.ingest.params import IngestParams
from pipelines.sample import stage as sample
from pipelines.sample.params import SampleParams
from tools.picture.__main__ import draw
from tools.query import print_answer, query

SAMPLE = SampleParams(sessions=4, seconds=45, seed=0)
NOTE = "parts/demo.json"  # below the data folder: a hash of the settings and the code that made the sample
QUERIES = (
    (
        "How long after one turn does the next one begin? (floor transfer offset; negative: they overlap)",
        "SELECT label, count(*) AS turns, min(fto_ms) AS min_ms, median(fto_ms) AS median_ms, max(fto_ms) AS max_ms "
        "FROM floor_transfer_offsets GROUP BY label ORDER BY turns DESC",
    ),
    (
        "Who interrupts whom, and who yields?",
        "SELECT session_id AS session, start_ms / 1000 AS at_s, challenger, incumbent, outcome, yielded_by AS yields, "
        "yield_ms AS in_ms FROM interruptions",
    ),
    (
        "Which words do people say as backchannels?",
        "SELECT words, count(*) AS times, median(duration_ms) AS median_ms, count(*) FILTER (in_pause) AS in_pauses "
        "FROM backchannels GROUP BY words ORDER BY times DESC, words LIMIT 5",
    ),
)
# The session with the most events.
TO_DRAW = "SELECT session_id FROM session_summary ORDER BY 2 * interruptions + backchannels DESC, session_id LIMIT 1"


def demo(data: Path, how: RunParams) -> Path:
    """Make what is missing in the data folder, and print the answers; returns the path of the picture."""
    _make_sample(data, how)
    with _step(2, "ingest", "recordings are converted to video and audio tracks on one clock"):
        ingest.run(data, IngestParams(), how)
    with _step(3, "annotate", "who speaks when: words, turns, interruptions, backchannels"):
        annotate.run(data, AnnotateParams(), how)
    with _step(4, "picture", "one conversation is drawn"):
        session = query(data, TO_DRAW)[1][0][0]
        picture = draw(data, data / "reports" / "annotations", [session])[0]
    print("[5/5] queries: three questions are answered from the tables")
    for question, sql in QUERIES:
        print(f"\n{question}\n{textwrap.indent(textwrap.fill(sql, 76), '  ')}\n", flush=True)
        print_answer(data, sql)
    return picture


def _make_sample(data: Path, how: RunParams) -> None:
    """Make the recordings, if they are missing or the settings or the code have changed."""
    with _step(1, "sample", f"{SAMPLE.sessions} conversations of {SAMPLE.seconds} s are made"):
        recipe = hash_of([asdict(SAMPLE), code_hash("pipelines.sample.stage")])
        note, manifest = data / NOTE, data / "sources" / "manifest.csv"
        if note.is_file() and manifest.is_file() and json.loads(note.read_text()) == {"sample": recipe}:
            print("sample: up to date", file=sys.stderr)
            return
        sample.run(data, SAMPLE, how)
        write_json_atomic(note, {"sample": recipe})


@contextmanager
def _step(number: int, name: str, what: str) -> Iterator[None]:
    """Print a line before the step, and a line with its time after it."""
    print(f"[{number}/5] {name}: {what}", flush=True)
    began_s = time.monotonic()
    yield
    print(f"      {name} took {time.monotonic() - began_s:.1f} s", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.demo", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("demo/data"), help="data folder (default: demo/data)")
    args = parser.parse_args(arguments)
    began_s = time.monotonic()
    with exit_on_input_error():
        check_writable(args.data)
        try:
            picture = demo(args.data, RunParams(ray=False))
        except KeyboardInterrupt:
            print("demo: stopped; finished work is kept, and the same command continues from there", file=sys.stderr)
            sys.exit(130)
    python = os.path.relpath(sys.executable)
    python = "python" if python.startswith("..") else python
    print(
        f"\nDone in {time.monotonic() - began_s:.0f} s. Open {picture} in a browser, then type: "
        f'{python} -m tools.query --data {args.data} "FROM session_summary"'
    )


if __name__ == "__main__":
    main()
