"""Where the project lies, and where tracks lie in a data folder."""

import hashlib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def track_path(session_id: str, participant: str, suffix: str) -> str:
    """The path of a track below the data folder."""
    folder = hashlib.sha256(session_id.encode()).hexdigest()[:2]
    return f"tracks/{folder}/{session_id}.{participant}.{suffix}"
