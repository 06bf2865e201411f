"""Media that are not what ingest wrote are refused, and a note for ingest names the session that must be made again."""

from pathlib import Path

import pytest

from pipelines.engine.files import hash_of_bytes
from pipelines.engine.inputs import require_media
from pipelines.engine.state import key_note, summary_file
from wanstreamer.errors import InputError


@pytest.fixture
def track(tmp_path: Path) -> dict[str, str | None]:
    (tmp_path / "a.wav").write_bytes(b"sound")
    (tmp_path / "a.mp4").write_bytes(b"picture")
    summary_file(tmp_path, "ingest").parent.mkdir()
    summary_file(tmp_path, "ingest").write_text("{}")
    return {
        "session_id": "s1", "audio_path": "a.wav", "audio_sha256": hash_of_bytes(b"sound"),
        "video_path": "a.mp4", "video_sha256": hash_of_bytes(b"picture"),
    }  # fmt: skip


def test_media_as_they_were_written_pass(tmp_path: Path, track: dict[str, str | None]) -> None:
    require_media(tmp_path, track, "audio", "video")
    require_media(tmp_path, track | {"audio_path": None, "audio_sha256": None}, "audio")
    assert summary_file(tmp_path, "ingest").is_file()


@pytest.mark.parametrize("content", [b"Sound", b"", None])
def test_damaged_media_are_refused_and_noted(
    tmp_path: Path, track: dict[str, str | None], content: bytes | None
) -> None:
    if content is None:
        (tmp_path / "a.wav").unlink()
    else:
        (tmp_path / "a.wav").write_bytes(content)
    require_media(tmp_path, track, "video")
    with pytest.raises(InputError, match=r"a\.wav: .*; run ingest again, it repairs this"):
        require_media(tmp_path, track, "audio")
    assert key_note(tmp_path, "ingest", "s1").is_file() and not summary_file(tmp_path, "ingest").is_file()
