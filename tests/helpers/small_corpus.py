"""A data folder as it lies after encode, made directly: tables and the latent shard of a few short dyads.

Latents carry their own address (session, participant, unit), so that a test can say which unit it looks at.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipelines.engine import run as stage
from pipelines.engine.files import file_sha256
from pipelines.engine.tables import to_table, write_table
from pipelines.formats.npy_tar import Place, npy_tar
from schemas import TABLES
from tests.helpers.paths import track_path
from wanstreamer.clock import UNIT_MS

AUDIO_SHAPE, VIDEO_SHAPE = (4, 3), (2, 3, 4)
VAE_HASH = "c" * 64


@dataclass(kw_only=True)
class Person:
    """One track: words are (word, start_ms, end_ms), speech is units with voice."""

    words: list[tuple[str, int, int]] | None = field(default_factory=list)
    speech_units: set[int] = field(default_factory=set)
    mixed: list[tuple[int, int]] = field(default_factory=list)
    hidden_units: set[int] = field(default_factory=set)  # in which the video does not show the person
    bleed_db: float | None = None
    attributed: bool = True
    has_audio: bool = True
    has_video: bool = True
    speaker_id: str = ""
    consent: list[str] | None = None
    partners: list[str] | None = None


def keep_in_process(patch: pytest.MonkeyPatch, done: list[str] | None = None) -> None:
    """Let jobs run here, through the same worker: a cluster takes seconds to start. Their keys are added to `done`."""

    def run_here(feed, worker, **_):
        for row in feed():
            if done is not None:
                done.append(row["key"])
            yield worker(row)

    patch.setattr(stage, "map_rows", run_here)


def latent(index: int, num_units: int, shape: tuple[int, ...]) -> np.ndarray:
    """float16 (num_units, *shape): 1 + index + unit / 100 everywhere, never zero."""
    units = (1 + index + np.arange(num_units) / 100).astype(np.float16)
    return np.ascontiguousarray(np.broadcast_to(units.reshape(-1, *[1] * len(shape)), (num_units, *shape)))


def write_corpus(
    data: Path,
    sessions: dict[str, tuple[str, int, dict[str, Person]]],
    latents: dict[tuple[str, str], tuple[np.ndarray, np.ndarray]] | None = None,
    vae_hashes: tuple[str, str] = (VAE_HASH, VAE_HASH),
) -> None:
    """sessions: id -> (split, num_units, participant -> Person); latents: (id, participant) -> audio and video."""
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in ("sessions", "tracks", "words", "units", "latents")}
    arrays: dict[str, np.ndarray] = {}  # by name of the member
    for number, (key, (split, num_units, people)) in enumerate(sorted(sessions.items())):
        rows["sessions"].append(
            {
                "session_id": key,
                "split": split,
                "layout": "per_participant",
                "language": "en",
                "licence": "CC0-1.0",
                "num_participants": len(people),
                "num_units": num_units,
                "duration_ms": num_units * UNIT_MS,
                "source_sha256": "s" * 64,
            }
        )
        for place, (who, person) in enumerate(sorted(people.items())):
            index = 2 * number + place
            own = (latent(index, num_units, AUDIO_SHAPE), latent(index, num_units, VIDEO_SHAPE))
            for kind, array in zip(("audio", "video"), latents[key, who] if latents else own, strict=True):
                arrays[f"{key}.{who}.{kind}.npy"] = array
            _person_rows(rows, key, split, num_units, who, person, vae_hashes)
    shard, places = _write_latents(data, arrays)
    for row in rows["latents"]:
        row["shard"] = shard
        for kind in ("audio", "video"):
            member = row[f"{kind}_member"]
            row[f"{kind}_offset"] = places[member].npy_offset if member else None
            row[f"{kind}_sha256"] = places[member].sha256() if member else None
    for row in rows["tracks"]:  # media that a test has written before have their true hashes
        for kind in ("audio", "video"):
            if row[f"{kind}_path"] and (data / row[f"{kind}_path"]).is_file():
                row[f"{kind}_sha256"] = file_sha256(data / row[f"{kind}_path"])
    for name, table_rows in rows.items():
        write_table(data, name, to_table(name, [_filled(name, row) for row in table_rows]))


def _write_latents(data: Path, arrays: dict[str, np.ndarray]) -> tuple[str, dict[str, Place]]:
    """Write the shard of all sessions; returns its path below the data folder, and the place of each member."""
    folder = data / "latents"
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / ".tar"
    with npy_tar(temporary, {name: array.shape for name, array in arrays.items()}, "float16") as tar:
        for name, array in arrays.items():
            tar.write(name, 0, array)
    final = folder / f"0000-{file_sha256(temporary)[:16]}.tar"
    temporary.rename(final)
    return f"latents/{final.name}", {name: replace(place, path=final) for name, place in tar.places.items()}


def _filled(table: str, row: dict[str, Any]) -> dict[str, Any]:
    """Columns that pack does not read get the emptiest value they may have."""
    empty = {
        field.name: None if field.nullable else pa.scalar(0, pa.int8()).cast(field.type).as_py()
        for field in TABLES[table].fields
        if field.name not in row
    }
    return {**row, **empty}


def _person_rows(
    rows: dict[str, list[dict[str, Any]]],
    key: str,
    split: str,
    num_units: int,
    who: str,
    person: Person,
    vae_hashes: tuple[str, str],
) -> None:
    ids = {"session_id": key, "participant": who}
    rows["tracks"].append(
        {
            **ids,
            "speaker_id": person.speaker_id or f"{key}-{who}",
            "split": split,
            "licence": "CC0-1.0",
            "consent": person.consent,
            "partners": person.partners,
            "language": "en",
            "num_units": num_units,
            "video_path": track_path(key, who, "mp4") if person.has_video else None,
            "video_sha256": "v" * 64 if person.has_video else None,
            "width": 64 if person.has_video else None,
            "height": 48 if person.has_video else None,
            "audio_path": track_path(key, who, "wav") if person.has_audio else None,
            "audio_sha256": "a" * 64 if person.has_audio else None,
            "rate_hz": 16000 if person.has_audio else None,
            "words_sha256": None if person.words is None else "w" * 64,
            "mixed": [{"start_ms": start, "end_ms": end} for start, end in person.mixed],
            "attributed": person.attributed,
        }
    )
    for index, (word, start_ms, end_ms) in enumerate(person.words or []):
        rows["words"].append(
            {
                **ids,
                "start_ms": start_ms,
                "end_ms": end_ms,
                "index": index,
                "word": word,
                "source": "sidecar",
                "confidence": 1.0,
                "times_fit": True,
            }
        )
    for unit in range(num_units):
        rows["units"].append(
            {
                **ids,
                "unit": unit,
                "speech_ms": UNIT_MS if unit in person.speech_units else 0,
                "holds_floor": False,
                "turn_begins_in": None,
                "turn_ends_in": None,
                "interruption_role": None,
                "backchannel": False,
                "silence_ms": None,
                "audio_mixed": False,
                "bleed_db": person.bleed_db,
                "bleed_heard": False,
                "video_visible": unit not in person.hidden_units if person.has_video else None,
            }
        )
    rows["latents"].append(
        {
            **ids,
            "num_units": num_units,
            "audio_member": f"{key}.{who}.audio.npy" if person.has_audio else None,
            "video_member": f"{key}.{who}.video.npy" if person.has_video else None,
            "audio_codec": vae_hashes[0] if person.has_audio else None,
            "video_codec": vae_hashes[1] if person.has_video else None,
            "audio_std": 1.0 if person.has_audio else None,
            "video_std": 1.0 if person.has_video else None,
        }
    )
