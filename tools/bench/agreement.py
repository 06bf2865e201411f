"""What the sample knows (`truth/`) and what annotate found (`tables/`) -> what agrees, one to one, per kind and person.

Both are brought to the same form, a list of `Item`; nothing here looks at how either was made. Silences of the truth
are those of its clean voices: where nobody speaks, a pause if the same person goes on, a gap if another does.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from operator import attrgetter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from pipelines.engine.tables import TableRow, read_rows
from wanstreamer.clock import Span, merge_spans

MIN_SILENCE_MS = 250  # of gaps and pauses that count; shorter ones are mostly edges of speech
WITH_ENDS = ("turn", "gap", "pause")  # their ends count too


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One annotated thing: a turn, a silence, a backchannel, or the onset of a turn with its label."""

    kind: str  # what it is; interruptions with their outcome
    session_id: str
    participant: str  # of a silence: who spoke before it
    start_ms: int
    end_ms: int
    confidence: float | None = None
    about: str = ""  # what stands beside it, for people

    @property
    def place(self) -> tuple[str, str, str]:
        """Only items of one place can be the same."""
        return self.kind, self.session_id, self.participant

    @property
    def order(self) -> tuple[str, str, str, int, int]:
        """That in which `match` wants them."""
        return (*self.place, self.start_ms, self.end_ms)

    @property
    def counts(self) -> bool:
        return self.kind not in ("gap", "pause") or self.end_ms - self.start_ms > MIN_SILENCE_MS


def read_items(data: Path) -> tuple[list[Item], list[Item]]:
    """What happened in the sample's sessions, on the clock of their tracks, and what annotate says about them.

    A session's first onset, and the one after both have stopped, follow nothing that the truth could name: what was
    found there is left out.
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
    for _, rows in groupby(known["speech"], key=lambda row: row["session_id"]):
        items += [_item(kind, row) for kind, row in silences(list(rows))]
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
        id(two) for _, two in match(sorted(nameless, key=attrgetter("order")), judged, within_ms=200, ends=False)
    }
    return items + [item for item, same in zip(onsets, judged, strict=True) if id(same) not in left_out]


def _item(kind: str, row: TableRow, about: str = "") -> Item:
    names = ("session_id", "participant", "start_ms", "end_ms")
    return Item(kind=kind, confidence=row.get("confidence"), about=about, **{name: row[name] for name in names})


def _onset(row: TableRow) -> tuple[str, str, int]:
    return row["session_id"], row["participant"], row["start_ms"]


def _kind(row: TableRow) -> str:
    return f"interruption, {row['outcome']}" if row["label"] == "interruption" else str(row["label"])


def silences(speech: Sequence[TableRow]) -> Iterator[tuple[str, TableRow]]:
    """("gap" or "pause", row of who spoke before it) where nobody of a session speaks between two who do."""
    spans = merge_spans(Span(row["start_ms"], row["end_ms"]) for row in speech)
    for one, two in pairwise(spans):
        before = {row["participant"] for row in speech if row["end_ms"] == one.end_ms}
        after = {row["participant"] for row in speech if row["start_ms"] == two.start_ms}
        if len(before) == len(after) == 1:
            (who,) = before
            row = {
                "session_id": speech[0]["session_id"], "participant": who,
                "start_ms": one.end_ms, "end_ms": two.start_ms,
            }  # fmt: skip
            yield ("pause" if before == after else "gap"), row


def match(truth: Sequence[Item], found: Sequence[Item], *, within_ms: int, ends: bool) -> list[tuple[Item, Item]]:
    """The most pairs of one place whose onsets (and `ends`, of kinds that have one) lie within `within_ms`.

    Items of a place do not overlap each other, so that going through both in order finds the most.
    """
    groups = {place: list(own) for place, own in groupby(found, key=lambda item: item.place)}
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
    truth: Sequence[Item], found: Sequence[Item], pairs: Sequence[tuple[Item, Item]]
) -> dict[str, float | int | None]:
    """Counts, precision, recall and F1; None where nothing was counted.

    The least length of a silence chooses what is counted, not what may match: a gap of 255 ms that was measured as
    245 ms is found.
    """
    num_truth, num_found = (sum(item.counts for item in items) for items in (truth, found))
    recall = sum(one.counts for one, _ in pairs) / num_truth if num_truth else None
    precision = sum(two.counts for _, two in pairs) / num_found if num_found else None
    harmonic = None
    if precision is not None and recall is not None:
        harmonic = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return {
        "truth": num_truth, "found": num_found, "precision": _rounded(precision), "recall": _rounded(recall),
        "f1": _rounded(harmonic),
    }  # fmt: skip


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def wasserstein_1(one: Sequence[float], two: Sequence[float]) -> float:
    """Area between two empirical distribution functions, in the unit of the values."""
    values = np.sort(np.concatenate([one, two]))
    shares = [np.searchsorted(np.sort(some), values[:-1], side="right") / len(some) for some in (one, two)]
    return float(np.sum(np.abs(shares[0] - shares[1]) * np.diff(values)))
