"""Pictures of any shape in the frame of a track: the figures are those of the frames that ffmpeg makes."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.engine.jobs import Rejected
from pipelines.media.ffmpeg import conform_video
from pipelines.media.framing import CENTRE, Framing, Rect
from pipelines.media.probing import probe
from pipelines.media.stills import stills
from pipelines.media.timelines import timeline
from pipelines.media.tracks import read_frames
from tests.helpers.chirps import ffmpeg
from tests.helpers.counts import examples

FRAME = (64, 48)
GREY = 128


def make_striped(path: Path, width: int, height: int, *options: str) -> None:
    """Red at the left and blue at the right, darker downwards: no part of the picture is like another."""
    colours = "r='255*(1-X/W)':g=0:b='255*X/W'"
    ffmpeg(
        "-f", "lavfi", "-i", f"nullsrc=s={width}x{height}:r=25:d=0.4,format=gbrp,geq={colours},"
        "geq=r='r(X,Y)*(1-0.6*Y/H)':g=0:b='b(X,Y)*(1-0.6*Y/H)'", *options, "-c:v", "libx264", "-qp", "4", path,
    )  # fmt: skip


def framed(path: Path, framing: Framing, crop: Rect | None = None) -> np.ndarray:
    """The first frame of a track."""
    source = timeline(probe(path).source, path.parent).source
    target = path.with_suffix(".track.mp4")
    conform_video(
        source, target, lead_ms=0, num_frames=8, width=FRAME[0], height=FRAME[1], crop=crop, framing=framing, qp=4
    )
    return read_frames(target)[0].astype(int)


@pytest.mark.parametrize(
    ("width", "height", "framing"),
    [
        (54, 96, Framing(zoom=0.0)),
        (160, 60, Framing(zoom=0.0)),
        (90, 96, Framing(zoom=0.0)),
        (54, 96, Framing(zoom=0.6, y=0.25)),
        (160, 60, Framing(zoom=0.7, x=1.0)),
        (54, 96, Framing(y=0.0)),
        (160, 60, Framing(x=0.9)),
    ],
)
def test_the_border_is_where_the_figures_say(tmp_path: Path, width: int, height: int, framing: Framing) -> None:
    make_striped(tmp_path / "a.mp4", width, height)
    frame = framed(tmp_path / "a.mp4", framing)
    rect = framing.picture_in_frame((width, height), FRAME)
    border, inside = np.ones(FRAME[::-1], bool), np.zeros(FRAME[::-1], bool)
    border[max(0, rect.y - 1) : rect.y + rect.height + 1, max(0, rect.x - 1) : rect.x + rect.width + 1] = False
    inside[rect.y : rect.y + rect.height, rect.x : rect.x + rect.width] = True
    assert np.abs(frame - GREY)[border].max(initial=0) <= 24  # two pixels share a colour: without those at the edge
    # The picture is nowhere near grey: red or blue is missing at its sides, and green everywhere.
    assert np.abs(frame[..., 1] - GREY)[inside].min() > 60
    assert framing.kept_share((width, height), FRAME) == pytest.approx(_visible(frame, rect), abs=0.06)


def _visible(frame: np.ndarray, rect: Rect) -> float:
    """Share of the picture that is visible, from how fast its colours change; without the edges."""
    inner = frame[rect.y + 2 : rect.y + rect.height - 2, rect.x + 2 : rect.x + rect.width - 2]
    blue_x = inner[..., 2].sum(0) / inner[..., [0, 2]].sum((0, 2))
    dark_y = (1 - inner[..., [0, 2]].sum(2).mean(1) / 255) / 0.6
    across, down = (
        (curve[-1] - curve[0]) / (len(curve) - 1) * size
        for curve, size in ((blue_x, rect.width), (dark_y, rect.height))
    )
    return float(across * down)


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv420p10le", "gbrp"])
def test_the_border_is_exact_for_all_kinds_of_pixels(tmp_path: Path, pixels: str) -> None:
    """A white picture that becomes 27 pixels wide; two pixels share a colour in the source."""
    wide = ["-color_trc", "smpte2084", "-color_primaries", "bt2020", "-colorspace", "bt2020nc"]
    coding = ["-c:v", "ffv1", "-pix_fmt", pixels, *(wide if pixels.endswith("10le") else [])]
    ffmpeg("-f", "lavfi", "-i", "color=white:s=216x384:r=25:d=0.4", *coding, tmp_path / "a.mkv")
    frame = framed(tmp_path / "a.mkv", Framing(zoom=0.0))
    rect = Framing(zoom=0.0).picture_in_frame((216, 384), FRAME)
    assert rect == Rect(18, 0, 27, 48)
    bright = frame.mean((0, 2)) > 170
    assert list(np.flatnonzero(bright)) == list(range(rect.x, rect.x + rect.width))


def test_a_picture_of_the_right_shape_is_left_alone() -> None:
    for shape in ((64, 48), (640, 480), (1280, 960)):
        for framing in (CENTRE, Framing(zoom=0.0)):
            assert framing.picture_in_frame(shape, FRAME) == Rect(0, 0, *FRAME)
            assert framing.kept_share(shape, FRAME) == 1


@examples(200)
@given(
    shape=st.tuples(st.integers(2, 5000), st.integers(2, 5000)),
    framing=st.builds(Framing, zoom=st.floats(0, 1), x=st.floats(0, 1), y=st.floats(0, 1)),
)
def test_the_picture_is_inside_the_frame(shape: tuple[int, int], framing: Framing) -> None:
    rect = framing.picture_in_frame(shape, FRAME)
    assert 0 <= rect.x <= rect.x + rect.width <= FRAME[0] and 0 <= rect.y <= rect.y + rect.height <= FRAME[1]
    assert rect.width >= 1 and rect.height >= 1
    assert 0 < framing.kept_share(shape, FRAME) <= 1
    assert Framing(zoom=0.0).kept_share(shape, FRAME) == 1
    assert CENTRE.picture_in_frame(shape, FRAME) == Rect(0, 0, *FRAME)


@pytest.mark.parametrize("turned", [0, 90, 180, 270])
@pytest.mark.parametrize("flip", [(), ("-display_hflip",), ("-display_vflip",)])
def test_stills_are_as_displayed(tmp_path: Path, turned: int, flip: tuple[str, ...]) -> None:
    """Narrow pixels, turned and mirrored by the file: a still has each part where the track has it."""
    make_striped(tmp_path / "plain.mp4", 96, 64, "-vf", "setsar=4/3")
    path = tmp_path / "a.mp4"
    ffmpeg("-display_rotation", str(turned), *flip, "-i", tmp_path / "plain.mp4", "-c", "copy", path)
    media = probe(path)
    size, crop = (media.width, media.height), Rect(media.width // 4, 0, media.width // 2, media.height // 2)
    (still,) = stills(media.source, [0], size, crop, 320)
    assert still.shape == (crop.height, crop.width, 3)
    shape = crop.width, crop.height
    track = framed(path, Framing(zoom=0.0), crop)
    rect = Framing(zoom=0.0).picture_in_frame(shape, FRAME)
    for y in (0.2, 0.8):
        for x in (0.2, 0.8):
            ours = still[int(y * still.shape[0]), int(x * still.shape[1])].astype(int)
            theirs = track[rect.y + int(y * rect.height), rect.x + int(x * rect.width)]
            assert np.abs(ours - theirs).max() < 20, (x, y, ours, theirs)


def test_stills_are_spread_even_without_keyframes(tmp_path: Path) -> None:
    """A clock that becomes brighter; one keyframe at its beginning, or one each second."""
    source = "nullsrc=s=64x48:r=10:d=60,geq=lum='16+3.5*T':cb=128:cr=128"
    for name, keys in (("rare.mp4", "9999"), ("often.mkv", "10")):
        ffmpeg("-f", "lavfi", "-i", source, "-c:v", "libx264", "-preset", "ultrafast", "-g", keys, tmp_path / name)
        media = probe(tmp_path / name)
        times_ms = [5_000 + 10_000 * number for number in range(6)]
        light = sorted(picture.mean() for picture in stills(media.source, times_ms, (64, 48), Rect(0, 0, 64, 48), 320))
        assert len(light) >= 5 and light[-1] - light[0] > 130, name


def test_a_file_without_pictures_has_no_stills(tmp_path: Path) -> None:
    make_striped(tmp_path / "a.mp4", 64, 48)
    media = probe(tmp_path / "a.mp4")
    whole = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "a.mp4").write_bytes(whole[: len(whole) // 3])
    try:
        assert list(stills(media.source, [0, 100], (64, 48), Rect(0, 0, 64, 48), 320)) == []
    except Rejected:
        pytest.fail("stills judge no file")
