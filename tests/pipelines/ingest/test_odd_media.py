"""Files as people have them: each becomes a track whose flashes and beeps are in their places, or says why not."""

import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import av
import pytest

from pipelines.engine.jobs import Rejected
from pipelines.media import tracks as media
from pipelines.media.tracks import read_frames
from tests.helpers.clips import ingest_rows, make_clip, onsets_ms
from tests.helpers.counts import seeds

FLASHES_MS = [600, 2200]
H264 = ["-c:v", "libx264", "-preset", "ultrafast", "-threads", "1"]
AAC = ["-c:a", "aac"]
GOOD: dict[str, tuple[list[str], list[str]]] = {  # file name -> options before and after the input
    "vp9.webm": ([], ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-c:a", "libopus"]),
    "vp8.mkv": ([], ["-c:v", "libvpx", "-deadline", "realtime", "-c:a", "libvorbis"]),
    "mpeg4.avi": ([], ["-c:v", "mpeg4", "-q:v", "3", "-c:a", "libmp3lame"]),
    "mpeg2.mpg": ([], ["-c:v", "mpeg2video", "-q:v", "3", "-c:a", "mp2"]),
    "prores.mov": ([], ["-c:v", "prores_ks", "-profile:v", "0", "-c:a", "pcm_s24le"]),
    "mjpeg.mov": ([], ["-c:v", "mjpeg", "-q:v", "3", "-c:a", "pcm_s16le"]),
    "stream.ts": ([], [*H264, *AAC]),
    "fragments.mp4": ([], [*H264, *AAC, "-movflags", "frag_keyframe+empty_moov"]),
    "hevc_10bit.mp4": ([], ["-c:v", "libx265", "-preset", "ultrafast", "-pix_fmt", "yuv420p10le", *AAC]),
    "yuv444.mkv": ([], [*H264, "-pix_fmt", "yuv444p", "-c:a", "flac"]),
    "full_range.mp4": ([], [*H264, "-vf", "scale=out_range=full", "-color_range", "pc", *AAC]),
    "interlaced.mkv": ([], [*H264, "-flags", "+ilme+ildct", "-c:a", "flac"]),
    "odd_size.mkv": ([], ["-vf", "scale=127:95", "-c:v", "ffv1", "-c:a", "flac"]),
    "anamorphic.mp4": ([], [*H264, "-vf", "scale=64:96,setsar=2", *AAC]),
    "upright.mp4": (["-display_rotation", "90"], [*H264, *AAC]),
    "60fps.mp4": ([], [*H264, "-r", "60", *AAC]),
    "12.5fps.mp4": ([], [*H264, "-r", "12.5", *AAC]),
    "variable_rate.mp4": ([], [*H264, "-vf", "select='not(mod(n,3))+eq(mod(n,7),2)'", "-fps_mode", "vfr", *AAC]),
    "surround.mp4": ([], [*H264, *AAC, "-ac", "6"]),
    "eight_channels.mkv": ([], [*H264, "-c:a", "flac", "-ac", "8"]),
    "telephone.mkv": ([], [*H264, "-c:a", "pcm_mulaw", "-ar", "8000"]),
    "96khz.mkv": ([], [*H264, "-c:a", "flac", "-ar", "96000"]),
    "two_sounds.mkv": ([], ["-map", "0:v", "-map", "0:a", "-map", "0:a", *H264, "-c:a", "flac"]),
    "b_frames.mp4": ([], ["-c:v", "libx264", "-bf", "3", "-threads", "1", *AAC]),
    "no_sound.mp4": ([], [*H264, "-an"]),
    "no_picture.m4a": ([], ["-vn", *AAC]),
    "no_picture.ogg": ([], ["-vn", "-c:a", "libvorbis"]),
    "no_picture.mp3": ([], ["-vn", "-c:a", "libmp3lame"]),
}


# Their audio coder's delay of some 20 ms is not noted in the file.
NO_DELAY_KEPT = ("mpeg4.avi", "stream.ts", "fragments.mp4", "vp8.mkv")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("odd") / "clip.mkv"
    make_clip(path, seconds=3, lossless=True)
    return path


def convert(clip: Path, target: Path, before: list[str], after: list[str]) -> Path:
    command = [media.ffmpeg_path(), "-v", "error", "-y", *before, "-i", str(clip), *after, str(target)]
    subprocess.run(command, check=True, timeout=60)
    return target


@pytest.mark.parametrize("name", GOOD)
def test_flashes_and_beeps_are_where_they_were(clip: Path, tmp_path: Path, name: str) -> None:
    convert(clip, tmp_path / name, *GOOD[name])
    result, data = ingest_rows(tmp_path, [{"participant": "a", "uri": name}])
    assert result.rejections == []
    row = result.tables["tracks"][0]
    assert row["num_units"] >= 17  # of 18; codecs may cost the last
    has_picture, has_sound = not name.startswith("no_picture"), not name.startswith("no_sound")
    assert (row["video_path"] is not None, row["audio_path"] is not None) == (has_picture, has_sound)
    if has_picture:
        frames = read_frames(data / "tracks/04/s.a.mp4")
        assert len(frames) == 4 * row["num_units"] and frames.shape[1:] == (48, 64, 3)
    if has_picture and has_sound:
        flashes, beeps = onsets_ms(data / "tracks/04/s.a")
        assert [abs(found - true) <= 40 for found, true in zip(flashes, shown_ms(tmp_path / name), strict=True)] == [
            True, True,
        ]  # fmt: skip
        delay_ms = 25 if name in NO_DELAY_KEPT else 10
        assert [abs(found - true) <= delay_ms for found, true in zip(beeps, FLASHES_MS, strict=True)] == [True, True]


def shown_ms(path: Path) -> list[float]:
    """When the file's own frames turn bright, from the instant the file begins; the coder may have moved them."""
    with av.open(str(path)) as container:
        frames = [(float(frame.time or 0), frame) for frame in container.decode(video=0)]
        begin_s = (container.start_time or 0) / av.time_base
        # Narrow range or full, 8 bit or 10: relative to the brightest.
        light = [(at, float(frame.reformat(format="rgb24").to_ndarray().mean())) for at, frame in frames]
    shown = [1000 * (two[0] - begin_s) for one, two in zip(light, light[1:], strict=False) if two[1] > 128 >= one[1]]
    assert [abs(found - true) <= 130 for found, true in zip(shown, FLASHES_MS, strict=True)] == [True, True]
    return shown


def zeros(path: Path, start: int, count: int) -> None:
    content = bytearray(path.read_bytes())
    content[start : start + count] = bytes(min(count, len(content) - start))
    path.write_bytes(content)


def cut(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


BAD: dict[str, tuple[Callable[[Path, Path], object], set[str]]] = {
    "empty.mp4": (lambda clip, path: path.write_bytes(b""), {"unreadable"}),
    "text.mp4": (lambda clip, path: path.write_text("this is no film\n" * 100), {"unreadable"}),
    "noise.mkv": (lambda clip, path: path.write_bytes(random.Random(0).randbytes(50_000)), {"unreadable"}),
    "page.mp4": (lambda clip, path: path.write_text("<html><body>404 not found</body></html>"), {"unreadable"}),
    "head_gone.mp4": (lambda clip, path: (convert(clip, path, [], [*H264, *AAC]), zeros(path, 0, 64)), {"unreadable"}),
    "end_gone.mp4": (lambda clip, path: (convert(clip, path, [], [*H264, *AAC]), cut(path, 0.7)), {"unreadable"}),
    "end_gone.mov": (
        lambda clip, path: (convert(clip, path, [], [*H264, *AAC, "-movflags", "+faststart"]), cut(path, 0.5)),
        {"truncated", "unreadable"},
    ),
    "head_only.mkv": (lambda clip, path: (convert(clip, path, [], [*H264, *AAC]), cut(path, 0.01)), {"unreadable"}),
    "subtitles.mkv": (
        lambda clip, path: subprocess.run(
            [media.ffmpeg_path(), "-v", "error", "-f", "srt", "-i", "pipe:0", str(path)],
            input=b"1\n00:00:00,000 --> 00:00:01,000\nhello\n", check=True,
        ),
        {"no_streams", "unreadable"},
    ),
    "short.mp4": (lambda clip, path: convert(clip, path, [], ["-t", "0.1", *H264, *AAC]), {"too_short", "unreadable"}),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_used_says_why(clip: Path, tmp_path: Path, name: str) -> None:
    make, reasons = BAD[name]
    make(clip, tmp_path / name)
    with pytest.raises(Rejected) as caught:
        ingest_rows(tmp_path, [{"participant": "a", "uri": name}])
    assert caught.value.reason in reasons
    assert caught.value.detail and "\n" not in caught.value.detail and len(caught.value.detail) < 400


@pytest.mark.parametrize("seed", seeds(24, 8))
def test_damage_in_the_middle_never_hangs_and_never_shifts_the_rest(clip: Path, tmp_path: Path, seed: int) -> None:
    """Bytes turned at random, in several containers: a track of the right shape, or a reason."""
    chance = random.Random(seed)
    name = ("x.mp4", "x.mkv", "x.ts", "x.mov")[seed % 4]
    path = convert(clip, tmp_path / name, [], [*H264, *AAC])
    content = bytearray(path.read_bytes())
    for _ in range(chance.choice((1, 10, 200))):
        content[chance.randrange(len(content))] = chance.randrange(256)
    path.write_bytes(content)
    try:
        result, data = ingest_rows(tmp_path, [{"participant": "a", "uri": name}])
    except Rejected as rejected:
        reasons = ("unreadable", "truncated", "no_streams", "too_short", "changes_format")
        assert rejected.reason in reasons and rejected.detail
        return
    row = result.tables["tracks"][0]
    if row["video_path"]:
        assert len(read_frames(data / "tracks/04/s.a.mp4")) == 4 * row["num_units"]
