"""Pictures as cameras code them: any matrix, range, depth, dynamic range or field order, one look of tracks."""

import subprocess
from pathlib import Path

import av
import numpy as np
import pytest

from pipelines.media import tracks as media
from pipelines.media.probing import probe
from pipelines.media.tracks import read_frames
from tests.helpers.clips import ingest_rows

PATCHES = np.array([[(192, 128, 64), (48, 96, 192)], [(32, 160, 80), (128, 128, 128)]], np.uint8)
LOSSLESS = ["-c:v", "libx264", "-qp", "0", "-pix_fmt", "yuv444p"]
MATRICES = {"bt601": "smpte170m", "bt709": "bt709", "bt2020": "bt2020nc"}  # as the scale filter and as tags name them


def encode(path: Path, frames: bytes, pix_fmt: str, size: str, *options: str) -> None:
    raw = ["-f", "rawvideo", "-pix_fmt", pix_fmt, "-s", size, "-r", "25", "-i", "pipe:"]
    command = [media.ffmpeg_path(), "-v", "error", "-y", *raw, *options, "-threads", "1", str(path)]
    subprocess.run(command, input=frames, check=True, timeout=60)


def patches(rows: int, columns: int) -> bytes:
    """A second of the patches, each an equal share of the picture."""
    picture = PATCHES.repeat(rows // 2, axis=0).repeat(columns // 2, axis=1)
    return picture.tobytes() * 25


def track(folder: Path, name: str) -> Path:
    _, data = ingest_rows(folder, [{"participant": "a", "uri": name}])
    return data / "tracks/04/s.a.mp4"


def centres_yuv(path: Path) -> np.ndarray:
    """(2, 2, 3): the code values in the middle of each patch of a 64 x 48 track."""
    with av.open(str(path)) as container:
        frame = list(container.decode(video=0))[2].to_ndarray()
        codec = container.streams.video[0].codec_context
        tags = (codec.pix_fmt, codec.colorspace, codec.color_range, codec.color_primaries, codec.color_trc)
    assert tags == ("yuv420p", 6, 1, 1, 1)  # H.273: BT.601 matrix, limited range, BT.709 primaries and curve
    luma, chroma = frame[:48], frame[48:].reshape(2, 24, 32)
    planes = [luma[12::24, 16::32], chroma[0, 6::12, 8::16], chroma[1, 6::12, 8::16]]
    return np.stack(planes, axis=-1).astype(float)


def bt601_yuv(rgb: np.ndarray) -> np.ndarray:
    """ITU-R BT.601, limited range."""
    red, green, blue = np.moveaxis(rgb.astype(float) / 255, -1, 0)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return np.stack([16 + 219 * luma, 128 + 224 * (blue - luma) / 1.772, 128 + 224 * (red - luma) / 1.402], axis=-1)


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("colour_range", ["tv", "pc"])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p10le"])
def test_matrix_range_and_depth_come_out_equal(tmp_path: Path, matrix: str, colour_range: str, pix_fmt: str) -> None:
    coded = f"scale=out_color_matrix={matrix}:out_range={colour_range}:flags=accurate_rnd+full_chroma_int"
    tags = ["-colorspace", MATRICES[matrix], "-color_range", colour_range]
    tags += ["-color_primaries", "bt709", "-color_trc", "bt709"]
    encode(
        tmp_path / "x.mkv",
        patches(96, 128),
        "rgb24",
        "128x96",
        "-vf",
        f"{coded},format={pix_fmt}",
        *tags,
        "-c:v",
        "ffv1",
    )
    assert np.abs(centres_yuv(track(tmp_path, "x.mkv")) - bt601_yuv(PATCHES)).max() < 1.6


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("rgb.mkv", ["-c:v", "ffv1", "-pix_fmt", "bgr0"]),
        ("full.mov", ["-c:v", "mjpeg", "-q:v", "1", "-pix_fmt", "yuvj444p"]),
        ("untagged.avi", ["-c:v", "mpeg4", "-q:v", "1"]),  # of standard definition: BT.601
    ],
)
def test_what_is_not_tagged_is_taken_as_players_do(tmp_path: Path, name: str, options: list[str]) -> None:
    encode(tmp_path / name, patches(96, 128), "rgb24", "128x96", *options)
    assert np.abs(centres_yuv(track(tmp_path, name)) - bt601_yuv(PATCHES)).max() < 2.6  # MPEG-4's own loss


