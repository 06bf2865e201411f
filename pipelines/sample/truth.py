"""What really happened in the sample -> Parquet tables under `truth/`, which no stage may read.

All times are on the session clock of the manifest's start offsets. In ingest, a session begins with its latest stream:
subtract `sessions.origin_ms` to compare with tracks and annotations.
"""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.conversation.cast import Recording
from pipelines.conversation.dialogue import Dialogue, Utterance, other

MS, TEXT, FLAG, REAL = pa.int64(), pa.string(), pa.bool_(), pa.float64()
WHERE = {"session_id": TEXT, "participant": TEXT, "start_ms": MS}
SPAN = WHERE | {"end_ms": MS}
TABLES: dict[str, dict[str, pa.DataType]] = {
    "sessions": {
        "session_id": TEXT, "split": TEXT, "layout": TEXT, "truncated": FLAG, "origin_ms": MS, "duration_ms": MS,
    },
    "tracks": {
        "session_id": TEXT, "participant": TEXT, "speaker_id": TEXT, "voice": TEXT,
        "container": TEXT, "audio_codec": TEXT,
        "frame_rate": TEXT, "rate_hz": MS, "start_offset_ms": MS, "noise_db": REAL, "bleed_db": REAL,
    },
    "speech": SPAN,  # where the clean voice has sound; silences up to 120 ms are closed
    "words": SPAN | {"word": TEXT, "role": TEXT},
    "turns": SPAN | {"role": TEXT, "text": TEXT, "about": TEXT, "asks": FLAG, "complete": FLAG, "num_words": MS},
    "backchannels": SPAN | {"text": TEXT, "in_pause": FLAG},
    # At each onset of a turn or attempt, except a session's first and the onset after both stopped.
    "transitions": WHERE | {
        "label": TEXT, "outcome": TEXT, "holder": TEXT, "yielder": TEXT, "yield_ms": MS, "fto_ms": MS, "other": TEXT,
    },
    # A thing held up, and when the other began to speak about it.
    "shown": SPAN | {"thing": TEXT, "colour": TEXT, "comment_start_ms": MS},
    "answers": SPAN | {"text": TEXT, "fact": TEXT, "question": TEXT, "question_end_ms": MS, "is_short": FLAG},
}  # fmt: skip

Rows = dict[str, list[dict[str, Any]]]


def recording_rows(recording: Recording) -> Rows:
    """Facts of a recording: its session and its tracks."""
    session = {
        "session_id": recording.session_id, "split": recording.split, "layout": recording.layout,
        "truncated": recording.is_truncated, "origin_ms": max(s.start_offset_ms for s in recording.streams),
        "duration_ms": recording.seconds * 1000,
    }  # fmt: skip
    tracks = [
        {
            "session_id": recording.session_id, "participant": stream.participant, "voice": stream.speaker.voice.name,
            "speaker_id": stream.speaker.speaker_id, "container": stream.container, "audio_codec": stream.audio_codec,
            "frame_rate": stream.frame_rate, "rate_hz": stream.rate_hz, "start_offset_ms": stream.start_offset_ms,
            "noise_db": stream.noise_db, "bleed_db": stream.bleed_db,
        }
        for stream in recording.streams
    ]  # fmt: skip
    return {"sessions": [session], "tracks": tracks}


def dialogue_rows(session_id: str, dialogue: Dialogue) -> Rows:
    """All speech and events of a session."""
    rows: Rows = {name: [] for name in TABLES}
    for participant in "ab":
        where = {"session_id": session_id, "participant": participant}
        rows["speech"] += [where | {"start_ms": s.start_ms, "end_ms": s.end_ms} for s in dialogue.speech(participant)]
        for utterance in dialogue.of(participant):
            span = where | {"start_ms": utterance.start_ms, "end_ms": utterance.end_ms}
            rows["words"] += [
                where | {"start_ms": w.start_ms, "end_ms": w.end_ms, "word": w.text, "role": utterance.kind}
                for w in utterance.words
            ]
            if utterance.kind == "backchannel":
                in_pause = not _meets_speech(dialogue, other(participant), utterance)
                rows["backchannels"].append(span | {"text": utterance.text, "in_pause": in_pause})
                continue
            rows["turns"].append(
                span | {
                    "role": utterance.kind, "text": utterance.text, "about": utterance.about, "asks": utterance.asks,
                    "complete": not utterance.is_broken, "num_words": len(utterance.words),
                }
            )  # fmt: skip
    for t in dialogue.transitions:
        rows["transitions"].append(
            {
                "session_id": session_id, "participant": t.participant, "start_ms": t.start_ms, "label": t.label,
                "outcome": t.outcome, "holder": t.holder, "yielder": t.yielder, "yield_ms": t.yield_ms,
                "fto_ms": t.fto_ms, "other": other(t.participant),
            }
        )  # fmt: skip
    for s in dialogue.showings:
        rows["shown"].append(
            {
                "session_id": session_id, "participant": s.participant, "start_ms": s.start_ms, "end_ms": s.end_ms,
                "thing": s.thing, "colour": s.colour, "comment_start_ms": s.comment_start_ms,
            }
        )  # fmt: skip
    for a in dialogue.answers:
        rows["answers"].append(
            {
                "session_id": session_id, "participant": a.participant, "start_ms": a.start_ms, "end_ms": a.end_ms,
                "text": a.text, "fact": a.fact, "question": a.question, "question_end_ms": a.question_end_ms,
                "is_short": a.is_short,
            }
        )  # fmt: skip
    return rows


def _meets_speech(dialogue: Dialogue, participant: str, utterance: Utterance) -> bool:
    return any(
        span.start_ms < utterance.end_ms and span.end_ms > utterance.start_ms for span in dialogue.speech(participant)
    )


def write_truth(folder: Path, rows: Rows) -> None:
    """One Parquet file per table, sorted by session, participant and time."""
    folder.mkdir(parents=True)
    for name, columns in TABLES.items():
        schema = pa.schema(list(columns.items()))
        order = [(column, "ascending") for column in ("session_id", "participant", "start_ms") if column in columns]
        table = pa.Table.from_pylist(rows[name], schema=schema).sort_by(order)
        pq.write_table(table, folder / f"{name}.parquet", compression="zstd")
