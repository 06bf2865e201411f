"""Picture and sound of a participant may be in two files that begin apart: each follows its own clock."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.engine.jobs import Rejected
from pipelines.ingest.clocks import FileClock, common_span
from pipelines.sources.find import find_sources
from tests.helpers.chirps import ffmpeg
from tests.helpers.clips import FLASHES_S, ingest_rows, make_clip, onsets_ms
from wanstreamer.errors import InputError


@given(
    start_ms=st.floats(-1e7, 1e7),
    ppm=st.integers(-2000, 2000),
    at_ms=st.integers(0, 10**8),
    origin=st.integers(0, 9999),
)
def test_an_instant_of_a_file_is_found_again(start_ms: float, ppm: int, at_ms: int, origin: int) -> None:
    clock = FileClock(start_ms=start_ms, rate=1 + ppm * 1e-6).since(origin)
    assert clock.media_ms(clock.time_ms(at_ms)) == pytest.approx(at_ms, abs=1e-3)
    assert clock.time_ms(0) == start_ms - origin


def test_the_common_span_is_whole_milliseconds_of_all_streams() -> None:
    slow, late = FileClock(start_ms=0, rate=0.9999), FileClock(start_ms=3700.4)
    assert common_span([(slow, 100_000)]) == (0, 99_990)
    assert common_span([(slow, 100_000), (late, 97_000)]) == (3701, 99_990)


@pytest.mark.parametrize(("picture_s", "sound_s"), [(0.0, 0.37), (0.41, 0.0), (0.2, 0.2)])
def test_two_files_that_begin_apart_become_one_track(tmp_path: Path, picture_s: float, sound_s: float) -> None:
    make_clip(tmp_path / "camera.mov", start_s=picture_s)
    make_clip(tmp_path / "recorder.mov", start_s=sound_s)
    ffmpeg("-i", tmp_path / "recorder.mov", "-vn", "-ac", "1", tmp_path / "recorder.wav")
    word = {"word": "red?", "start_ms": 1000 - sound_s * 1000, "end_ms": 1300 - sound_s * 1000}
    (tmp_path / "words.json").write_text(json.dumps({"words": [word]}))
    row = {"participant": "a", "uri": "camera.mov", "audio_uri": "recorder.wav", "words_uri": "words.json"}
    offsets = {"start_offset_ms": round(1000 * picture_s), "audio_offset_ms": round(1000 * sound_s)}
    result, data = ingest_rows(tmp_path, [{**row, **offsets}])
    session = result.tables["sessions"][0]
    origin_ms = session["origin_ms"]
    assert origin_ms == round(1000 * max(picture_s, sound_s))
    assert session["num_units"] == round(1000 * (5 - abs(picture_s - sound_s))) // 160
    flashes, beeps = onsets_ms(data / "tracks/04/s.a")
    expected = np.array([1000 * at - origin_ms for at in FLASHES_S])
    assert np.abs(flashes - expected).max() <= 41 and np.abs(beeps - expected).max() <= 10
    assert result.tables["sidecar_words"][0]["start_ms"] == 1000 - origin_ms


def test_a_sound_may_begin_before_its_picture_but_not_after_its_end(tmp_path: Path) -> None:
    make_clip(tmp_path / "a.mov", lossless=True)
    row = {"participant": "a", "uri": "a.mov", "audio_uri": "a.mov"}
    result, data = ingest_rows(tmp_path, [{**row, "audio_offset_ms": -500}])
    assert result.tables["sessions"][0]["origin_ms"] == 0
    flashes, beeps = onsets_ms(data / "tracks/04/s.a")
    assert flashes[0] == 600 and abs(beeps[0] - 100) <= 10
    with pytest.raises(Rejected, match="its sound begins after the end of its picture"):
        ingest_rows(tmp_path, [{**row, "audio_offset_ms": 5000}])


def test_the_offset_of_the_sound_is_read_from_a_manifest(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("session_id,uri,audio_uri,audio_offset_ms\ns,a.mp4,a.wav,-3700\nt,b.mp4,b.wav,\n")
    _, rows = find_sources(manifest)
    assert [row.audio_offset_ms for row in rows] == [-3700, None]
    manifest.write_text("session_id,uri,audio_uri,audio_offset_ms\ns,a.mp4,a.wav,3.7 s\n")
    with pytest.raises(InputError, match=r"manifest.csv row 1: audio_offset_ms `3.7 s`: expected a whole number"):
        find_sources(manifest)
