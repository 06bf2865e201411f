"""NeMo's duplex speech-to-speech models: Lhotse Shar, cuts of each role view, one shard per session.

    OUT/train/cuts.0123456789abcdef.jsonl.gz        MonoCuts; supervisions of both, `speaker` is `user` or `agent`
    OUT/train/recording.0123456789abcdef.tar        FLAC of the user, muted where the windows mask it
    OUT/train/target_audio.0123456789abcdef.tar     FLAC of the agent

A shard is named by a hash of its session, so that a session is added or removed without a change of others. There is
one supervision per turn, and one per backchannel, which is no turn; NeMo lays their text from their start on, one token
per 80 ms, and cuts what is longer. Cuts are at most `--cut-seconds` long, as NeMo fills its batches by time.
(Source: NeMo, collections/speechlm2/data/s2s_dataset.py, examples/speechlm2/conf/s2s_duplex.yaml; lhotse 1.33, shar.)
"""

import io
import json
import tarfile
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import lru_cache
from gzip import GzipFile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipelines.engine.buckets import session_hash
from pipelines.engine.jobs import Rejected
from pipelines.engine.tables import TableRow
from pipelines.formats.tokenizer import TextTokenizer, load_tokenizer
from pipelines.media.lossless import write_flac
from tools.export.form import Choices, Format, Piece, first_split
from tools.export.session import Session
from tools.export.sound import unit_pieces
from tools.export.views import NO_VIEW, num_bytes, sounding_views
from wanstreamer.clock import UNIT_MS, Span, ms_to_seconds, samples_per_unit, seconds_to_ms
from wanstreamer.turns import TurnParams

FRAME_MS = 80  # of the model: one text token per frame
FIELDS = ("recording", "target_audio")
REACH_MS = TurnParams().ipu_gap_ms  # a word begins at most so long before the speech it belongs to


def write_session(session: Session, folder: Path, choices: Choices) -> Piece:
    piece = Piece()
    rate_hz = session.rate_hz()
    shard = session_hash(session.session_id)[:16]
    place = folder / session.split
    place.mkdir()
    cuts: list[dict[str, Any]] = []
    with ExitStack() as stack:
        tars = {field: stack.enter_context(tarfile.open(place / f"{field}.{shard}.tar", "w")) for field in FIELDS}
        for view in sounding_views(session, choices, piece.not_held):
            agent, user = view.agent, view.user
            said = {who: _said(session, who, piece.not_held) for who in (agent, user)}
            for role, who in (("user", user), ("agent", agent)):
                if session.words[who] is None:
                    piece.not_held[f"role views without words of the {role}: supervisions without text"] += 1
            for part in parts(session.num_units, [each for own in said.values() for each in own], choices.cut_seconds):
                name = f"{session.view_id(agent, user)}-{part.start:06d}"
                sounds = {
                    "recording": unit_pieces(view.user_path, session.num_units, rate_hz, view.user_masked, part),
                    "target_audio": unit_pieces(view.agent_path, session.num_units, rate_hz, None, part),
                }
                recordings = {
                    field: _placeholder(f"{name}.{role}", part, rate_hz)
                    for field, role in zip(FIELDS, ("user", "agent"), strict=True)
                }
                for field, pieces in sounds.items():
                    flac = folder / "sound.flac"
                    write_flac(flac, pieces, rate_hz)
                    _add_to_tar(tars[field], name, flac, recordings[field])
                    flac.unlink()
                cuts.append(_cut(session, name, part, {"user": user, "agent": agent}, said, recordings, piece.not_held))
                for supervision in cuts[-1]["supervisions"]:
                    duration_ms = seconds_to_ms(supervision["duration"])
                    if supervision["text"] and not fits(supervision["text"], duration_ms, choices.tokenizer):
                        piece.not_held["turns with more text than frames of 80 ms: NeMo cuts their text"] += 1
    if not cuts:
        raise Rejected("no_view", NO_VIEW)
    with (place / f"cuts.{shard}.jsonl.gz").open("wb") as raw, GzipFile("", "wb", fileobj=raw, mtime=0) as file:
        file.writelines(json.dumps(cut, ensure_ascii=False).encode() + b"\n" for cut in cuts)
    num_events = sum(len(own) for own in session.events.values())
    piece.not_held["events: transitions, pauses, overlaps, other sounds, what is known of backchannels"] += num_events
    piece.not_held["times of words"] += sum(len(words or ()) for words in session.words.values())
    return piece


