"""Long recordings are made in spans, side by side: the track is the same as made in one go."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.engine.run import RunParams
from pipelines.ingest import long_videos
from pipelines.ingest import stage as ingest
from pipelines.ingest.long_videos import video_spans
from pipelines.ingest.stage import IngestParams
from pipelines.media.ffmpeg import Picture, Source
from pipelines.media.timelines import Timeline
from pipelines.media.tracks import read_frames
from tests.helpers.chirps import ffmpeg
from tests.helpers.clips import ingest_rows
from tests.helpers.killed_ingest import contents
from wanstreamer.clock import FRAMES_PER_UNIT, Span

SECONDS = 20
CODINGS: dict[str, list[str]] = {
    "b_frames.mp4": ["-c:v", "libx264", "-preset", "fast", "-bf", "3", "-g", "40"],
    "open_groups.mkv": ["-c:v", "libx264", "-preset", "fast", "-bf", "3", "-g", "50", "-x264-params", "open-gop=1"],
    "hevc.mp4": ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error:keyint=45:open-gop=1"],
    "vp9.webm": ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-g", "60"],
    "interlaced.mkv": ["-c:v", "libx264", "-preset", "ultrafast", "-g", "30", "-flags", "+ildct", "-field_order", "tt"],
    "late.mp4": ["-c:v", "libx264", "-preset", "fast", "-g", "40", "-output_ts_offset", "3"],
    "intra.mov": ["-c:v", "mjpeg", "-q:v", "3"],
}


def make_moving(path: Path, *coding: str, seconds: int = SECONDS, rate: str = "30000/1001") -> None:
    """A picture in which no frame is like another."""
    source = f"testsrc2=s=128x96:r={rate}:d={seconds}"
    ffmpeg("-f", "lavfi", "-i", source, "-pix_fmt", "yuvj420p" if path.suffix == ".mov" else "yuv420p", *coding, path)


@pytest.mark.parametrize("name", CODINGS)
def test_spans_make_the_frames_of_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    make_moving(tmp_path / name, *CODINGS[name])
    rows = [{"participant": "a", "uri": name, "start_offset_ms": 70}]
    tracks = {}
    for units in (long_videos.SPAN_UNITS, 30, 17):
        monkeypatch.setattr(long_videos, "SPAN_UNITS", units)
        home = tmp_path / str(units)
        home.mkdir()
        (home / name).symlink_to(tmp_path / name)
        result, data = ingest_rows(home, rows)
        tracks[units] = read_frames(data / "tracks/04/s.a.mp4")
        assert len(tracks[units]) == FRAMES_PER_UNIT * result.tables["tracks"][0]["num_units"]
    whole, *parts = tracks.values()
    assert len(whole) > 400 and (np.abs(np.diff(whole.astype(int), axis=0)).mean((1, 2, 3)) > 0).mean() > 0.9
    for part in parts:
        assert (part == whole).all()


def timeline(**given: Any) -> Timeline:
    look = Picture(matrix="bt601", curve="sdr", wide_gamut=False, is_rgb=False)
    source = Source(path=Path("x.mp4"), video=0, audio=None, start_s=0.0, picture=look, audio_weights=())
    known = {"video_end_ms": 10**6, "audio_end_ms": None, "audio_gaps": (), "audio_cut_ms": 0, "joins": 0}
    return Timeline(source=source, **{**known, "video_holds": (), "video_keys_ms": (), **given})


def test_spans_begin_where_decoding_and_fresh_frames_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_videos, "SPAN_UNITS", 100)  # 16 s
    every_second = tuple(range(0, 60_000, 1000))
    found = list(video_spans(timeline(video_keys_ms=every_second), 0, 360))
    assert found == [(0, 100, None), (100, 200, 14_001), (200, 300, 30_001), (300, 360, 46_001)]
    assert list(video_spans(timeline(), 0, 360)) == [(0, 360, None)]  # no index: in one go
    held = timeline(video_keys_ms=every_second, video_holds=(Span(31_000, 33_000),))
    assert [span[:2] for span in video_spans(held, 0, 360)] == [(0, 100), (100, 300), (300, 360)]
    moved = list(video_spans(timeline(video_keys_ms=every_second), -500, 360))
    assert moved[1] == (100, 200, 15_001)


@pytest.mark.slow
@pytest.mark.stress
def test_idle_workers_take_spans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ray_once: None) -> None:
    """Workers read the length of a span from their own copy of the module, so the recordings are really long."""
    home = tmp_path / "source/s"
    home.mkdir(parents=True)
    for name in ("a.mp4", "b.mp4"):
        make_moving(home / name, *CODINGS["b_frames.mp4"], seconds=700, rate="10")
    for workers in (1, 2):
        params = IngestParams(source=str(tmp_path / "source"))
        counts = ingest.run(tmp_path / str(workers), params, RunParams(workers=workers))
        assert counts["done"] == 1
    assert contents(tmp_path / "1") == contents(tmp_path / "2")
    assert not list((tmp_path / "2/parts/ingest").glob(".*"))
