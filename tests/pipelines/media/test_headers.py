"""Headers of source files: what they state without decoding, and what is guessed where they state nothing."""

from pathlib import Path
from typing import Any, cast

import av
import pytest

from pipelines.engine.jobs import Rejected
from pipelines.media.probing import probe, read_header
from tests.helpers.chirps import ffmpeg

PICTURE = ("-f", "lavfi", "-i", "testsrc2=s=96x64:r=30")
SOUND = ("-f", "lavfi", "-i", "sine=r=44100")
H264 = ("-c:v", "libx264", "-preset", "ultrafast")


def record(path: Path, *options: object, seconds: float = 3) -> Path:
    ffmpeg(*PICTURE, *SOUND, "-t", seconds, *options, path)
    return path


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov"])
def test_a_header_states_the_streams_that_probing_chooses(tmp_path: Path, name: str) -> None:
    path = record(tmp_path / name, *H264, "-c:a", "aac", "-ac", 2)
    header, whole = read_header(path), probe(path)
    assert (header.width, header.height, header.frames_per_s) == (96, 64, 30)
    assert (header.video_codec, header.channels, header.num_bytes) == ("h264-baseline", 2, path.stat().st_size)
    assert 0 < header.video_bytes <= header.num_bytes
    assert abs(header.length_ms - 3000) < 60 and abs(header.length_ms - whole.duration_ms) < 60
    assert not header.guessed


def test_nothing_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = record(tmp_path / "a.mp4", *H264)
    opened = av.open

    class Undecodable:
        """A container whose frames must not be asked for."""

        def __init__(self, container: Any) -> None:
            self.container = container

        def __getattr__(self, name: str) -> Any:
            assert name not in ("decode", "demux"), name
            return getattr(self.container, name)

        def __enter__(self) -> "Undecodable":
            return self

        def __exit__(self, *_: object) -> None:
            self.container.close()

    monkeypatch.setattr(av, "open", lambda *args, **kwargs: Undecodable(opened(*args, **kwargs)))
    assert read_header(path).width == 96
    with pytest.raises(AssertionError, match="decode"):
        probe(path)


def test_a_length_that_no_header_states_is_guessed_from_the_size(tmp_path: Path) -> None:
    path = tmp_path / "live.webm"
    record(path, "-c:v", "libvpx", "-b:v", "8M", "-deadline", "realtime", "-c:a", "libopus", "-live", 1, seconds=10)
    assert probe(path).duration_ms == 0
    header = read_header(path)
    assert header.guessed and abs(header.length_ms - 10_000) < 1500


def test_a_header_in_an_object_store_is_read(tmp_path: Path) -> None:
    import fsspec
    from upath import UPath

    bucket = cast(Path, UPath("memory://bucket"))  # as folder_at gives it
    path = record(tmp_path / "a.mp4", *H264)
    fsspec.filesystem("memory").pipe("/bucket/a.mp4", path.read_bytes())
    assert read_header(bucket / "a.mp4") == read_header(path)
    with pytest.raises(Rejected) as rejected:
        read_header(bucket / "b.mp4")
    assert rejected.value.reason == "missing_file"


def test_streams_are_chosen_and_refused_as_in_probing(tmp_path: Path) -> None:
    path = record(tmp_path / "a.mp4", *H264)
    cases = {
        "no_such_stream": (path, {"audio_stream": 3}),
        "missing_file": (tmp_path / "b.mp4", {}),
        "not_a_file": (tmp_path, {}),
        "unreadable": (tmp_path / "c.mp4", {}),
    }
    (tmp_path / "c.mp4").write_bytes(b"no media" * 100)
    for reason, (file, options) in cases.items():
        for look in (read_header, probe):
            with pytest.raises(Rejected) as rejected:
                look(file, **options)  # type: ignore[arg-type]
            assert rejected.value.reason == reason