def parts(num_units: int, said: Sequence["Said"], cut_seconds: int) -> list[range]:
    """The units of each cut. A cut ends where no one's turn goes on, if there is such a place in its second half."""
    most = cut_seconds * 1000 // UNIT_MS
    if not most or num_units <= most:
        return [range(num_units)]
    goes_on = np.zeros(num_units + 1, bool)  # at the beginning of a unit
    for each in said:
        goes_on[each.start_ms // UNIT_MS + 1 : -(-each.end_ms // UNIT_MS)] = True
    ranges: list[range] = []
    start = 0
    while num_units - start > most:
        half = start + most // 2 + 1
        silent = np.flatnonzero(~goes_on[half : start + most + 1])
        stop = half + int(silent[-1]) if len(silent) else start + most
        ranges.append(range(start, stop))
        start = stop
    return [*ranges, range(start, num_units)]


def _placeholder(name: str, part: range, rate_hz: int) -> dict[str, Any]:
    """A Recording whose sound is in a tar."""
    num_samples = len(part) * samples_per_unit(rate_hz)
    return {
        "id": name,
        "sources": [{"type": "shar", "channels": [0], "source": ""}],
        "sampling_rate": rate_hz,
        "num_samples": num_samples,
        "duration": num_samples / rate_hz,
        "channel_ids": [0],
    }


def _add_to_tar(tar: tarfile.TarFile, name: str, flac: Path, about: Mapping[str, Any]) -> None:
    """A member with the sound, then one with its manifest, as Shar's reader expects them."""
    member = tarfile.TarInfo(f"{name}.flac")  # time, owner and group are 0
    member.size = flac.stat().st_size
    with flac.open("rb") as file:
        tar.addfile(member, file)
    content = json.dumps(about, ensure_ascii=False).encode()
    member = tarfile.TarInfo(f"{name}.json")
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


class Said(NamedTuple):
    """A turn, or a unit of speech outside all turns: a backchannel."""

    start_ms: int
    end_ms: int
    text: str | None  # None: no transcript


def _cut(
    session: Session,
    name: str,
    part: range,
    whose: Mapping[str, str],
    said: Mapping[str, Sequence[Said]],
    recordings: Mapping[str, Any],
    not_held: Counter[str],
) -> dict[str, Any]:
    """A MonoCut of the units `part`. `whose`: role -> participant; `said`: by participant."""
    span = Span(part.start * UNIT_MS, part.stop * UNIT_MS)
    supervisions: list[dict[str, Any]] = []
    for role, who in whose.items():
        own = [each for each in said[who] if each.start_ms < span.end_ms and span.start_ms < each.end_ms]
        for number, each in enumerate(own):
            start, end = max(span.start_ms, each.start_ms), min(span.end_ms, each.end_ms)
            text = each.text
            if (start, end) != each[:2]:
                not_held["turns that go on in the next cut: divided between their words"] += start == each.start_ms
                text = None if text is None else _words_between(session, who, each, start, end)
            supervisions.append(
                {
                    "id": f"{name}.{role}.{number:05d}",
                    "recording_id": recordings["recording"]["id"],
                    "start": ms_to_seconds(start - span.start_ms),
                    "duration": ms_to_seconds(end - start),
                    "channel": 0,
                    "text": text or "",
                    "language": session.language(who),
                    "speaker": role,
                }
            )
    return {
        "id": name,
        "start": 0.0,
        "duration": recordings["recording"]["duration"],
        "channel": 0,
        "supervisions": sorted(supervisions, key=lambda each: (each["start"], each["id"])),
        "recording": recordings["recording"],
        "custom": {
            "target_audio": recordings["target_audio"],
            "session_id": session.session_id,
            "start_unit": part.start,
            **whose,
            "split": session.split,
        },
        "type": "MonoCut",
    }


def _words_between(session: Session, who: str, said: Said, start_ms: int, end_ms: int) -> str:
    """The words of a divided turn that begin in one of its parts; in the first, also those that begin early."""
    early = start_ms - REACH_MS if start_ms == said.start_ms else start_ms
    late = end_ms + REACH_MS if end_ms == said.end_ms else end_ms
    return " ".join(word["word"] for word in session.words[who] or () if early <= word["start_ms"] < late)


def _said(session: Session, who: str, not_held: Counter[str]) -> list[Said]:
    """Turns, and units outside all turns, in order."""
    pieces: list[tuple[TableRow, list[TableRow]]] = [(turn, []) for turn in session.turns[who]]
    alone: list[tuple[TableRow, list[TableRow]]] = []
    place = 0
    for ipu in session.ipus[who]:
        while place < len(pieces) and pieces[place][0]["end_ms"] < ipu["end_ms"]:
            place += 1
        if place < len(pieces) and pieces[place][0]["start_ms"] <= ipu["start_ms"]:
            pieces[place][1].append(ipu)
        else:
            alone.append((ipu, [ipu]))
    said: list[Said] = []
    for span, ipus in sorted([*pieces, *alone], key=lambda each: each[0]["start_ms"]):
        start, end = max(0, span["start_ms"]), min(session.duration_ms, span["end_ms"])
        if start >= end:
            not_held["turns past the end: left out"] += 1
            continue
        texts = [ipu["text"] for ipu in ipus if ipu["text"] is not None]
        said.append(Said(start, end, " ".join(text for text in texts if text) if texts else None))
    return said


def fits(text: str, duration_ms: int, tokenizer: str) -> bool:
    """Whether a text and its first token, BOS, have a frame each."""
    if tokenizer:
        num_tokens = sum(len(_tokenizer(tokenizer).encode_word(word)) for word in text.split())
    else:
        num_tokens = len(text.split())  # at least one token each
    return num_tokens + 1 <= duration_ms // FRAME_MS


@lru_cache(maxsize=1)
def _tokenizer(path: str) -> TextTokenizer:
    return load_tokenizer(Path(path))


def next_step(out: Path) -> str:
    return (
        "in NeMo's configuration of a duplex speech-to-speech model:\n"
        "  data:\n    input_roles: [user]\n    output_roles: [agent]\n    train_ds:\n      input_cfg:\n"
        f"        - type: lhotse_shar\n          shar_path: {out.resolve() / first_split(out, '')}"
    )


NEMO = Format(
    name="nemo",
    meaning="NeMo duplex speech-to-speech: Lhotse Shar with target_audio and the text of turns",
    tables=("sessions", "tracks", "words", "units", "ipus", "turns", "events"),
    optional_tables=("quality",),
    num_bytes=num_bytes,
    write_session=write_session,
    next_step=next_step,
)
