"""Lhotse: recordings, supervisions with the words' times, and films of the tracks that have a picture.

    OUT/train/recordings.jsonl.gz     one Recording per participant with sound
    OUT/train/supervisions.jsonl.gz   one SupervisionSegment per inter-pausal unit; events, turn and masks in `custom`
    OUT/train/videos.jsonl.gz         one Recording with video per participant with a picture: MP4 with the same sound
    OUT/media/80/talk-0000.a.wav, talk-0000.a.mp4

Paths are relative to OUT: `RecordingSet.from_file(...).with_path_prefix(OUT)`. Every event is in the `custom` of one
supervision: of the participant's unit that it overlaps most, or else of the nearest. Times are in seconds on the
recording's clock. Sound is as it was recorded; `custom.audio_mixed` marks what is not certainly one person's.
(Source: lhotse 1.33, audio/recording.py, supervision.py, qa.py.)
"""

import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.engine.buckets import track_folder
from pipelines.engine.jobs import Rejected
from pipelines.engine.tables import TableRow
from pipelines.media.lossless import write_film
from pipelines.pack.role_views import UnitRow
from tools.export.form import Choices, Format, Piece, first_split
from tools.export.session import Rows, Session, words_by_span
from tools.export.sound import check_track, sound_bytes, unit_pieces
from wanstreamer.clock import FRAME_RATE_HZ, FRAMES_PER_UNIT, Span, ms_to_seconds, samples_per_unit, units_touched
from wanstreamer.turns import TurnParams

REACH_MS = TurnParams().ipu_gap_ms  # a word that is farther from all speech belongs to none, as in the turn rules
AUDIO_MIXED, VIDEO_VISIBLE = (UnitRow._fields.index(name) for name in ("audio_mixed", "video_visible"))
EVENT_FIELDS = ("kind", "label", "outcome", "other", "yield_ms", "fto_ms", "source", "confidence", "rule_version")


def num_bytes(data: Path, tracks: Sequence[Mapping[str, Any]]) -> int:
    """A copy of each track's sound, and a film with both sound and picture."""
    total = 0
    for track in tracks:
        path = data / track["video_path"] if track["video_path"] else None
        has_film = path is not None and track["audio_path"] is not None
        total += sound_bytes([track]) * (2 if has_film else 1)
        total += path.stat().st_size if has_film and path is not None and path.is_file() else 0
    return total


def write_session(session: Session, folder: Path, choices: Choices) -> Piece:
    piece = Piece()
    rate_hz = session.rate_hz()
    for who, track in session.tracks.items():
        if track["audio_path"] is None:
            piece.not_held["participants without sound: no recording, and no events of theirs"] += 1
            continue
        sound = check_track(session, who, "audio")
        place = f"media/{track_folder(session.session_id)}/{session.session_id}.{who}"
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        for _ in unit_pieces(sound, session.num_units, rate_hz, None):
            pass  # checks its length
        shutil.copyfile(sound, folder / f"{place}.wav")
        _add(piece, session, "recordings", _recording(session, who, rate_hz, f"{place}.wav"))
        if track["video_path"] is None:
            piece.not_held["participants without a picture: no video"] += 1
        else:
            video = check_track(session, who, "video")
            write_film(folder / f"{place}.mp4", video, unit_pieces(sound, session.num_units, rate_hz, None), rate_hz)
            _add(piece, session, "videos", _recording(session, who, rate_hz, f"{place}.mp4", track))
        for supervision in _supervisions(session, who, piece.not_held):
            _add(piece, session, "supervisions", supervision)
    piece.not_held["words whose times do not fit the speech: left out"] += session.misplaced_words
    if not piece.lines:
        raise Rejected("no_sound", "no participant has sound")
    return piece


def _add(piece: Piece, session: Session, name: str, row: Mapping[str, Any]) -> None:
    line = json.dumps(row, ensure_ascii=False)
    piece.lines.setdefault(f"{session.split}/{name}.jsonl.gz", []).append(line)


def _recording(session: Session, who: str, rate_hz: int, path: str, track: TableRow | None = None) -> dict[str, Any]:
    """A Recording; with `track`, one with video."""
    num_samples = session.num_units * samples_per_unit(rate_hz)
    source: dict[str, Any] = {"type": "file", "channels": [0], "source": path}
    if track is not None:
        source["video"] = {
            "fps": float(FRAME_RATE_HZ),
            "num_frames": session.num_units * FRAMES_PER_UNIT,
            "height": track["height"],
            "width": track["width"],
        }
    return {
        "id": recording_id(session, who) + (".video" if track is not None else ""),
        "sources": [source],
        "sampling_rate": rate_hz,
        "num_samples": num_samples,
        "duration": num_samples / rate_hz,
        "channel_ids": [0],
    }


def recording_id(session: Session, who: str) -> str:
    return f"{session.session_id}.{who}"


