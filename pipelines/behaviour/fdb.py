"""What the model did with recorded users -> folders that Full-Duplex-Bench v1.0 scores (its `v1_v1.5/evaluation`).

    DIR/pause_handling/ID/     input.wav  output.wav  output.json  pause.json
    DIR/turn_taking/ID/        ...                                 turn_taking.json
    DIR/user_interruption/ID/  ...                                 interrupt.json
    DIR/backchannel/ID/        ...                                 nothing: the user's turn

`input.wav` is the user and `output.wav` the model, cut around one thing that the user did, on one clock. `output.json`
has the words of the model's text with times of its units (160 ms); the benchmark's own are those of a recogniser, which
may replace the file. Texts of the user are empty: a run has no words of the user.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipelines.behaviour.recorded import View
from pipelines.engine.files import write_bytes_atomic
from pipelines.media.tracks import write_wav
from wanstreamer.clock import UNIT_MS, ms_to_seconds
from wanstreamer.errors import InputError

BEFORE_MS = 2000  # of the user before a pause or an interruption
AFTER_MS = 5000  # in which the model may answer
TASKS = {
    "pause": "pause_handling", "turn_end": "turn_taking", "interruption": "user_interruption",
    "backchannel": "backchannel",
}  # fmt: skip


class TimedWord(NamedTuple):
    text: str
    start_ms: int
    end_ms: int


class Clip(NamedTuple):
    """A part of a conversation: `start_ms` to `end_ms`, and what its task's file says (None: no such file)."""

    task: str
    start_ms: int
    end_ms: int
    name: str | None
    content: Sequence[Mapping[str, Any]]


def clips_of(view: View, first_ms: int, last_ms: int) -> list[Clip]:
    """The clips of one conversation, between the given history and the end of the run."""
    clips = []
    onsets_ms = [span.start_ms for span in view.user_speech]
    for kind, start_ms, end_ms in ((one.kind, one.start_ms, one.end_ms) for one in view.stimuli):
        if kind not in ("pause", "turn_end", "interruption") or start_ms < first_ms or end_ms >= last_ms:
            continue
        begin_ms = max(first_ms, start_ms - (0 if kind == "turn_end" else BEFORE_MS))
        until_ms = min([end_ms + AFTER_MS, last_ms, *(onset for onset in onsets_ms if onset > end_ms)])
        if kind == "pause":
            mark = {"text": "[PAUSE]", "timestamp": _seconds(begin_ms, start_ms, end_ms)}
            clips.append(Clip("pause_handling", begin_ms, end_ms, "pause.json", [mark]))
        elif kind == "turn_end":
            mark = {"text": "[TURN-TAKING]", "timestamp": _seconds(begin_ms, end_ms, until_ms)}
            clips.append(Clip("turn_taking", begin_ms, until_ms, "turn_taking.json", [mark]))
            clips.append(Clip("backchannel", start_ms, end_ms, None, []))
        else:
            mark = {"context": "", "interrupt": "", "timestamp": _seconds(begin_ms, start_ms, end_ms)}
            clips.append(Clip("user_interruption", begin_ms, until_ms, "interrupt.json", [mark]))
    return clips


def write_fdb(
    folder: Path,
    views: Sequence[View],
    user_BT: np.ndarray,
    agent_BT: np.ndarray,
    rate_hz: int,
    words: Sequence[Sequence[TimedWord]] | None,
    *,
    given_units: int,
    num_units: int,
) -> dict[str, int]:
    """Write one folder per clip; returns how many there are of each task, and `views_not_shown`.

    Only conversations whose two people agreed to `show` are written. Raises InputError if the folder is not empty.
    """
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"--write fdb {folder}: not empty; name another folder, or remove it")
    counts: Counter[str] = Counter(dict.fromkeys(TASKS.values(), 0))
    for place, view in enumerate(views):
        if not view.may_show:
            counts["views_not_shown"] += 1
            continue
        last_ms = min(view.num_units, num_units) * UNIT_MS
        for clip in clips_of(view, given_units * UNIT_MS, last_ms):
            own = folder / clip.task / f"{view.session_id}-{view.agent}-{clip.start_ms:07d}"
            own.mkdir(parents=True, exist_ok=True)
            part = slice(clip.start_ms * rate_hz // 1000, clip.end_ms * rate_hz // 1000)
            write_wav(own / "input.wav", user_BT[place, part], rate_hz)
            write_wav(own / "output.wav", agent_BT[place, part], rate_hz)
            if clip.name:
                _write_json(own / clip.name, clip.content)
            if words is not None:
                _write_json(own / "output.json", _output(words[place], clip))
            counts[clip.task] += 1
    return dict(counts)


def timed_words(tokens_KS: np.ndarray, text_of: Callable[[Sequence[int]], str], lead_units: int) -> list[TimedWord]:
    """Words of a conversation. Text leads the sound by `lead_units`; a piece with no blank before it continues one."""
    words: list[TimedWord] = []
    for unit, tokens in enumerate(tokens_KS.tolist()):
        start_ms = (unit + lead_units) * UNIT_MS
        for token in tokens:
            piece = text_of([token])
            if not piece.strip():
                continue
            if words and not piece[0].isspace():
                words[-1] = TimedWord(words[-1].text + piece, words[-1].start_ms, start_ms + UNIT_MS)
            else:
                words.append(TimedWord(piece.strip(), start_ms, start_ms + UNIT_MS))
    return words


def _output(words: Sequence[TimedWord], clip: Clip) -> dict[str, Any]:
    inside = [word for word in words if clip.start_ms <= word.start_ms < clip.end_ms]
    chunks = [
        {"text": word.text, "timestamp": _seconds(clip.start_ms, word.start_ms, min(word.end_ms, clip.end_ms))}
        for word in inside
    ]
    return {"text": " ".join(word.text for word in inside), "chunks": chunks}


def _seconds(begin_ms: int, start_ms: int, end_ms: int) -> list[float]:
    return [ms_to_seconds(start_ms - begin_ms), ms_to_seconds(end_ms - begin_ms)]


def _write_json(path: Path, content: object) -> None:
    write_bytes_atomic(path, (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode())
