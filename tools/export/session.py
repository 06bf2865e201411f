"""One session of a data folder, as exports need it: rows by participant, role views, and where sound is masked.

A format never sees more than one session. Words and turns are those of the tables; which of the user's units are muted
is decided by the masks of pack, so that an export and the windows agree.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.engine.jobs import Rejected
from pipelines.engine.tables import TableRow, session_rows, session_table
from pipelines.pack.params import ViewParams
from pipelines.pack.role_views import UnitRow, role_pairs, view_masks

Rows = list[TableRow]
UNKNOWN_LANGUAGE = "und"  # BCP 47: undetermined


@dataclass(frozen=True, kw_only=True)
class Session:
    """One session; all rows are by participant, and in order of time."""

    data: Path
    session_id: str
    split: str
    layout: str
    licence: str | None
    num_units: int
    duration_ms: int
    tracks: Mapping[str, TableRow]
    words: Mapping[str, Rows | None]  # None: no transcript. Only words whose times fit the speech
    ipus: Mapping[str, Rows]
    turns: Mapping[str, Rows]
    events: Mapping[str, Rows]
    misplaced_words: int  # words whose times do not fit the speech
    spec: Mapping[str, Any]  # what the masks of pack are made from

    def views(self) -> list[tuple[str, str]]:
        """(agent, user) of all role views, as pack makes them."""
        return role_pairs(self.spec)

    def view_id(self, agent: str, user: str) -> str:
        """The name of a role view, as windows have it."""
        return "-".join([self.session_id, agent] + ([user] if len(self.tracks) > 2 else []))

    def masked(self, agent: str, user: str, masks: ViewParams) -> dict[str, np.ndarray]:
        """`agent`, `user`: bool (num_units,), where the sound of this role is masked in windows (loss or input)."""
        reasons = view_masks(self.spec, agent, user, masks)
        return {
            role: np.logical_or.reduce([mask for name, mask in reasons.items() if name.startswith(f"{role}_audio_")])
            for role in ("agent", "user")
        }

    def path(self, who: str, kind: str) -> Path | None:
        """The file of a track, `audio` or `video`."""
        name = self.tracks[who][f"{kind}_path"]
        return None if name is None else self.data / name

    def language(self, who: str) -> str:
        """A BCP 47 tag: of the transcript, else of the manifest."""
        for row in self.words[who] or ():
            if row["language"]:
                return str(row["language"])
        return self.tracks[who]["language"] or self.spec["language"] or UNKNOWN_LANGUAGE

    def rate_hz(self) -> int:
        """The sample rate that all tracks have. Raises Rejected if they differ, or if no one has sound."""
        rates = {track["rate_hz"] for track in self.tracks.values()} - {None}
        if len(rates) != 1:
            detail = f"{', '.join(f'{rate} Hz' for rate in sorted(rates))}" if rates else "no track has sound"
            raise Rejected("rates_differ" if rates else "no_sound", detail)
        return int(rates.pop())


def read_session(data: Path, session_id: str) -> Session:
    """Raises Rejected if rows are missing, as after an annotation that rejected the session, or if quality found the
    session not usable: a copy of another one, or too bad."""
    about = session_rows(data, "sessions", session_id)
    tracks = {row["participant"]: row for row in session_rows(data, "tracks", session_id)}
    units = session_table(data, "units", session_id).select(["participant", *UnitRow._fields]).to_pylist()
    if not about or not units:
        raise Rejected("not_annotated", "no rows in the table units")
    by_who: dict[str, list[list[Any]]] = {who: [] for who in tracks}
    for row in units:
        by_who[row["participant"]].append([row[name] for name in UnitRow._fields])
    num_units = about[0]["num_units"]
    if any(len(own) != num_units for own in by_who.values()):
        raise Rejected("not_annotated", f"not all of {num_units} units are in the table units")
    if any((data / "tables" / "quality").glob("b=*.parquet")):
        poor = [row["participant"] for row in session_rows(data, "quality", session_id) if not row["usable"]]
        if poor:
            raise Rejected("not_usable", f"quality.usable is false: {', '.join(poor)}")
    words = _by_who(session_rows(data, "words", session_id), tracks)
    fit = {who: [row for row in own if row["times_fit"]] for who, own in words.items()}
    return Session(
        data=data,
        session_id=session_id,
        split=about[0]["split"],
        layout=about[0]["layout"],
        licence=about[0]["licence"],
        num_units=num_units,
        duration_ms=about[0]["duration_ms"],
        tracks=tracks,
        words={
            who: None if not own and (words[who] or tracks[who]["words_sha256"] is None) else own
            for who, own in fit.items()
        },
        ipus=_by_who(session_rows(data, "ipus", session_id), tracks),
        turns=_by_who(session_rows(data, "turns", session_id), tracks),
        events=_by_who(session_rows(data, "events", session_id), tracks),
        misplaced_words=sum(len(words[who]) - len(fit[who]) for who in tracks),
        spec={
            "num_units": num_units,
            "language": about[0]["language"],
            "tracks": tracks,
            "units": by_who,
            "words": {},
            "latents": {
                who: {"audio_member": track["audio_path"], "video_member": track["video_path"]}
                for who, track in tracks.items()
            },
        },
    )


def _by_who(rows: Iterable[TableRow], tracks: Iterable[str]) -> dict[str, Rows]:
    grouped: dict[str, Rows] = {who: [] for who in tracks}
    for row in sorted(rows, key=lambda row: (row["start_ms"], row["end_ms"])):
        grouped[row["participant"]].append(row)
    return grouped


def words_by_span(spans: Sequence[TableRow], words: Sequence[TableRow], reach_ms: int) -> tuple[list[Rows], Rows]:
    """The words of each span, and those of none. Spans are in order and disjoint.

    As in the turn rules: a word belongs to the span with which it shares most time, else to the nearest within
    `reach_ms`.
    """
    shares: list[Rows] = [[] for _ in spans]
    outside: Rows = []
    first = 0
    for word in words:
        while first + 1 < len(spans) and spans[first]["end_ms"] < word["start_ms"] - reach_ms:
            first += 1
        best, best_ms = -1, -reach_ms - 1
        for i in range(first, len(spans)):
            shared = min(word["end_ms"], spans[i]["end_ms"]) - max(word["start_ms"], spans[i]["start_ms"])
            if shared > best_ms:
                best, best_ms = i, shared
            if spans[i]["start_ms"] >= word["end_ms"]:
                break
        (shares[best] if best >= 0 else outside).append(word)
    return shares, outside
