"""Compares the truth of the sample (`truth/`) with annotate's tables (`tables/`), one to one, per kind and participant.

Both become a list of `Item`; how they were made does not matter here. Silences of the truth are those of the clean
voices: where no one speaks, it is a pause if the same person goes on, and a gap if another person does. A backchannel
takes no turn, so it does not count as speech before or after a silence.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from operator import attrgetter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from pipelines.engine.tables import TableRow, read_rows
from wanstreamer.clock import Span, merge_spans

MIN_SILENCE_MS = 250  # only longer gaps and pauses count; shorter ones are mostly edges of speech
WITH_ENDS = ("turn", "gap", "pause")  # kinds whose ends are compared too


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One annotation: a turn, a silence, a backchannel, or the onset of a turn with its label."""

    kind: str  # turn, gap, pause, backchannel or the label of an onset; interruptions with their outcome
    session_id: str
    participant: str  # of a silence: the one who spoke before it
    start_ms: int
    end_ms: int
    confidence: float | None = None
    about: str = ""  # text for people: its words, label or outcome

    @property
    def place(self) -> tuple[str, str, str]:
        """Only items with the same place can match."""
        return self.kind, self.session_id, self.participant

    @property
    def order(self) -> tuple[str, str, str, int, int]:
        """The sort order that `match` expects."""
        return (*self.place, self.start_ms, self.end_ms)

    @property
    def counts(self) -> bool:
        return self.kind not in ("gap", "pause") or self.end_ms - self.start_ms > MIN_SILENCE_MS


def read_items(data: Path) -> tuple[list[Item], list[Item]]:
    """The truth of the sample's sessions, on the clock of their tracks, and annotate's items.

    The truth has no label for a session's first onset, nor for the onset after both have stopped, because nothing
    precedes them. Annotated onsets at these places are left out.
    """
    truth = {path.stem: pq.read_table(path).to_pylist() for path in (data / "truth").glob("*.parquet")}
    done = {row["session_id"] for row in read_rows(data, "sessions")}
    zero_ms = {row["session_id"]: row["origin_ms"] for row in truth["sessions"] if row["session_id"] in done}
    known = {
        name: [_on_track(row, zero_ms) for row in truth[name] if row["session_id"] in done]
        for name in ("turns", "backchannels", "transitions", "speech")
    }
    items = [_item("turn", row, row["text"]) for row in known["turns"]]
    items += [_item("backchannel", row, row["text"]) for row in known["backchannels"]]
    items += [_item(_kind(row), row, row["outcome"] or "") for row in known["transitions"]]
    for session_id, rows in groupby(known["speech"], key=lambda row: row["session_id"]):
        responses = [row for row in known["backchannels"] if row["session_id"] == session_id]
        items += [_item(kind, row) for kind, row in silences(list(rows), responses)]
    named = {_onset(row) for row in known["transitions"]}
    nameless = [_item("nameless", row) for row in known["turns"] if _onset(row) not in named]
    return sorted(items, key=attrgetter("order")), sorted(_found(data, nameless), key=attrgetter("order"))


def _on_track(row: TableRow, zero_ms: dict[str, int]) -> TableRow:
    shift_ms = zero_ms[row["session_id"]]
    end_ms = row["end_ms"] if "end_ms" in row else row["start_ms"]
    return row | {"start_ms": row["start_ms"] - shift_ms, "end_ms": end_ms - shift_ms}


def _found(data: Path, nameless: Sequence[Item]) -> list[Item]:
    items = [_item("turn", row) for row in read_rows(data, "turns")]
    onsets: list[Item] = []
    for row in read_rows(data, "events"):
        if row["kind"] == "transition":
            onsets.append(_item(_kind(row), row, row["outcome"] or ""))
        elif row["kind"] == "backchannel":
            items.append(_item("backchannel", row, row["label"]))
        elif row["kind"] == "state" and row["label"] in ("gap", "pause"):
            items.append(_item(row["label"], row))
    onsets.sort(key=lambda item: (item.session_id, item.participant, item.start_ms))
    judged = [replace(item, kind="nameless") for item in onsets]
    left_out = {
        id(item) for _, item in match(sorted(nameless, key=attrgetter("order")), judged, within_ms=200, ends=False)
    }
    return items + [item for item, same in zip(onsets, judged, strict=True) if id(same) not in left_out]


def _item(kind: str, row: TableRow, about: str = "") -> Item:
    names = ("session_id", "participant", "start_ms", "end_ms")
    return Item(kind=kind, confidence=row.get("confidence"), about=about, **{name: row[name] for name in names})


