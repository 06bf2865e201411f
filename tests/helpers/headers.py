"""Source rows with made-up headers, so that tests of tools.plan need no media."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipelines.engine.jobs import Rejected
from pipelines.media.probing import Header
from tools.plan import corpus

WHOLE = {
    "video_ms": 60_000,
    "audio_ms": 60_000,
    "num_bytes": 1_000_000,
    "video_bytes": 900_000,
    "width": 640,
    "height": 360,
    "channels": 1,
}


def header(**changes: Any) -> Header:
    """A minute of 640x360 video with sound, or with other values."""
    values = {"guessed": False, "video_codec": "h264", "frames_per_s": 30.0, **WHOLE, **changes}
    if not values["video_ms"]:
        values |= {"video_codec": "", "video_bytes": 0, "width": 0, "height": 0, "frames_per_s": 0.0}
    if not values["audio_ms"]:
        values["channels"] = 0
    return Header(**values)


def write_source(folder: Path, patch: pytest.MonkeyPatch, headers: Mapping[str, Header | str], lines: str) -> Path:
    """A manifest with the files it names. A header that is a text is the reason why its file is rejected."""

    def read(path: Path, **_: object) -> Header:
        found = headers.get(path.name, "missing_file")
        if isinstance(found, str):
            raise Rejected(found, path.name)
        return found

    patch.setattr(corpus, "read_header", read)
    for name in headers:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    manifest = folder / "manifest.csv"
    manifest.write_text(lines)
    return manifest
