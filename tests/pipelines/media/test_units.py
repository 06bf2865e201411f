"""Units of any recording, and an mp4 of units: on time, complete, and the same each time."""

from itertools import islice
from pathlib import Path

import av
import ffmpeg
import numpy as np
import pytest

from pipelines.engine.jobs import Rejected
from pipelines.media.process import ffmpeg_path
from pipelines.media.tracks import read_frames
from pipelines.media.units import MediaUnit, read_units, write_units
from tests.helpers.clips import FLASHES_S, make_clip

SIZE = {"width": 64, "height": 48, "rate_hz": 16000}


def without(clip: Path, target: Path, **options: str | None) -> Path:
    ffmpeg.output(ffmpeg.input(str(clip)), str(target), c="copy", **options).global_args("-v", "error").run(
        cmd=ffmpeg_path()
    )
    return target


@pytest.mark.parametrize(("name", "rate"), [("a.mp4", "25"), ("a.mkv", "30"), ("a.mov", "24000/1001")])
def test_flashes_and_beeps_are_in_their_frames_and_samples(tmp_path: Path, name: str, rate: str) -> None:
    make_clip(tmp_path / name, rate=rate)
    units = list(read_units(tmp_path / name, **SIZE))
    assert len(units) in (32, 33)  # 5 s, and what a codec pads
    frames = np.concatenate([unit.frames for unit in units if unit.frames is not None])
    samples = np.concatenate([unit.samples for unit in units if unit.samples is not None])
    assert frames.shape[1:] == (48, 64, 3)
    assert frames.dtype == np.uint8
    assert samples.dtype == np.float32
    bright = frames.mean(axis=(1, 2, 3)) > 128
    starts_s = (np.flatnonzero(bright[1:] & ~bright[:-1]) + 1) / 25
    np.testing.assert_allclose(starts_s, FLASHES_S, atol=0.041)
    for at_s in FLASHES_S:
        sound = np.abs(samples[round(at_s * 16000) - 800 :])
        assert np.argmax(sound > 0.1) / 16000 == pytest.approx(0.05, abs=0.01)


def test_a_stream_that_is_missing_or_over_is_none(tmp_path: Path) -> None:
    make_clip(tmp_path / "both.mp4")
    sound = without(tmp_path / "both.mp4", tmp_path / "sound.m4a", vn=None)
    picture = without(tmp_path / "both.mp4", tmp_path / "picture.mp4", an=None)
    assert all(unit.frames is None and unit.samples is not None for unit in read_units(sound, **SIZE))
    assert all(unit.frames is not None and unit.samples is None for unit in read_units(picture, **SIZE))
    short = tmp_path / "short.mkv"
    ffmpeg.output(
        ffmpeg.input(str(tmp_path / "both.mp4"), t=2).video, ffmpeg.input(str(sound)).audio, str(short), c="copy"
    ).global_args("-v", "error").run(cmd=ffmpeg_path())
    units = list(read_units(short, **SIZE))
    assert units[2].frames is not None
    assert units[-1].frames is None
    assert all(unit.samples is not None for unit in units)


def test_units_are_read_as_they_are_asked_for(tmp_path: Path) -> None:
    make_clip(tmp_path / "a.mp4", seconds=60)
    assert len(list(islice(read_units(tmp_path / "a.mp4", **SIZE), 3))) == 3


@pytest.mark.parametrize("content", [b"", b"no recording"])
def test_what_is_no_recording_is_rejected(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(Rejected) as rejection:
        list(read_units(tmp_path / "a.mp4", **SIZE))
    assert rejection.value.reason == "unreadable"


def test_a_film_has_all_frames_and_samples_and_equal_bytes(tmp_path: Path) -> None:
    times = np.arange(5 * 2560) / 16000
    tone = (0.3 * np.sin(2 * np.pi * 440 * times)).astype(np.float32)
    units = [
        MediaUnit(np.full((4, 48, 64, 3), 40 * number, np.uint8), tone[number * 2560 : (number + 1) * 2560])
        for number in range(5)
    ]
    for name in ("one.mp4", "two.mp4"):
        assert write_units(tmp_path / "new" / name, iter(units), rate_hz=16000) == 5
    frames = read_frames(tmp_path / "new" / "one.mp4")
    np.testing.assert_allclose(frames.mean(axis=(1, 2, 3)), np.repeat(40.0 * np.arange(5), 4), atol=3)
    with av.open(str(tmp_path / "new" / "one.mp4")) as film:
        assert film.streams.audio[0].codec_context.name == "aac"
        assert float(film.streams.audio[0].duration * film.streams.audio[0].time_base) == pytest.approx(0.8, abs=0.07)
    assert (tmp_path / "new" / "one.mp4").read_bytes() == (tmp_path / "new" / "two.mp4").read_bytes()
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["one.mp4", "two.mp4"]


def test_an_error_on_the_way_leaves_no_film(tmp_path: Path) -> None:
    def units():  # type: ignore[no-untyped-def]
        yield MediaUnit(np.zeros((4, 48, 64, 3), np.uint8), np.zeros(2560, np.float32))
        raise RuntimeError("the model is gone")

    with pytest.raises(RuntimeError, match="the model is gone"):
        write_units(tmp_path / "a.mp4", units(), rate_hz=16000)
    with pytest.raises(ValueError, match="no units"):
        write_units(tmp_path / "a.mp4", iter([]), rate_hz=16000)
    assert list(tmp_path.iterdir()) == []
