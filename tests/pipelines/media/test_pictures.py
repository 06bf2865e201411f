"""Small pictures are those of the tracks: same clock, same orientation, any rate; and memory does not grow."""

from pathlib import Path

import ffmpeg
import numpy as np
import pytest

from pipelines.engine.jobs import Rejected
from pipelines.media.ffmpeg import Source
from pipelines.media.pictures import small_pictures, small_size
from pipelines.media.probing import probe
from pipelines.media.process import ffmpeg_path
from tests.helpers.clips import ingest_rows, make_clip, onsets_ms


def write(path: Path, *inputs: str, **options: object) -> None:
    stream = ffmpeg.input(inputs[0], f="lavfi")
    stream.output(str(path), vcodec="libx264", preset="ultrafast", threads=1, **options).global_args(
        "-v", "error", "-y"
    ).run(cmd=ffmpeg_path())


def source_of(path: Path) -> tuple[Source, tuple[int, int]]:
    found = probe(path)
    return found.source, (found.width, found.height)


@pytest.mark.parametrize("rate", ["25", "30000/1001", "12"])
def test_the_clock_is_that_of_tracks(tmp_path: Path, rate: str) -> None:
    make_clip(tmp_path / "a.mov", rate=rate)
    _, data = ingest_rows(tmp_path, [{"participant": "a", "uri": "a.mov"}])
    flashes, _ = onsets_ms(data / "tracks/04/s.a")
    source, size = source_of(tmp_path / "a.mov")
    pictures = list(small_pictures(source, small_size(size, 64)))
    assert [picture.frame for picture in pictures] == list(range(len(pictures))) and len(pictures) >= 124
    bright = np.array([picture.luma.mean() > 128 for picture in pictures])
    assert [int(frame) * 40 for frame in np.flatnonzero(bright[1:] & ~bright[:-1]) + 1] == flashes
    assert {picture.luma.shape for picture in pictures} == {(48, 64)}


def test_pictures_are_turned_and_stretched_as_displayed_and_keep_their_colours(tmp_path: Path) -> None:
    write(tmp_path / "flat.mp4", "color=red:s=96x64:r=25:d=1", vf="drawbox=0:0:48:64:blue:fill,setsar=3/2")
    ffmpeg.input(str(tmp_path / "flat.mp4"), display_rotation=90).output(str(tmp_path / "a.mp4"), c="copy").global_args(
        "-v", "error", "-y"
    ).run(cmd=ffmpeg_path())
    source, size = source_of(tmp_path / "a.mp4")
    assert size[0] < size[1]
    picture = next(small_pictures(source, small_size(size, 1000)))
    rgb = picture.rgb()
    assert rgb.shape == (size[1] // 2 * 2, size[0] // 2 * 2, 3)
    upper, lower = rgb[5, 5].astype(int), rgb[-5, -5].astype(int)
    assert sorted((int(upper.argmax()), int(lower.argmax()))) == [0, 2]  # red and blue, one above the other
    assert picture.chroma.shape == (2, rgb.shape[0] // 2, rgb.shape[1] // 2)
    np.testing.assert_allclose(rgb[5, 5], rgb[5, -5], atol=4)


def test_a_few_pictures_of_a_long_file_cost_little(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", "testsrc=s=64x48:r=25:d=60")
    source, size = source_of(tmp_path / "a.mp4")
    pictures = small_pictures(source, size)
    assert next(pictures).time_ms == 0 and next(pictures).time_ms == 40
    pictures.close()  # type: ignore[attr-defined]
    assert len(list(small_pictures(source, size, end_ms=2000))) == 50


def test_what_cannot_be_decoded_is_rejected(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", "testsrc=s=64x48:r=25:d=2")
    source, size = source_of(tmp_path / "a.mp4")
    (tmp_path / "a.mp4").write_bytes(b"\0" * 1000)
    with pytest.raises(Rejected, match="unreadable"):
        list(small_pictures(source, size))
