"""Files with several streams and many channels: which is taken, and how channels become one."""

import subprocess
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.engine.jobs import Rejected
from pipelines.media import tracks as media
from pipelines.media.tracks import read_frames, read_wav
from pipelines.sources.find import read_manifest
from tests.helpers.clips import ingest_rows
from wanstreamer.errors import InputError

TONES_HZ = (500, 900, 1300)
GREYS = (50, 200)


def ffmpeg(*arguments: str) -> None:
    subprocess.run([media.ffmpeg_path(), "-v", "error", "-y", *arguments], check=True, timeout=60)


def many_streams(path: Path, *more: str) -> None:
    """Two pictures (dark, bright) and three sounds, told apart by their tones."""
    inputs = [["-f", "lavfi", "-i", f"color=0x{grey:02x}{grey:02x}{grey:02x}:s=64x48:r=25:d=1"] for grey in GREYS]
    inputs += [["-f", "lavfi", "-i", f"sine={tone}:r=48000:d=1"] for tone in TONES_HZ]
    maps = [part for number in range(5) for part in ("-map", str(number))]
    codecs = ["-c:v", "ffv1", "-c:a", "flac"]
    if path.suffix in (".mp4", ".ts"):
        codecs = ["-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac"]
    ffmpeg(*(part for one in inputs for part in one), *maps, *codecs, *more, str(path))


def taken(folder: Path, **row: Any) -> tuple[int, int]:
    """Indices of the picture and the sound that became the track."""
    _, data = ingest_rows(folder, [{"participant": "a", **row}])
    audio, rate_hz = read_wav(data / "tracks/04/s.a.wav")
    tone_hz = np.abs(np.fft.rfft(audio)).argmax() * rate_hz / len(audio)
    grey = read_frames(data / "tracks/04/s.a.mp4").mean()
    return int(np.abs(np.array(GREYS) - grey).argmin()), int(np.abs(np.array(TONES_HZ) - tone_hz).argmin())


TAGS = ["-metadata:s:a:0", "language=ger", "-metadata:s:a:1", "language=eng", "-metadata:s:a:2", "language=fre"]


@pytest.mark.parametrize(
    ("name", "row", "expected"),
    [
        ("x.mkv", {}, (0, 0)),
        ("x.mkv", {"language": "en-US"}, (0, 1)),
        ("x.mp4", {"language": "fr"}, (0, 2)),
        ("x.ts", {"language": "en"}, (0, 1)),
        ("x.mp4", {"language": "ja"}, (0, 0)),  # not there
        ("x.ts", {"language": "fr", "audio_stream": 1, "video_stream": 1}, (1, 1)),
    ],
)
def test_the_stream_is_chosen_by_number_then_by_language(
    tmp_path: Path, name: str, row: dict[str, Any], expected: tuple[int, int]
) -> None:
    many_streams(tmp_path / name, *TAGS)
    assert taken(tmp_path, uri=name, **row) == expected


def test_the_default_stream_goes_before_the_first(tmp_path: Path) -> None:
    flags = ["-disposition:a:0", "0", "-disposition:a:1", "0", "-disposition:a:2", "default"]
    many_streams(tmp_path / "x.mkv", *TAGS, *flags, "-disposition:v:0", "0", "-disposition:v:1", "default")
    assert taken(tmp_path, uri="x.mkv") == (1, 2)
    assert taken(tmp_path, uri="x.mkv", language="de") == (1, 0)


def test_sound_beside_the_picture_is_chosen_likewise(tmp_path: Path) -> None:
    many_streams(tmp_path / "x.mkv", *TAGS)
    many_streams(tmp_path / "y.mkv", *TAGS)
    row = {"uri": "x.mkv", "audio_uri": "y.mkv", "video_stream": 1}
    assert taken(tmp_path, **row, language="en") == (1, 1)
    assert taken(tmp_path, **row, audio_stream=2) == (1, 2)