def test_untagged_high_definition_is_bt709(tmp_path: Path) -> None:
    coded = "scale=out_color_matrix=bt709,format=yuv420p,setparams=colorspace=unknown"
    options = ["-vf", coded, "-c:v", "mpeg4", "-q:v", "1", "-frames:v", "8"]
    encode(tmp_path / "hd.avi", patches(960, 1280), "rgb24", "1280x960", *options)
    assert np.abs(centres_yuv(track(tmp_path, "hd.avi")) - bt601_yuv(PATCHES)).max() < 2.6


def pq(light_cd_m2: np.ndarray) -> np.ndarray:
    """SMPTE ST 2084."""
    power = (light_cd_m2 / 10000) ** (2610 / 16384)
    return ((3424 / 4096 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375


def hlg(light_cd_m2: np.ndarray) -> np.ndarray:
    """ITU-R BT.2100, shown at 1000 cd/m2 (system gamma 1.2)."""
    shown = light_cd_m2 / 1000
    luminance = np.array([0.2627, 0.6780, 0.0593]) @ shown
    scene = shown / np.maximum(luminance, 1e-9) ** (0.2 / 1.2)
    bright = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), bright)


@pytest.mark.parametrize(("curve", "tag"), [(pq, "smpte2084"), (hlg, "arib-std-b67")])
def test_hdr_keeps_grey_white_and_hue(tmp_path: Path, curve, tag: str) -> None:  # type: ignore[no-untyped-def]
    red_2020 = 100 * np.array([0.6274, 0.0691, 0.0164])  # BT.709 red of 100 cd/m2 in BT.2020 primaries
    light = np.array([[level] * 3 for level in (0, 26, 36.5, 100, 203, 500, 1000)] + [red_2020]).T
    red, green, blue = curve(light)
    luma = 0.2627 * red + 0.6780 * green + 0.0593 * blue
    planes = [64 + 876 * luma, 512 + 896 * (blue - luma) / 1.8814, 512 + 896 * (red - luma) / 1.4746]
    picture = b"".join(
        np.round(plane).astype("<u2").repeat(width)[None].repeat(height, axis=0).tobytes()
        for plane, width, height in zip(planes, (16, 8, 8), (96, 48, 48), strict=True)
    )
    tagged = f"setparams=colorspace=bt2020nc:color_primaries=bt2020:color_trc={tag}:range=tv"
    options = ["-vf", tagged, "-c:v", "libx265", "-x265-params", "lossless=1:log-level=none"]
    encode(tmp_path / "hdr.mp4", picture * 25, "yuv420p10le", "128x96", *options)
    path = track(tmp_path, "hdr.mp4")
    centres_yuv(path)  # its tags
    colours = read_frames(path)[2, 24, 4::8].astype(int)
    greys = colours[:7].mean(axis=1)
    assert greys[0] <= 2  # black
    assert 100 <= greys[1] <= 130 and 115 <= greys[2] <= 145  # a grey card of BT.2408, and 18 % of white
    assert 205 <= greys[4] <= 235 and greys[6] >= 250  # white leaves room for highlights up to 1000 cd/m2
    assert (np.diff(greys) > 5).all() and np.abs(colours[:6] - greys[:6, None]).max() <= 3
    assert colours[7, 0] > 160 and colours[7, 1:].max() <= 12  # red, as in BT.709


