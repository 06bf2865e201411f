"""moshi-finetune: one stereo WAV per role view (left: the agent, right: the user), with the words' times beside it.

    OUT/train.jsonl                            {"path": "data_stereo/80/talk-0000-a.wav", "duration": 44.48}
    OUT/data_stereo/80/talk-0000-a.wav
    OUT/data_stereo/80/talk-0000-a.json        {"alignments": [["hello", [0.52, 0.8], "SPEAKER_MAIN"], ...]}

The trainer reads the words of SPEAKER_MAIN, the agent; the user's are there under SPEAKER_USER. Its reader searches the
words by their start and drops those that end where they start; so words are sorted, and such words are left out and
counted. (Source: moshi-finetune, README.md and finetune/data.)
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from pipelines.engine.buckets import track_folder
from pipelines.engine.jobs import Rejected
from tools.exchange.json_forms import MOSHI_MAIN
from tools.export.form import Choices, Format, Piece, first_split
from tools.export.session import Session
from tools.export.sound import write_stereo
from tools.export.views import NO_VIEW, num_bytes, sounding_views
from wanstreamer.clock import ms_to_seconds, samples_per_unit

MOSHI_USER = "SPEAKER_USER"
TABLES = ("sessions", "tracks", "words", "units")


def write_session(session: Session, folder: Path, choices: Choices) -> Piece:
    piece = Piece()
    rate_hz = session.rate_hz()
    for view in sounding_views(session, choices, piece.not_held):
        place = f"data_stereo/{track_folder(session.session_id)}/{session.view_id(view.agent, view.user)}"
        write_stereo(folder / f"{place}.wav", session, view.agent_path, view.user_path, rate_hz, view.user_masked)
        alignments = _alignments(session, view.agent, view.user, piece.not_held)
        content = json.dumps({"alignments": alignments}, ensure_ascii=False) + "\n"
        (folder / f"{place}.json").write_text(content, encoding="utf-8")
        duration = session.num_units * samples_per_unit(rate_hz) / rate_hz
        line = json.dumps({"path": f"{place}.wav", "duration": duration}, ensure_ascii=False)
        piece.lines.setdefault(f"{session.split}.jsonl", []).append(line)
    if not piece.lines:
        raise Rejected("no_view", NO_VIEW)
    _count(session, piece.not_held)
    return piece


def _alignments(session: Session, agent: str, user: str, not_held: Counter[str]) -> list[list[Any]]:
    """[word, [start, end], speaker] by start, in seconds of the file."""
    alignments: list[tuple[int, int, str, str]] = []
    for who, speaker in ((agent, MOSHI_MAIN), (user, MOSHI_USER)):
        words = session.words[who]
        if words is None:
            not_held[f"role views without words of the {'agent' if who == agent else 'user'}"] += 1
        for word in words or ():
            start, end = max(0, word["start_ms"]), min(session.duration_ms, word["end_ms"])
            if end <= start:
                not_held["words without length, or past the end: left out"] += 1
            else:
                alignments.append((start, end, word["word"], speaker))
    return [
        [word, [ms_to_seconds(start), ms_to_seconds(end)], speaker] for start, end, word, speaker in sorted(alignments)
    ]


def _count(session: Session, not_held: Counter[str]) -> None:
    num_events = sum(len(own) for own in session.events.values())
    not_held["events: backchannels, transitions, pauses, overlaps, other sounds"] += num_events
    not_held["turns"] += sum(len(own) for own in session.turns.values())
    not_held["words whose times do not fit the speech: left out"] += session.misplaced_words


def next_step(out: Path) -> str:
    return f'in the YAML of moshi-finetune:\n  data:\n    train_data: "{out.resolve() / first_split(out, ".jsonl")}"'


MOSHI = Format(
    name="moshi",
    meaning="moshi-finetune: a stereo WAV per role view, with the times of the words",
    tables=(*TABLES, "turns", "events"),
    optional_tables=("quality",),
    num_bytes=num_bytes,
    write_session=write_session,
    next_step=next_step,
)
