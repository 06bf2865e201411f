"""Checks the files of earlier stages before they are used: damaged data must not look like new data."""

from collections.abc import Mapping
from pathlib import Path

from pipelines.engine.files import file_sha256
from pipelines.engine.jobs import Damaged
from pipelines.engine.state import note_damage
from wanstreamer.errors import InputError


def check_files(data: Path, stage: str, files: Mapping[str, str]) -> None:
    """Raises Damaged if a file below the data folder is not what `stage` wrote. `files`: path -> sha256."""
    for name, expected in files.items():
        try:
            actual = file_sha256(data / name)
        except FileNotFoundError as error:
            raise Damaged(stage, f"{name}: no such file") from error
        if actual != expected:
            raise Damaged(stage, f"{name}: its checksum differs")


def require_media(data: Path, track: Mapping[str, str | None], *kinds: str) -> None:
    """For stages that do not work session by session: check the media of these kinds (audio, video) of a track.

    Raises InputError if a file is not what ingest wrote; ingest then knows that the session is undone.
    """
    wanted = {
        path: sha256 for kind in kinds for path, sha256 in media_of(track).items() if path == track[f"{kind}_path"]
    }
    try:
        check_files(data, "ingest", wanted)
    except Damaged as damaged:
        note_damage(data, damaged.stage, str(track["session_id"]))
        raise InputError(
            f"{damaged.detail}; run ingest again, it repairs this (make repro, or python -m pipelines.ingest)"
        ) from damaged


def media_of(track: Mapping[str, str | None]) -> dict[str, str]:
    """The files of a row of `tracks`, with their hashes."""
    paths = ((track[f"{kind}_path"], track[f"{kind}_sha256"]) for kind in ("audio", "video"))
    return {path: sha256 for path, sha256 in paths if path is not None and sha256 is not None}
