"""People who asked to be forgotten: hashes of their ids in `<data>/forgotten.json`; ingest rejects them."""

import hashlib
from pathlib import Path

from pipelines.engine.kept_lists import read_list, write_list

NAME, KIND = "forgotten.json", "speakers"


def speaker_hash(speaker_id: str) -> str:
    return hashlib.sha256(f"forgotten {speaker_id}".encode()).hexdigest()


def forgotten(data: Path) -> frozenset[str]:
    """Hashes of ids. Raises InputError if the list is damaged."""
    return frozenset(read_list(data / NAME, KIND))


def is_forgotten(data: Path, speaker_id: str) -> bool:
    return speaker_hash(speaker_id) in forgotten(data)


def remember(data: Path, speaker_id: str) -> None:
    """From now on ingest rejects this person."""
    write_list(data / NAME, KIND, forgotten(data) | {speaker_hash(speaker_id)})
