"""Half a minute of one conversation in an export, as an SVG: who speaks, and what happens between the turns."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.media.svg import COLOURS, GREY, INK, RED, STYLE, rect, text

SPAN_MS = 30_000
WIDTH, LEFT, LANE = 960, 60, 64
SHOWN = {"backchannel": "backchannel", "interruption": "interruption", "simultaneous_start": "both start"}


def drawing(out: Path) -> str | None:
    """Of the first session with events: its half minute with the most of SHOWN. None without IPUs."""
    for path in sorted((out / "tables" / "ipus").glob("*.parquet")):
        with pq.ParquetFile(path) as file:
            if not file.num_row_groups:
                continue
            rows = next(file.iter_batches(batch_size=1 << 13))
        session = rows["session_id"][0].as_py()
        ipus = _of(pa.Table.from_batches([rows]), session)
        events = _events(out / "tables" / "events" / path.name, session)
        return "\n".join(_lines(ipus, events))
    return None


def _of(rows: pa.Table, session: str) -> list[dict[str, Any]]:
    return rows.filter(pc.equal(rows["session_id"], session)).to_pylist()


def _events(path: Path, session: str) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    with pq.ParquetFile(path) as file:
        rows = pa.Table.from_batches([next(file.iter_batches(batch_size=1 << 13))]) if file.num_row_groups else None
    own = [] if rows is None else _of(rows, session)
    return [row for row in own if row["kind"] == "backchannel" or row["label"] in SHOWN]


def _lines(ipus: list[dict[str, Any]], events: list[dict[str, Any]]) -> Iterator[str]:
    begin = max(
        [0, *(max(0, row["start_ms"] - 2000) for row in events)],
        key=lambda at: (sum(at <= row["start_ms"] < at + SPAN_MS for row in events), -at),
    )
    if not events and ipus:
        begin = max(0, min(row["start_ms"] for row in ipus) - 1000)
    people = sorted({row["participant"] for row in ipus})
    height = 64 + LANE * len(people)

    def x(ms: int) -> float:
        return LEFT + (min(max(ms, begin), begin + SPAN_MS) - begin) * (WIDTH - LEFT - 12) / SPAN_MS

    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">'
    yield f"<style>{STYLE}</style>" + rect(0, 0, WIDTH, height, "#ffffff")
    yield text(LEFT, 18, "Half a minute of one conversation", "who")
    for lane, who in enumerate(people):
        top, colour = 34 + lane * LANE, COLOURS[lane % len(COLOURS)]
        yield text(12, top + 26, who, "who", fill=colour)
        yield rect(LEFT, top, WIDTH - LEFT - 12, LANE - 14, "#f4f4f4")
        for row in ipus:
            if row["participant"] == who and row["end_ms"] > begin and row["start_ms"] < begin + SPAN_MS:
                width = max(1.0, x(row["end_ms"]) - x(row["start_ms"]))
                yield rect(x(row["start_ms"]), top + 16, width, 20, colour, 0.35 if row["candidate"] != "none" else 0.9)
        end_px = 0.0
        for row in sorted(events, key=lambda row: row["start_ms"]):
            if row["participant"] != who or not begin <= row["start_ms"] < begin + SPAN_MS:
                continue
            words = SHOWN.get(row["label"], SHOWN["backchannel"]) + (f": {row['outcome']}" if row["outcome"] else "")
            colour_of = RED if row["label"] == "interruption" else INK
            yield rect(x(row["start_ms"]) - 1, top + 12, 2, 28, colour_of)
            at = min(x(row["start_ms"]), WIDTH - 12 - 5.4 * len(words))
            if at > end_px:
                yield text(at, top + 10, words.replace("_", " "), "note", fill=colour_of)
                end_px = at + 5.4 * len(words)
    for second in range(0, SPAN_MS // 1000 + 1, 5):
        at = begin + second * 1000
        yield text(x(at), height - 12, f"{at / 1000:.0f} s", "figure", anchor="middle", fill=GREY)
    yield "</svg>\n"