def test_interlaced_pictures_lose_their_combs_and_no_frames(tmp_path: Path) -> None:
    """A bar moves 6 pixels per field: unless fields are taken apart, its edges are combs."""
    fields = np.zeros((100, 96, 128), np.uint8)
    for number, field in enumerate(fields):
        field[:, (6 * number) % 128 : (6 * number) % 128 + 32] = 255
    frames = fields[::2].copy()
    frames[:, 1::2] = fields[1::2, 1::2]  # top field first
    coded = ["-vf", "format=yuv420p,setfield=tff", "-c:v", "libx264", "-crf", "1", "-preset", "ultrafast"]
    for name, options in (
        ("interlaced.mkv", [*coded, "-flags", "+ilme+ildct", "-x264-params", "tff=1"]),
        ("mpeg2.mpg", [*coded[:2], "-c:v", "mpeg2video", "-q:v", "1", "-flags", "+ilme+ildct"]),
        ("progressive.mkv", ["-vf", "format=yuv420p", *coded[2:]]),
    ):
        encode(tmp_path / name, frames.tobytes(), "gray", "128x96", *options)
        result, data = ingest_rows(tmp_path, [{"participant": "a", "uri": name, "crop": (0, 0, 64, 48)}])
        shown_frames = read_frames(data / "tracks/04/s.a.mp4")[..., 1].astype(int)
        assert len(shown_frames) == 4 * result.tables["tracks"][0]["num_units"] == 48
        combs = np.abs(shown_frames[:, 1:-1:2] - (shown_frames[:, :-2:2] + shown_frames[:, 2::2]) // 2).mean()
        assert (combs > 20) == (name == "progressive.mkv"), (name, combs)  # unflagged: left as it is
        number = int(np.flatnonzero((fields[0::2, 0, :64] > 128).sum(axis=1) == 32)[3])
        shown = np.flatnonzero(shown_frames[number, 4] > 128)
        assert abs(shown[0] - (12 * number) % 128) <= 2, (name, number, shown)


@pytest.mark.parametrize("turned", [0, 90, 180, 270])
def test_crops_are_in_pixels_as_displayed(tmp_path: Path, turned: int) -> None:
    """A square and four patches, in a picture that is coded turned and half as wide."""
    shown = PATCHES.repeat(48, axis=0).repeat(64, axis=1)  # 96 rows of 128
    shown[40:56, 56:72] = 255
    coded = np.rot90(shown[:, ::2], -turned // 90)
    height, width, _ = coded.shape
    sar = "1/2" if turned % 180 else "2"  # as coded: the narrow side lies down with the picture
    size = f"{width}x{height}"
    encode(tmp_path / "coded.mp4", coded.tobytes() * 25, "rgb24", size, "-vf", f"setsar={sar}", *LOSSLESS)
    command = [media.ffmpeg_path(), "-v", "error", "-display_rotation", str(turned)]  # counterclockwise
    source, target = str(tmp_path / "coded.mp4"), str(tmp_path / "x.mp4")
    subprocess.run([*command, "-i", source, "-c", "copy", target], check=True)
    look = probe(tmp_path / "x.mp4")
    assert (look.width, look.height) == (128, 96)

    _, data = ingest_rows(tmp_path, [{"participant": "a", "uri": "x.mp4"}])
    whole = read_frames(data / "tracks/04/s.a.mp4")[2].astype(int)
    assert np.abs(whole[12::24, 16::32] - PATCHES).max() <= 6
    white = whole.min(axis=-1) > 225
    assert (white.any(axis=0).sum(), white.any(axis=1).sum()) == (8, 8)

    crop = {"participant": "a", "crop": (64, 0, 64, 48)}
    _, data = ingest_rows(tmp_path, [{"uri": "x.mp4", **crop}])
    part = read_frames(data / "tracks/04/s.a.mp4")[2].astype(int)
    assert np.abs(part[8:40, 12:60] - PATCHES[0, 1]).max() <= 6
