"""A picture that follows a person: known squares stay in the middle, whatever the clock and the form of the source."""

import math
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.ingest import long_videos
from pipelines.media import tracks as media
from pipelines.media.probing import probe
from tests.helpers.clips import ingest_rows
from tests.helpers.found_people import (
    centre_of,
    crop_row,
    frames_of,
    ingest_found,
    person,
    scene,
    shot_of,
    spans,
    write_scene,
)

LOSSLESS = ("-c:v", "libx264", "-preset", "ultrafast", "-qp", "0", "-pix_fmt", "yuv444p")
EVERYWHERE = spans((0, 10**7))
BOX = (80.0, 60.0)  # width and height of the crops


def around(place: tuple[float, float], box: tuple[float, float] = BOX) -> tuple[float, float, float, float]:
    return place[0] - box[0] / 2, place[1] - box[1] / 2, *box


def walk(number: int) -> tuple[float, float]:
    """Where the square is: it goes right, jumps at frames 31 and 62, and goes back."""
    if number < 31:
        return 60 + 3 * number, 60 + number
    return (250 - 2 * (number - 31), 110) if number < 62 else (100 + number - 62, 50)


def shot(number: int) -> int:
    return (number >= 31) + (number >= 62)


ROUNDINGS = {"floor": math.floor, "nearest": round, "ceil": math.ceil}


def on_grid(number: int, rate: float) -> int:
    """The first multiple of 40 ms to which a frame, or one after it, is nearer than all frames before."""
    begin_ms = 1000 * number / rate - min(500 / rate, 20)
    return 40 * math.ceil(round(begin_ms / 40, 6)) if number else 0


def crops_of_walk(rate: float, rounding: str = "nearest") -> list[dict[str, Any]]:
    """Rows at the frames at which the square changes its way."""

    def at(number: int) -> int:
        return on_grid(number, rate) if rounding == "grid" else ROUNDINGS[rounding](1000 * number / rate)

    return [
        crop_row(0, around(walk(0))), crop_row(at(30), around(walk(30))),
        crop_row(at(31), around(walk(31)), cut=True), crop_row(at(61), around(walk(61))),
        crop_row(at(62), around(walk(62)), cut=True), crop_row(at(92), around(walk(92))),
    ]  # fmt: skip


def check_centred(frames: np.ndarray, least: int, slack: float = 2.5) -> None:
    """Every frame has the square in its middle, whichever shot it shows; and all three shots are there."""
    assert len(frames) >= least and {shot_of(frame) for frame in frames} == {0, 1, 2}
    for number, frame in enumerate(frames):
        centre = centre_of(frame)
        assert centre is not None, f"frame {number}: no square: cropped as in another shot"
        assert abs(centre[0] - 31.5) <= slack and abs(centre[1] - 23.5) <= slack, (number, centre)


@pytest.mark.parametrize(
    ("rate", "rounding"),
    [
        ("25", "nearest"),
        ("30000/1001", "floor"),
        ("30000/1001", "ceil"),
        ("24", "nearest"),
        ("50", "floor"),
        ("10", "ceil"),
        ("24", "grid"),
        ("30000/1001", "grid"),
        ("50", "grid"),
    ],
)
def test_the_square_stays_in_the_middle_through_movements_and_cuts(tmp_path: Path, rate: str, rounding: str) -> None:
    write_scene(tmp_path / "x.mp4", scene(93, walk, shot), rate, *LOSSLESS)  # with times to the microsecond
    numerator, _, denominator = rate.partition("/")
    hz = int(numerator) / int(denominator or 1)
    row = person("s", "a", crops=crops_of_walk(hz, rounding), visible=EVERYWHERE)
    result, data = ingest_found(tmp_path, "x.mp4", [row], start_offset_ms=70)
    frames = frames_of(data)
    check_centred(frames, round(93 / hz * 25) - 8, slack=5.0 if rounding == "grid" else 2.5)
    track = result.tables["tracks"][0]
    assert track["visible"] == spans((0, 40 * len(frames)))
    assert (track["source_width"], track["source_height"], track["picture_kept_share"]) == (80, 60, 1.0)


