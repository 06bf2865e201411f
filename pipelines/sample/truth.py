"""What really happened in the sample -> Parquet tables under `truth/`, which no stage may read.

All times are on the session clock of the manifest's start offsets. In ingest, a session begins with its latest stream:
subtract `sessions.origin_ms` to compare with tracks and annotations.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.conversation.cast import Recording, Speaker
from pipelines.conversation.dialogue import Dialogue, Utterance, other
from pipelines.conversation.scene_kinds import KINDS
from pipelines.conversation.scene_picture import Picture, faces, shot_spans, visible
from pipelines.conversation.scenes import Scene

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
# Of recordings without named participants. In their speech and words, participants are a, b, ... by first words; people
# without a word come after those who speak.
SCENE_TABLES: dict[str, dict[str, pa.DataType]] = {
    # `rejection`: the right one, empty for a conversation of two; of a broken recording, another may be right as well.
    "scenes": {
        "session_id": TEXT, "kind": TEXT, "file": TEXT, "rejection": TEXT, "is_broken": FLAG, "width": MS, "height": MS,
        "duration_ms": MS,
    },
    "shots": {"session_id": TEXT, "start_ms": MS, "end_ms": MS},
    "visible": SPAN,  # who is somewhere in the picture
    # Five times a second, from the hairline to the chin, in pixels. A person may be seen twice; the face of a poster is
    # that of the participant `poster`.
    "faces": {
        "session_id": TEXT, "participant": TEXT, "time_ms": MS, "left": REAL, "top": REAL, "right": REAL,
        "bottom": REAL,
    },
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


def scene_rows(
    scene: Scene, file: str, dialogue: Dialogue, people: Mapping[str, Speaker], picture: Picture | None
) -> Rows:  # fmt: skip
    """All facts of a scene. Turns and what follows from them are those of a conversation of two."""
    kind = KINDS[scene.kind]
    session = {"session_id": scene.session_id}
    rows: Rows = {name: [] for name in [*TABLES, *SCENE_TABLES]}
    if kind.rejection == "":
        rows |= dialogue_rows(scene.session_id, dialogue)
    else:
        rows["speech"], rows["words"] = [], []
    speakers = sorted({utterance.participant for utterance in dialogue.utterances})
    for participant in speakers if kind.rejection else speakers[2:]:
        where = session | {"participant": participant}
        rows["speech"] += [where | {"start_ms": s.start_ms, "end_ms": s.end_ms} for s in dialogue.speech(participant)]
        rows["words"] += [
            where | {"start_ms": w.start_ms, "end_ms": w.end_ms, "word": w.text, "role": "turn"}
            for w in dialogue.words(participant)
        ]
    rows["sessions"] = [
        session | {
            "split": "", "layout": scene.kind, "truncated": False, "origin_ms": 0, "duration_ms": scene.seconds * 1000,
        }
    ]  # fmt: skip
    rows["tracks"] = [
        session | {
            "participant": participant, "speaker_id": people[participant].speaker_id,
            "voice": people[participant].voice.name, "container": scene.container, "audio_codec": scene.audio_codec,
            "frame_rate": scene.frame_rate, "rate_hz": scene.rate_hz, "start_offset_ms": 0, "noise_db": None,
            "bleed_db": None,
        }
        for participant in speakers
    ]  # fmt: skip
    rows["scenes"] = [
        session | {
            "kind": scene.kind, "file": file, "rejection": kind.rejection, "is_broken": kind.is_broken,
            "width": scene.width, "height": scene.height, "duration_ms": scene.seconds * 1000,
        }
    ]  # fmt: skip
    if picture is not None:
        rows["shots"] = [session | {"start_ms": s.start_ms, "end_ms": s.end_ms} for s in shot_spans(picture)]
        rows["visible"] = [
            session | {"participant": name, "start_ms": s.start_ms, "end_ms": s.end_ms}
            for name, spans in visible(picture).items()
            for s in spans
        ]
        rows["faces"] = [
            session | {"participant": face.name, "time_ms": face.time_ms} | face.box._asdict()
            for face in faces(picture)
        ]
    return rows


def _meets_speech(dialogue: Dialogue, participant: str, utterance: Utterance) -> bool:
    return any(
        span.start_ms < utterance.end_ms and span.end_ms > utterance.start_ms for span in dialogue.speech(participant)
    )


def write_truth(folder: Path, rows: Rows) -> None:
    """One Parquet file per table of `rows`, sorted by session, participant and time."""
    folder.mkdir(parents=True)
    for name, columns in (TABLES | SCENE_TABLES).items():
        if name not in rows:
            continue
        schema = pa.schema(list(columns.items()))
        keys = ("session_id", "participant", "start_ms", "time_ms")
        order = [(column, "ascending") for column in keys if column in columns]
        table = pa.Table.from_pylist(rows[name], schema=schema).sort_by(order)
        pq.write_table(table, folder / f"{name}.parquet", compression="zstd")


def add_rows(rows: Rows, more: Iterable[Rows]) -> Rows:
    """All rows together, table by table."""
    total = {name: list(some) for name, some in rows.items()}
    for own in more:
        for name, some in own.items():
            total.setdefault(name, []).extend(some)
    return total
