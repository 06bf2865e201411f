"""People who asked to be forgotten: hashes of their ids in `<data>/forgotten.json`; ingest rejects them."""

import hashlib
import json
from pathlib import Path

from pipelines.engine.files import write_json_atomic


def speaker_hash(speaker_id: str) -> str:
    return hashlib.sha256(f"forgotten {speaker_id}".encode()).hexdigest()


def forgotten(data: Path) -> frozenset[str]:
    path = data / "forgotten.json"
    return frozenset(json.loads(path.read_text())["speakers"]) if path.is_file() else frozenset()


def is_forgotten(data: Path, speaker_id: str) -> bool:
    return speaker_hash(speaker_id) in forgotten(data)


def remember(data: Path, speaker_id: str) -> None:
    """From now on ingest rejects this person."""
    write_json_atomic(data / "forgotten.json", {"speakers": sorted(forgotten(data) | {speaker_hash(speaker_id)})})