def test_the_square_stays_in_the_middle_when_frames_are_missing(tmp_path: Path) -> None:
    """A camera that drops frames: the crop is that of the picture's own time, also while a picture stands still."""
    write_scene(tmp_path / "whole.mkv", scene(93, walk, shot), "30")
    dropped = "select='not(eq(mod(n,7),3)+between(n,40,58))'"
    options = ["-vf", dropped, "-fps_mode", "vfr", "-c:v", "ffv1"]
    command = [media.ffmpeg_path(), "-v", "error", "-y", "-i", str(tmp_path / "whole.mkv")]
    subprocess.run([*command, *options, str(tmp_path / "x.mkv")], check=True, timeout=60)
    row = person("s", "a", crops=crops_of_walk(30), visible=EVERYWHERE)
    _, data = ingest_found(tmp_path, "x.mkv", [row])
    check_centred(frames_of(data), 70)


@pytest.mark.parametrize("turned", [0, 90, 270])
def test_crops_are_in_pixels_as_displayed(tmp_path: Path, turned: int) -> None:
    """The picture is coded turned, and half as wide as it is shown."""
    shown = scene(93, walk, shot, size=(320, 182))
    squeezed = shown[:, :, ::2]  # 160 columns that are shown as 320
    coded = np.ascontiguousarray(np.rot90(squeezed, -turned // 90, axes=(1, 2)))
    sar = "1/2" if turned % 180 else "2"
    lossless = ("-vf", f"setsar={sar}", "-c:v", "libx264", "-qp", "0", "-pix_fmt", "yuv444p")
    write_scene(tmp_path / "coded.mp4", coded, "25", *lossless)
    command = [media.ffmpeg_path(), "-v", "error", "-display_rotation", str(turned)]  # counterclockwise
    source, target = str(tmp_path / "coded.mp4"), str(tmp_path / "x.mp4")
    subprocess.run([*command, "-i", source, "-c", "copy", target], check=True)
    look = probe(tmp_path / "x.mp4")
    assert (look.width, look.height) == (320, 182)
    _, data = ingest_found(tmp_path, "x.mp4", [person("s", "a", crops=crops_of_walk(25), visible=EVERYWHERE)])
    check_centred(frames_of(data), 88)


def test_odd_sizes_and_crops_at_the_edges(tmp_path: Path) -> None:
    """A crop of another shape that reaches out of an odd picture is moved into it: the square is whole."""
    write_scene(tmp_path / "x.mkv", scene(25, lambda _: (300, 170), lambda _: 0, size=(317, 181)), "25")
    rows = [crop_row(0, (290.5, 120.0, 21.0, 61.0))]
    _, data = ingest_found(tmp_path, "x.mkv", [person("s", "a", crops=rows, visible=EVERYWHERE)])
    centre = centre_of(frames_of(data)[10])
    # The crop becomes 81.3 x 61 at the lower right corner: columns 235.7 to 317, rows 120 to 181.
    assert centre is not None
    assert centre == pytest.approx(((300 - 235.7) / 81.3 * 64 - 0.5, (169.5 - 120) / 61 * 48 - 0.5), abs=1.0)


def test_where_the_person_is_not_seen_the_frames_are_grey(tmp_path: Path) -> None:
    write_scene(tmp_path / "x.mkv", scene(93, walk, shot), "25")
    seen = spans((0, 1240), (2480, 3000))  # shots 0 and 2: frames 0 to 30, and 62 to 74
    row = person("s", "a", crops=crops_of_walk(25), visible=seen)
    other = person("s", "b", crops=crops_of_walk(25), visible=spans((1240, 2480)))
    result, data = ingest_found(tmp_path, "x.mkv", [row, other])
    frames = frames_of(data)
    grey = np.abs(frames - 128).max(axis=(1, 2, 3)) <= 3
    assert np.flatnonzero(~grey).tolist() == [*range(31), *range(62, 75)]
    assert {shot_of(frame) for frame in frames[~grey]} == {0, 2}, "never the other person's shot"
    tracks = {track["participant"]: track for track in result.tables["tracks"]}
    assert tracks["a"]["visible"] == spans((0, 1240), (2480, 3000))
    assert tracks["b"]["visible"] == spans((1240, 2480))
    assert np.abs(frames_of(data, "b")[40] - frames[40]).max() > 50


@pytest.mark.parametrize("box", [(16, 12, 64, 48), (0, 0, 128, 96), (96, 60, 32, 24)])
def test_a_crop_that_stays_is_as_that_of_a_manifest(tmp_path: Path, box: tuple[int, int, int, int]) -> None:
    """Same place, same colours; larger, equal and smaller than the track."""
    number, y, x = np.ogrid[:30, :96, :128]
    waves = (x / 9 + number / 5 + 0 * y, y / 7 - number / 6 + 0 * x, (x + y) / 11 + number / 4)
    frames = np.stack([128 + 100 * np.sin(wave) for wave in waves], axis=-1).astype(np.uint8)
    write_scene(tmp_path / "x.mkv", frames, "30")
    _, data = ingest_found(tmp_path, "x.mkv", [person("s", "a", crops=[crop_row(0, box)], visible=EVERYWHERE)])
    followed = frames_of(data)
    ingest_rows(tmp_path, [{"participant": "a", "uri": "x.mkv", "crop": box}], qp=10)
    named = frames_of(data)
    assert followed.shape == named.shape and np.abs(followed - named).mean() < 2
    assert np.abs(followed.mean(axis=(1, 2)) - named.mean(axis=(1, 2))).max() < 1 and np.std(named) > 20


CODINGS: dict[str, list[str]] = {
    "b_frames.mp4": ["-c:v", "libx264", "-preset", "fast", "-bf", "3", "-g", "40", "-pix_fmt", "yuv420p"],
    "late.mp4": ["-c:v", "libx264", "-preset", "fast", "-g", "40", "-output_ts_offset", "3", "-pix_fmt", "yuv420p"],
    "open_groups.mkv": ["-c:v", "libx264", "-bf", "3", "-g", "30", "-x264-params", "open-gop=1", "-pix_fmt", "yuv420p"],
}


@pytest.mark.parametrize("name", ["b_frames.mp4", "late.mp4", pytest.param("open_groups.mkv", marks=pytest.mark.long)])
def test_spans_make_the_frames_of_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    length = 330  # frames, 11 s

    def place(number: int) -> tuple[float, float]:
        return walk(number % 93)

    write_scene(tmp_path / name, scene(length, place, lambda number: shot(number % 93)), "30000/1001", *CODINGS[name])
    lap_ms = 93 * 1001 / 30
    crops = [
        {**row, "start_ms": row["start_ms"] + round(lap * lap_ms), "cut": row["cut"] or not row["start_ms"]}
        for lap in range(4)
        for row in crops_of_walk(30000 / 1001)
    ]
    seen = spans((0, 4000), (4500, 7777), (9000, 20000))
    made: dict[int, Any] = {}
    for units in (long_videos.SPAN_UNITS, 17):
        monkeypatch.setattr(long_videos, "SPAN_UNITS", units)
        home = tmp_path / str(units)
        home.mkdir()
        (home / name).symlink_to(tmp_path / name)
        row = person("s", "a", crops=crops, visible=seen)
        result, data = ingest_found(home, name, [row], start_offset_ms=70)
        made[units] = frames_of(data), result.tables["tracks"][0]["visible"]
    (whole, visible), (parts, visible_in_parts) = made.values()
    assert len(whole) > 250 and (parts == whole).all() and visible_in_parts == visible
    assert len(visible) == 3