@pytest.mark.parametrize(
    ("column", "number", "said"),
    [("audio_stream", 3, "audio_stream 3 of 3"), ("video_stream", 2, "video_stream 2 of 2")],
)
def test_a_stream_that_is_not_there_is_said(tmp_path: Path, column: str, number: int, said: str) -> None:
    many_streams(tmp_path / "x.mkv")
    with pytest.raises(Rejected, match=said) as caught:
        ingest_rows(tmp_path, [{"participant": "a", "uri": "x.mkv", column: number}])
    assert caught.value.reason == "no_such_stream"
    manifest = tmp_path / "manifest.csv"
    manifest.write_text(f"session_id,uri,{column}\ns,x.mkv,second\n")
    with pytest.raises(InputError, match=f"row 1: {column} `second`: expected a whole number"):
        read_manifest(manifest)
    manifest.write_text(f"session_id,uri,{column}\ns,x.mkv,1\n")
    assert getattr(read_manifest(manifest)[0], column) == 1


def test_a_cover_picture_is_no_film(tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "color=red:s=64x48:d=1", "-frames:v", "1", str(tmp_path / "cover.png"))
    sound = ["-f", "lavfi", "-i", "sine=500:r=48000:d=1"]
    cover = ["-i", str(tmp_path / "cover.png"), *sound, "-map", "0", "-map", "1", "-disposition:v", "attached_pic"]
    for name, codec in (("song.m4a", "aac"), ("song.mp3", "libmp3lame")):
        ffmpeg(*cover, "-c:v", "copy", "-c:a", codec, str(tmp_path / name))
        result, _ = ingest_rows(tmp_path, [{"participant": "a", "uri": name}])
        row = result.tables["tracks"][0]
        assert row["video_path"] is None and row["audio_path"] is not None


def write_channels(path: Path, *, channels: int, loud: dict[int, float]) -> None:
    """A tone on some channels of a WAV that does not say where its channels stand."""
    tone = 32767 * np.sin(2 * np.pi * 500 * np.arange(48000) / 48000)
    samples_TC = np.stack([loud.get(channel, 0.0) * tone for channel in range(channels)], axis=1)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(48000)
        file.writeframes(np.round(samples_TC).astype("<i2").tobytes())


def level(folder: Path, name: str, **row: Any) -> float:
    _, data = ingest_rows(folder, [{"participant": "a", "uri": name, **row}])
    return float(np.abs(read_wav(data / "tracks/04/s.a.wav")[0][2000:-2000]).max())


@pytest.mark.parametrize(
    ("name", "channels", "loud", "expected"),
    [
        ("mono.mkv", 1, {0: 0.8}, 0.8),
        ("dual_mono.mkv", 2, {0: 0.8, 1: 0.8}, 0.8),
        ("one_side.mkv", 2, {1: 0.8}, 0.4),
        ("film.mkv", 6, dict.fromkeys(range(6), 0.9), 0.9),  # nothing clips
        ("film.mkv", 6, {2: 0.8}, 0.8 / (1 + 2 * 0.5**0.5 + 1)),  # centre
        ("film.mkv", 6, {3: 0.8}, 0.0),  # bass
        ("film.mkv", 8, dict.fromkeys(range(8), 0.9), 0.9),
        ("film.mkv", 8, {7: 0.8}, 0.4 / (1 + 2 * 0.5**0.5 + 2)),
        ("array.wav", 8, dict.fromkeys(range(8), 0.9), 0.9),
        ("array.wav", 8, {3: 0.8}, 0.1),
        ("array.wav", 16, {9: 0.8}, 0.05),
    ],
)
def test_channels_become_one_without_clipping(
    tmp_path: Path, name: str, channels: int, loud: dict[int, float], expected: float
) -> None:
    write_channels(tmp_path / "array.wav", channels=channels, loud=loud)
    if name != "array.wav":  # ffmpeg takes six or eight channels for surround sound, and notes it
        ffmpeg("-i", str(tmp_path / "array.wav"), "-c:a", "flac", str(tmp_path / name))
    assert level(tmp_path, name) == pytest.approx(expected, abs=0.003)
    for channel in {0, channels // 2, channels - 1}:
        assert level(tmp_path, name, channel=channel) == pytest.approx(loud.get(channel, 0.0), abs=0.003)
    with pytest.raises(Rejected, match=f"channel {channels} of {channels}"):
        level(tmp_path, name, channel=channels)
