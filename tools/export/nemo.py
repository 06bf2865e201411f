"""NeMo's duplex speech-to-speech models: Lhotse Shar, one cut per role view, one shard per session.

    OUT/train/cuts.0123456789abcdef.jsonl.gz        MonoCuts; supervisions of both, `speaker` is `user` or `agent`
    OUT/train/recording.0123456789abcdef.tar        FLAC of the user, muted where the windows mask it
    OUT/train/target_audio.0123456789abcdef.tar     FLAC of the agent

A shard is named by a hash of its session, so that a session is added or removed without a change of others. There is
one supervision per turn, and one per backchannel, which is no turn; NeMo lays their text from their start on, one token
per 80 ms, and cuts what is longer. (Source: NeMo, collections/speechlm2/data/s2s_dataset.py; lhotse 1.33, shar.)
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
from typing import Any

from pipelines.engine.buckets import session_hash
from pipelines.engine.jobs import Rejected
from pipelines.engine.tables import TableRow
from pipelines.formats.tokenizer import TextTokenizer, load_tokenizer
from pipelines.media.lossless import write_flac
from tools.export.form import Choices, Format, Piece
from tools.export.moshi import count_masks
from tools.export.session import Session
from tools.export.sound import check_track, num_views, sound_bytes, unit_pieces
from wanstreamer.clock import ms_to_seconds, samples_per_unit

FRAME_MS = 80  # of the model: one text token per frame
FIELDS = ("recording", "target_audio")


def num_bytes(data: Path, tracks: Sequence[Mapping[str, Any]]) -> int:
    """Two channels of every role view, at most: FLAC is smaller."""
    return 2 * num_views(tracks) * sound_bytes(tracks)


def write_session(session: Session, folder: Path, choices: Choices) -> Piece:
    piece = Piece()
    rate_hz = session.rate_hz()
    paths = {
        who: check_track(session, who, "audio")
        for who, track in session.tracks.items()
        if track["audio_path"] is not None
    }
    shard = session_hash(session.session_id)[:16]
    place = folder / session.split
    place.mkdir()
    cuts: list[dict[str, Any]] = []
    with ExitStack() as stack:
        tars = {field: stack.enter_context(tarfile.open(place / f"{field}.{shard}.tar", "w")) for field in FIELDS}
        for agent, user in session.views():
            masked = session.masked(agent, user, choices.masks)
            if agent not in paths or masked["agent"].all():
                piece.not_held["role views without a sound that is the agent's own: left out"] += 1
                continue
            name = session.view_id(agent, user)
            recording = _placeholder(session, f"{name}.user", rate_hz)
            target = _placeholder(session, f"{name}.agent", rate_hz)
            sounds = {
                "recording": (recording, unit_pieces(paths.get(user), session.num_units, rate_hz, masked["user"])),
                "target_audio": (target, unit_pieces(paths[agent], session.num_units, rate_hz, None)),
            }
            for field, (about, pieces) in sounds.items():
                flac = folder / "sound.flac"
                write_flac(flac, pieces, rate_hz)
                _add_to_tar(tars[field], name, flac, about)
                flac.unlink()
            cuts.append(_cut(session, name, agent, user, recording, target, choices, piece.not_held))
            count_masks(piece.not_held, masked)
            piece.not_held["role views: video"] += any(session.path(who, "video") for who in (agent, user))
    if not cuts:
        raise Rejected("no_view", "in no role view is the agent's sound its own")
    with (place / f"cuts.{shard}.jsonl.gz").open("wb") as raw, GzipFile("", "wb", fileobj=raw, mtime=0) as file:
        file.writelines(json.dumps(cut, ensure_ascii=False).encode() + b"\n" for cut in cuts)
    num_events = sum(len(own) for own in session.events.values())
    piece.not_held["events: transitions, pauses, overlaps, other sounds, what is known of backchannels"] += num_events
    piece.not_held["times of words"] += sum(len(words or ()) for words in session.words.values())
    return piece


def _placeholder(session: Session, name: str, rate_hz: int) -> dict[str, Any]:
    """A Recording whose sound is in a tar."""
    num_samples = session.num_units * samples_per_unit(rate_hz)
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


def _cut(
    session: Session,
    name: str,
    agent: str,
    user: str,
    recording: Mapping[str, Any],
    target: Mapping[str, Any],
    choices: Choices,
    not_held: Counter[str],
) -> dict[str, Any]:
    supervisions: list[dict[str, Any]] = []
    for role, who in (("user", user), ("agent", agent)):
        if session.words[who] is None:
            not_held[f"role views without words of the {role}: supervisions without text"] += 1
        for number, (start, end, text) in enumerate(_said(session, who, not_held)):
            if text and not fits(text, end - start, choices.tokenizer):
                not_held["turns with more text than frames of 80 ms: NeMo cuts their text"] += 1
            supervisions.append(
                {
                    "id": f"{name}.{role}.{number:05d}",
                    "recording_id": recording["id"],
                    "start": ms_to_seconds(start),
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
        "duration": recording["duration"],
        "channel": 0,
        "supervisions": sorted(supervisions, key=lambda each: (each["start"], each["id"])),
        "recording": recording,
        "custom": {
            "target_audio": target,
            "session_id": session.session_id,
            "agent": agent,
            "user": user,
            "split": session.split,
        },
        "type": "MonoCut",
    }


def _said(session: Session, who: str, not_held: Counter[str]) -> list[tuple[int, int, str | None]]:
    """(start_ms, end_ms, text) of turns, and of units outside all turns: backchannels. Text None: no transcript."""
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
    said: list[tuple[int, int, str | None]] = []
    for span, ipus in sorted([*pieces, *alone], key=lambda each: each[0]["start_ms"]):
        start, end = max(0, span["start_ms"]), min(session.duration_ms, span["end_ms"])
        if start >= end:
            not_held["turns past the end: left out"] += 1
            continue
        texts = [ipu["text"] for ipu in ipus if ipu["text"] is not None]
        said.append((start, end, " ".join(text for text in texts if text) if texts else None))
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
        "  data:\n    train_ds:\n      input_cfg:\n        - type: lhotse_shar\n"
        f"          shar_path: {out.resolve() / 'train'}\n"
        "      input_roles: [user]\n      output_roles: [agent]"
    )


NEMO = Format(
    name="nemo",
    meaning="NeMo duplex speech-to-speech: Lhotse Shar with target_audio and the text of turns",
    tables=("sessions", "tracks", "quality", "words", "units", "ipus", "turns", "events"),
    num_bytes=num_bytes,
    write_session=write_session,
    next_step=next_step,
)
