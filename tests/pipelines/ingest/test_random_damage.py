"""Media files with random damage, through the command: a session becomes tracks or a rejection, whatever is broken."""

import random
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipelines.engine.tables import read_rows
from pipelines.ingest.stage import main
from pipelines.media.tracks import read_frames, read_wav
from tests.helpers.chirps import ffmpeg
from tests.helpers.counts import count
from tests.helpers.small_corpus import keep_in_process

SAMPLES_PER_UNIT = 2560
SECONDS_PER_FILE = 20  # far above what one takes; a hang takes longer
SOURCES = ["-f", "lavfi", "-i", "testsrc2=s=32x32:r=25:d=1", "-f", "lavfi", "-i", "sine=500:r=16000:d=1"]
H264 = ["-c:v", "libx264", "-preset", "ultrafast", "-g", 10]
CODINGS: dict[str, list[object]] = {
    "a.mp4": [*H264, "-c:a", "aac"],
    "b.mp4": [*H264, "-c:a", "aac", "-movflags", "+faststart"],
    "c.mp4": [*H264, "-c:a", "aac", "-movflags", "frag_keyframe+empty_moov"],
    "d.mov": ["-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-c:a", "pcm_s16le"],
    "e.mkv": [*H264, "-c:a", "flac"],
    "f.webm": ["-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", 8, "-c:a", "libopus"],
    "g.ts": [*H264, "-c:a", "mp2"],
    "h.avi": ["-c:v", "mpeg4", "-c:a", "libmp3lame"],
    "i.flv": [*H264, "-c:a", "aac"],
    "j.wmv": ["-c:v", "wmv2", "-c:a", "wmav2"],
    "k.ogv": ["-c:v", "libtheora", "-c:a", "libvorbis"],
    "l.mpg": ["-c:v", "mpeg2video", "-c:a", "mp2"],
    "m.m4a": ["-vn", "-c:a", "aac"],
    "n.wav": ["-vn"],
    "o.flac": ["-vn"],
    "p.mp3": ["-vn", "-c:a", "libmp3lame"],
    "q.aac": ["-vn", "-c:a", "aac"],
    "r.amr": ["-vn", "-c:a", "libopencore_amrnb", "-ar", 8000, "-ac", 1],
    "s.opus": ["-vn", "-c:a", "libopus"],
    "t.aiff": ["-vn"],
}


def truncated(content: bytes, others: list[bytes], chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content))]


def flipped(content: bytes, others: list[bytes], chance: random.Random) -> bytes:
    turned = bytearray(content)
    for _ in range(chance.choice((1, 3, 30, 300))):
        turned[chance.randrange(len(turned))] ^= 1 << chance.randrange(8)
    return bytes(turned)


def shortened(content: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """Some bytes are missing in the middle."""
    start = chance.randrange(len(content))
    return content[:start] + content[start + chance.choice((1, 4, 100, 2000)) :]


def spliced(content: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """A piece of another file in the middle."""
    other, start = chance.choice(others), chance.randrange(len(content))
    begin = chance.randrange(len(other))
    return content[:start] + other[begin : begin + chance.choice((8, 500, 5000))] + content[start:]


def blanked(content: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """A piece of zeros, as of a disk that lost a sector."""
    start = chance.randrange(len(content))
    size = chance.choice((16, 512, 4096))
    return content[:start] + bytes(len(content[start : start + size])) + content[start + size :]


def swapped_header(content: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """The beginning of another file, and a wrong suffix."""
    size = chance.choice((4, 64, 600))
    return chance.choice(others)[:size] + content[size:]


DAMAGES: tuple[Callable[[bytes, list[bytes], random.Random], bytes], ...] = (
    truncated, flipped, shortened, spliced, blanked, swapped_header,
)  # fmt: skip


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("originals")
    for name, coding in CODINGS.items():
        ffmpeg(*SOURCES, "-pix_fmt", "yuv420p", *coding, "-threads", 1, folder / name)
    return {name: (folder / name).read_bytes() for name in CODINGS}


@pytest.mark.counts
@pytest.mark.slow
def test_every_damaged_file_is_a_track_or_a_rejection(
    originals: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_in_process(monkeypatch)
    num_files, contents = count(500), list(originals.values())
    for number in range(num_files):
        chance = random.Random(number)
        name = list(CODINGS)[number % len(CODINGS)]
        damage = DAMAGES[number // len(CODINGS) % len(DAMAGES)] if num_files > 20 else chance.choice(DAMAGES)
        session = tmp_path / f"in/{number:03d}-{damage.__name__}-{name[0]}"
        session.mkdir(parents=True)
        (session / f"a{Path(name).suffix}").write_bytes(damage(originals[name], contents, chance))
    (tmp_path / "in/whole").mkdir()
    (tmp_path / "in/whole/a.mp4").write_bytes(originals["a.mp4"])
    arguments = ["ingest", "--data", str(tmp_path / "out"), "--set", f"ingest.source={tmp_path / 'in'}"]
    monkeypatch.setattr(sys, "argv", [*arguments, "--set", f"run.key_timeout_s={SECONDS_PER_FILE}"])
    main()  # raises for a traceback, and for an error that is a user's
    tracks = {row["session_id"]: row for row in read_rows(tmp_path / "out", "tracks")}
    rejected = {}
    for row in read_rows(tmp_path / "out", "rejections/ingest"):
        assert row["reason"] and row["detail"] and "\n" not in row["detail"] and "return code" not in row["detail"], row
        assert str(tmp_path) not in row["detail"] and "@ 0x" not in row["detail"], row
        if "/" not in row["key"]:
            rejected[row["key"]] = row["reason"]
    assert "timeout" not in " ".join(rejected.values())
    assert set(tracks) | set(rejected) == {path.name for path in (tmp_path / "in").iterdir()}
    assert not set(tracks) & set(rejected) and "whole" in tracks
    assert min(len(tracks), len(rejected)) > num_files // 10
    for row in tracks.values():
        num_units = row["num_units"]
        assert 1 <= num_units <= 60 * 60 * 7
        if row["audio_path"]:
            audio, _ = read_wav(tmp_path / "out" / row["audio_path"])
            assert len(audio) == num_units * SAMPLES_PER_UNIT and np.isfinite(audio).all()
        if row["video_path"]:
            assert len(read_frames(tmp_path / "out" / row["video_path"])) == 4 * num_units