def _supervisions(session: Session, who: str, not_held: Counter[str]) -> list[dict[str, Any]]:
    ipus = [ipu for ipu in (_clipped(session, row) for row in session.ipus[who]) if ipu is not None]
    not_held["inter-pausal units past the end: left out"] += len(session.ipus[who]) - len(ipus)
    if not ipus:
        not_held["participants who do not speak: a recording without supervisions, which fix_manifests removes"] += 1
        not_held["events of participants who do not speak: left out"] += len(session.events[who])
        return []
    words = session.words[who]
    not_held["participants without words: supervisions without text"] += words is None
    shares, outside = words_by_span(ipus, words or [], REACH_MS)
    not_held["words far from all speech: left out"] += len(outside)
    events = _events_by_ipu(ipus, session.events[who])
    return [
        _supervision(session, who, number, ipu, None if words is None else share, own, not_held)
        for number, (ipu, share, own) in enumerate(zip(ipus, shares, events, strict=True))
    ]


def _clipped(session: Session, row: TableRow) -> TableRow | None:
    """A row within the session; None if nothing is left."""
    start, end = max(0, row["start_ms"]), min(session.duration_ms, row["end_ms"])
    return {**row, "start_ms": start, "end_ms": end} if start < end else None


def _events_by_ipu(ipus: Rows, events: Rows) -> list[Rows]:
    """Each event with the unit that it overlaps most, or else the nearest; of equal ones the first."""
    groups: list[Rows] = [[] for _ in ipus]
    first = 0
    for event in events:
        while first + 1 < len(ipus) and ipus[first + 1]["start_ms"] <= event["start_ms"]:
            first += 1
        near = range(first, len(ipus))
        best, best_ms = first, None
        for i in near:
            shared = min(event["end_ms"], ipus[i]["end_ms"]) - max(event["start_ms"], ipus[i]["start_ms"])
            if best_ms is None or shared > best_ms:
                best, best_ms = i, shared
            if ipus[i]["start_ms"] > event["end_ms"]:
                break
        groups[best].append(event)
    return groups


def _supervision(
    session: Session, who: str, number: int, ipu: TableRow, words: Rows | None, events: Rows, not_held: Counter[str]
) -> dict[str, Any]:
    start, end = ipu["start_ms"], ipu["end_ms"]
    units = session.spec["units"][who][slice(*_range(units_touched(Span(start, end))))]
    custom: dict[str, Any] = {
        "session_id": session.session_id,
        "participant": who,
        "split": session.split,
        "candidate": ipu["candidate"],
        "short": ipu["short"],
        "rule_version": ipu["rule_version"],
        "audio_mixed": any(unit[AUDIO_MIXED] for unit in units) or _in_spans(start, end, session.tracks[who]["mixed"]),
    }
    visible = [unit[VIDEO_VISIBLE] for unit in units]
    if None not in visible:
        custom["video_visible"] = all(visible)
    turn = next((t for t in session.turns[who] if t["start_ms"] <= start and end <= t["end_ms"]), None)
    if turn is not None:
        custom["turn"] = {
            "start": ms_to_seconds(turn["start_ms"]),
            "end": ms_to_seconds(turn["end_ms"]),
            **{name: turn[name] for name in ("is_primary", "complete") if turn[name] is not None},
        }
    if events:
        custom["events"] = [_event(event) for event in events]
    supervision: dict[str, Any] = {
        "id": f"{recording_id(session, who)}.{number:05d}",
        "recording_id": recording_id(session, who),
        "start": ms_to_seconds(start),
        "duration": ms_to_seconds(end - start),
        "channel": 0,
        "language": session.language(who),
        "speaker": session.tracks[who]["speaker_id"],
        "custom": custom,
    }
    if words is not None:
        timed = [word for word in (_clipped(session, row) for row in words) if word is not None]
        not_held["words without length, or past the end: in the text, without times"] += len(words) - len(timed)
        supervision["text"] = " ".join(word["word"] for word in words)
        supervision["alignment"] = {
            "word": [
                [
                    word["word"],
                    ms_to_seconds(word["start_ms"]),
                    ms_to_seconds(word["end_ms"] - word["start_ms"]),
                    round(word["confidence"], 4),
                ]
                for word in timed
            ]
        }
    return supervision


def _range(units: range) -> tuple[int, int]:
    return units.start, units.stop


def _in_spans(start_ms: int, end_ms: int, spans: Sequence[Mapping[str, int]]) -> bool:
    return any(span["start_ms"] < end_ms and start_ms < span["end_ms"] for span in spans)


def _event(row: TableRow) -> dict[str, Any]:
    times = {"start": ms_to_seconds(row["start_ms"]), "end": ms_to_seconds(row["end_ms"])}
    fields = {name: row[name] for name in EVENT_FIELDS if row[name] is not None}
    return times | fields | {"confidence": round(row["confidence"], 4)}


def next_step(out: Path) -> str:
    place, split = out.resolve(), first_split(out, "")
    return (
        "in Python, with lhotse:\n"
        "  from lhotse import CutSet, RecordingSet, SupervisionSet\n"
        f'  recordings = RecordingSet.from_file("{place}/{split}/recordings.jsonl.gz").with_path_prefix("{place}")\n'
        f'  supervisions = SupervisionSet.from_file("{place}/{split}/supervisions.jsonl.gz")\n'
        "  cuts = CutSet.from_manifests(recordings=recordings, supervisions=supervisions)"
    )


LHOTSE = Format(
    name="lhotse",
    meaning="Lhotse manifests: recordings and films, speech with words, turns and events",
    tables=("sessions", "tracks", "words", "units", "ipus", "turns", "events"),
    optional_tables=("quality",),
    num_bytes=num_bytes,
    write_session=write_session,
    next_step=next_step,
)