def _onset(row: TableRow) -> tuple[str, str, int]:
    return row["session_id"], row["participant"], row["start_ms"]


def _kind(row: TableRow) -> str:
    return f"interruption, {row['outcome']}" if row["label"] == "interruption" else str(row["label"])


def silences(speech: Sequence[TableRow], backchannels: Sequence[TableRow] = ()) -> Iterator[tuple[str, TableRow]]:
    """("gap" or "pause", a row with who spoke before it) for every silence of a session between two speakers.

    Backchannels are silence to those who take turns, but a silence ends where one begins.
    """
    spans = merge_spans(Span(row["start_ms"], row["end_ms"]) for row in speech)
    responses = {name: [row for row in backchannels if row["participant"] == name] for name in _names(speech)}
    turns = [row for row in speech if not any(_overlap(row, response) for response in responses[row["participant"]])]
    starts, ends = sorted({row["start_ms"] for row in turns}), sorted({row["end_ms"] for row in turns})
    for earlier, later in pairwise(spans):
        last, first = bisect_right(ends, earlier.end_ms) - 1, bisect_left(starts, later.start_ms)
        if last < 0 or first == len(starts):
            continue
        before = {row["participant"] for row in turns if row["end_ms"] == ends[last]}
        after = {row["participant"] for row in turns if row["start_ms"] == starts[first]}
        if len(before) == len(after) == 1:
            (who,) = before
            row = {
                "session_id": speech[0]["session_id"], "participant": who,
                "start_ms": earlier.end_ms, "end_ms": later.start_ms,
            }  # fmt: skip
            yield ("pause" if before == after else "gap"), row


def _names(rows: Sequence[TableRow]) -> set[str]:
    return {row["participant"] for row in rows}


def _overlap(row: TableRow, other: TableRow) -> bool:
    return bool(row["start_ms"] < other["end_ms"] and other["start_ms"] < row["end_ms"])


def match(truth: Sequence[Item], annotated: Sequence[Item], *, within_ms: int, ends: bool) -> list[tuple[Item, Item]]:
    """Pairs of items with the same place whose onsets lie within `within_ms`; with `ends`, also those of `WITH_ENDS`.

    The number of pairs is the largest possible: items of one place do not overlap each other, so that taking the first
    match in order is optimal.
    """
    groups = {place: list(own) for place, own in groupby(annotated, key=lambda item: item.place)}
    pairs: list[tuple[Item, Item]] = []
    for place, group in groupby(truth, key=lambda item: item.place):
        own, theirs = list(group), groups.get(place, [])
        i = j = 0
        while i < len(own) and j < len(theirs):
            late_ms = [theirs[j].start_ms - own[i].start_ms]
            if ends and place[0] in WITH_ENDS:
                late_ms.append(theirs[j].end_ms - own[i].end_ms)
            if all(abs(ms) <= within_ms for ms in late_ms):
                pairs.append((own[i], theirs[j]))
                i, j = i + 1, j + 1
            elif min(late_ms) < -within_ms:
                j += 1
            else:
                i += 1
    return pairs


def agreement(
    truth: Sequence[Item], annotated: Sequence[Item], pairs: Sequence[tuple[Item, Item]]
) -> dict[str, float | int | None]:
    """Counts, precision, recall and F1; None where nothing was counted.

    MIN_SILENCE_MS decides what is counted, not what may match: a gap of 255 ms that was annotated as 245 ms counts as
    found.
    """
    num_truth, num_found = (sum(item.counts for item in items) for items in (truth, annotated))
    recall = sum(true_item.counts for true_item, _ in pairs) / num_truth if num_truth else None
    precision = sum(annotated_item.counts for _, annotated_item in pairs) / num_found if num_found else None
    harmonic = None
    if precision is not None and recall is not None:
        harmonic = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return {
        "truth": num_truth, "found": num_found, "precision": _rounded(precision), "recall": _rounded(recall),
        "f1": _rounded(harmonic),
    }  # fmt: skip


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def wasserstein_1(first: Sequence[float], second: Sequence[float]) -> float:
    """Area between two empirical distribution functions, in the unit of the values."""
    values = np.sort(np.concatenate([first, second]))
    shares = [np.searchsorted(np.sort(some), values[:-1], side="right") / len(some) for some in (first, second)]
    return float(np.sum(np.abs(shares[0] - shares[1]) * np.diff(values)))
