"""What a container claims against what its packets hold: filled alike in every container, cut off only what is cut."""

import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from pipelines.engine.jobs import Rejected
from pipelines.ingest import long_videos
from pipelines.media.probing import probe
from pipelines.media.process import complaint
from pipelines.media.timelines import timeline
from pipelines.media.tracks import read_frames, read_wav, write_wav
from tests.helpers.chirps import CHIRP_S, RATE_HZ, chirp, ffmpeg
from tests.helpers.clips import ingest_rows

EVENTS_S = (1.0, 3.0, 5.0)  # of white frames and chirps
H264 = ["-c:v", "libx264", "-preset", "ultrafast", "-g", 10, "-bf", 0]
VP8 = ["-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", 8]
CONTAINERS: dict[str, list[Any]] = {
    "x.mp4": [*H264, "-c:a", "aac"],
    "fast.mp4": [*H264, "-c:a", "aac", "-movflags", "+faststart"],
    "pieces.mp4": [*H264, "-c:a", "aac", "-movflags", "frag_keyframe+empty_moov"],
    "x.mov": ["-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-c:a", "pcm_s16le"],
    "x.mkv": [*H264, "-c:a", "libopus"],
    "x.webm": [*VP8, "-c:a", "libopus"],
    "live.webm": [*VP8, "-c:a", "libopus", "-live", 1],
    "x.avi": ["-c:v", "mpeg4", "-c:a", "libmp3lame"],
    "x.ts": [*H264, "-c:a", "mp2"],
    "x.mpg": ["-c:v", "mpeg2video", "-c:a", "mp2"],
    "x.flv": [*H264, "-c:a", "aac"],
    "x.wmv": ["-c:v", "wmv2", "-c:a", "wmav2"],
    "x.ogv": ["-c:v", "libtheora", "-c:a", "libvorbis"],
    "x.3gp": [*H264, "-c:a", "aac"],
}


def write_sound(path: Path, seconds: float) -> None:
    sound = np.zeros(round(48000 * seconds), np.float32)
    for at in EVENTS_S:
        if at + CHIRP_S < seconds:
            sound[round(48000 * at) :][: round(48000 * CHIRP_S)] = 0.5 * chirp(48000)
    write_wav(path, sound, 48000)


def record(path: Path, *options: Any, picture_s: float = 6, sound_s: float = 6, frames: str = "") -> Path:
    """A white frame and a chirp at each of EVENTS_S, as far as picture and sound go; `frames`: an ffmpeg filter."""
    wav = path.with_suffix(".sound.wav")
    write_sound(wav, sound_s)
    white = np.zeros((round(25 * picture_s), 48, 64), np.uint8)
    for at in EVENTS_S:
        white[round(25 * at) : round(25 * at) + 1] = 255
    raw = ["-f", "rawvideo", "-pix_fmt", "gray", "-s", "64x48", "-r", 25, "-i", "pipe:"]
    chosen = ["-vf", frames, "-fps_mode", "passthrough"] if frames else []
    # The options come last, so that they may say yuvj420p.
    coded = ["-pix_fmt", "yuv420p", *chosen, *options, "-threads", 1]
    ffmpeg(*raw, "-i", wav, *coded, path, input=white.tobytes())
    wav.unlink()
    return path


def ingested(folder: Path, name: str, **row: Any) -> tuple[dict[str, Any], list[float], list[float], Any]:
    """The row of the track, when it turns white and when chirps begin in s, and the result."""
    result, data = ingest_rows(folder, [{"participant": "a", "uri": name, **row}])
    track = result.tables["tracks"][0]
    flashes: list[float] = []
    if track["video_path"]:
        light = read_frames(data / track["video_path"]).mean(axis=(1, 2, 3)) > 128
        assert len(light) == 4 * track["num_units"]
        flashes = (np.flatnonzero(light & ~np.append(False, light[:-1])) / 25).tolist()
    chirps: list[float] = []
    if track["audio_path"]:
        audio, _ = read_wav(data / track["audio_path"])
        assert len(audio) == track["num_units"] * RATE_HZ * 160 // 1000
        likeness = np.abs(np.correlate(audio, chirp(RATE_HZ), "valid"))
        while likeness.max() > 0.3 * 0.5 * (chirp(RATE_HZ) ** 2).sum():
            at = int(likeness.argmax())
            chirps.append(at / RATE_HZ)
            likeness[max(0, at - RATE_HZ // 8) : at + RATE_HZ // 8] = 0
    return track, flashes, sorted(chirps), result


def assert_near(found: list[float], expected: tuple[float, ...], within_s: float = 0.06) -> None:
    assert len(found) == len(expected) and np.abs(np.array(found) - expected).max() <= within_s, (found, expected)


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_camera_that_is_switched_off_is_a_picture_that_stands(tmp_path: Path, name: str) -> None:
    record(tmp_path / name, *CONTAINERS[name], picture_s=2.4)
    track, flashes, chirps, result = ingested(tmp_path, name)
    assert track["num_units"] == 37 and not result.rejections
    assert_near(flashes, EVENTS_S[:1])
    assert_near(chirps, EVENTS_S)
    assert 3440 <= track["video_held_ms"] <= 3620 and track["audio_filled_ms"] <= 30


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_sound_that_ends_early_is_silent(tmp_path: Path, name: str) -> None:
    record(tmp_path / name, *CONTAINERS[name], sound_s=2.4)
    track, flashes, chirps, result = ingested(tmp_path, name)
    assert track["num_units"] == 37 and not result.rejections
    assert_near(flashes, EVENTS_S)
    assert_near(chirps, EVENTS_S[:1])
    assert 3440 <= track["audio_filled_ms"] <= 3620 and track["video_held_ms"] == 0


@pytest.mark.parametrize("name", ["x.mp4", "x.mkv", "x.mov", "x.ts"])
def test_streams_that_begin_late_are_filled_alike(tmp_path: Path, name: str) -> None:
    whole = record(tmp_path / f"whole{Path(name).suffix}", *CONTAINERS[name])
    for late, other in (("v", "a"), ("a", "v")):
        inputs = ["-i", whole, "-itsoffset", 2.4, "-i", whole]
        ffmpeg(*inputs, "-map", f"0:{other}", "-map", f"1:{late}", "-c", "copy", "-t", 8, tmp_path / name)
        track, flashes, chirps, result = ingested(tmp_path, name)
        assert 50 <= track["num_units"] <= 52 and not result.rejections
        delayed = tuple(at + 2.4 for at in EVENTS_S)
        assert_near(flashes, delayed if late == "v" else EVENTS_S)
        assert_near(chirps, delayed if late == "a" else EVENTS_S)
        filled, whole_ms = ("video_held_ms", "audio_filled_ms") if late == "v" else ("audio_filled_ms", "video_held_ms")
        assert 2300 <= track[filled] <= 2500 and 1900 <= track[whole_ms] <= 2600  # the other one ends early


@pytest.mark.parametrize("name", ["x.mp4", "x.mkv", "x.webm", "live.webm", "x.mov"])
def test_one_picture_and_frames_on_change_last_as_long_as_the_sound(tmp_path: Path, name: str) -> None:
    record(tmp_path / name, *CONTAINERS[name], frames="select='eq(n,0)'")
    track, _, chirps, _ = ingested(tmp_path, name)
    assert track["num_units"] == 37 and track["video_held_ms"] >= 5900
    assert_near(chirps, EVENTS_S)
    record(tmp_path / name, *CONTAINERS[name], frames="select='between(mod(n,50),24,26)'")
    track, flashes, chirps, _ = ingested(tmp_path, name)
    assert track["num_units"] == 37 and 5000 <= track["video_held_ms"] <= 5980
    assert_near(flashes, EVENTS_S)
    assert_near(chirps, EVENTS_S)


def test_two_files_are_filled_like_one(tmp_path: Path) -> None:
    record(tmp_path / "x.mkv", *CONTAINERS["x.mkv"], picture_s=2.4)
    write_sound(tmp_path / "y.wav", 6)
    track, flashes, chirps, _ = ingested(tmp_path, "x.mkv", audio_uri="y.wav")
    assert track["num_units"] == 37 and 3440 <= track["video_held_ms"] <= 3620
    assert_near(flashes, EVENTS_S[:1])
    assert_near(chirps, EVENTS_S)


def test_ends_a_few_frames_apart_add_nothing(tmp_path: Path) -> None:
    record(tmp_path / "x.mkv", *CONTAINERS["x.mkv"], picture_s=5.6)
    track, _, _, _ = ingested(tmp_path, "x.mkv")
    assert (track["num_units"], track["video_held_ms"], track["audio_filled_ms"]) == (35, 0, 0)


@pytest.mark.parametrize("name", ["x.mkv", "x.webm"])
def test_matroska_states_the_end_of_its_last_block(tmp_path: Path, name: str) -> None:
    whole = record(tmp_path / f"whole{Path(name).suffix}", *CONTAINERS[name])
    ffmpeg("-i", whole, "-c", "copy", "-output_ts_offset", 5, "-copyts", tmp_path / name)
    with av.open(str(tmp_path / name)) as container:
        assert container.duration > 10_900_000  # of 6 s
    track, flashes, chirps, _ = ingested(tmp_path, name)
    assert track["num_units"] == 37
    assert_near(flashes, EVENTS_S)
    assert_near(chirps, EVENTS_S)


def remux(folder: Path, name: str, late_s: Callable[[Any], float | None]) -> None:
    """Record Matroska and copy its packets to `name`, each so many seconds later; None: the packet is left out."""
    whole = record(folder / "whole.mkv", *CONTAINERS["x.mkv"])
    with av.open(str(whole)) as source, av.open(str(folder / name), "w") as target:
        streams = [target.add_stream_from_template(stream) for stream in source.streams]
        for packet in source.demux():
            if packet.dts is None or (seconds := late_s(packet)) is None:
                continue
            packet.pts, packet.dts = (at + int(seconds / packet.time_base) for at in (packet.pts, packet.dts))
            packet.stream = streams[packet.stream_index]
            target.mux(packet)


def test_a_clock_that_leaps_by_an_hour_is_joined_in_matroska_too(tmp_path: Path) -> None:
    remux(tmp_path, "x.mkv", lambda packet: 3700 if packet.pts * packet.time_base >= 2.4 else 0)
    track, flashes, chirps, _ = ingested(tmp_path, "x.mkv")
    assert track["num_units"] == 37 and track["clock_joins"] == 1
    assert_near(flashes, EVENTS_S)
    assert_near(chirps, EVENTS_S)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("x.aac", ["-c:a", "aac", "-b:a", "96k"]),
        ("x.amr", ["-c:a", "libopencore_amrnb", "-ar", 8000, "-ac", 1]),
        ("x.mp3", ["-c:a", "libmp3lame", "-q:a", 5, "-write_xing", 0]),
        ("x.ac3", ["-c:a", "ac3"]),
        ("live.mka", ["-c:a", "pcm_s16le", "-live", 1]),
    ],
)
def test_a_length_guessed_from_a_bit_rate_is_no_claim(tmp_path: Path, name: str, options: list[Any]) -> None:
    """Loud first, then silent: the bit rate of the beginning is not that of the whole."""
    noise = "anoisesrc=r=48000:d=4:a=0.5:seed=1,apad=whole_dur=24"
    ffmpeg("-f", "lavfi", "-i", noise, *options, tmp_path / name)
    assert probe(tmp_path / name).duration_ms == 0
    track, _, _, result = ingested(tmp_path, name)
    assert track["num_units"] in (150, 151) and not result.rejections


CUT = {  # container -> what the rejection says
    "fast.mp4": r"video \d+ of 6000 ms, audio \d+ of 60\d\d ms",
    "x.mkv": r"\d+ of 60\d\d ms", "x.webm": r"\d+ of 60\d\d ms", "x.flv": r"\d+ of 60\d\d ms",
    "x.avi": r"video \d+ of 60\d\d ms, audio \d+ of 60\d\d ms",
}  # fmt: skip


@pytest.mark.parametrize("name", CUT)
@pytest.mark.parametrize("picture_s", [6, 4.8])
def test_a_file_that_is_cut_off_says_where(tmp_path: Path, name: str, picture_s: float) -> None:
    path = record(tmp_path / name, *CONTAINERS[name], picture_s=picture_s)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(Rejected) as caught:
        ingested(tmp_path, name)
    assert caught.value.reason == "truncated"
    said = CUT[name].replace("video \\d+ of 6000", "video \\d+ of 4800") if picture_s < 6 else CUT[name]
    said = said.replace("video \\d+ of 60\\d\\d", "video \\d+ of 48\\d\\d") if picture_s < 6 else said
    assert re.search(said, caught.value.detail), caught.value.detail


def test_one_stream_that_is_cut_off_is_told_from_one_that_ends_early(tmp_path: Path) -> None:
    """The sound of this file comes after its pictures."""
    whole = record(tmp_path / "whole.mp4", *CONTAINERS["x.mp4"], picture_s=3.2)
    apart = ["-max_interleave_delta", 1, "-movflags", "+faststart"]
    ffmpeg("-i", whole, "-i", whole, "-map", "0:v", "-map", "1:a", "-c", "copy", *apart, tmp_path / "x.mp4")
    assert ingested(tmp_path, "x.mp4")[0]["num_units"] == 37
    content = (tmp_path / "x.mp4").read_bytes()
    (tmp_path / "x.mp4").write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(Rejected, match=r"audio \d+ of 60\d\d ms"):
        ingested(tmp_path, "x.mp4")


@pytest.mark.parametrize("name", ["x.wav", "x.flac", "x.mp3", "x.aiff", "x.caf", "x.au"])
def test_a_sound_file_that_is_cut_off_is_known(tmp_path: Path, name: str) -> None:
    write_sound(tmp_path / "sound.wav", 6)
    ffmpeg("-i", tmp_path / "sound.wav", tmp_path / name)
    assert ingested(tmp_path, name)[0]["num_units"] == 37
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(Rejected, match=r"(audio )?[1-3]\d\d\d of 6\d\d\d ms") as caught:
        ingested(tmp_path, name)
    assert caught.value.reason == "truncated"


@pytest.mark.parametrize("num_bytes", [0, 0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000])
def test_a_wav_written_through_a_pipe_is_as_long_as_it_is(tmp_path: Path, num_bytes: int) -> None:
    write_sound(tmp_path / "x.wav", 6)
    content = bytearray((tmp_path / "x.wav").read_bytes()[:-3])  # and ends within a sample
    content[4:8] = content[40:44] = num_bytes.to_bytes(4, "little")
    (tmp_path / "x.wav").write_bytes(content)
    track, _, chirps, _ = ingested(tmp_path, "x.wav")
    assert track["num_units"] == 37
    assert_near(chirps, EVENTS_S)


def damaged(path: Path, share: float, seed: int = 0) -> int:
    """Turn all bytes within a share of the packets of sound; returns the number of damaged packets."""
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(audio=0) if packet.size and packet.pos]
    chosen = random.Random(seed).sample(packets[5:-5], max(1, round(share * len(packets))))
    content = bytearray(path.read_bytes())
    for start, size in chosen:
        content[start : start + size] = bytes(byte ^ 0xFF for byte in content[start : start + size])
    path.write_bytes(content)
    return len(chosen)


def test_a_damaged_packet_of_sound_is_a_gap(tmp_path: Path) -> None:
    record(tmp_path / "x.mp4", *CONTAINERS["x.mp4"])
    count = damaged(tmp_path / "x.mp4", 0.02)
    track, _, chirps, result = ingested(tmp_path, "x.mp4")
    assert track["num_units"] == 37 and len(chirps) >= 2
    assert 1 <= len(result.rejections) <= count
    assert {(key, reason) for key, reason, _ in result.rejections} == {("s/a", "damaged_sound")}
    assert track["audio_filled_ms"] == pytest.approx(len(result.rejections) * 1000 * 1024 / 48000, abs=2)
    for _, _, detail in result.rejections:
        assert detail and "return code" not in detail and "0x" not in detail


def test_too_much_damaged_sound_is_rejected_with_figures(tmp_path: Path) -> None:
    record(tmp_path / "x.m4a", "-vn", "-c:a", "aac")
    damaged(tmp_path / "x.m4a", 0.5)
    said = r"x\.m4a: \d+ of \d\d\d packets of sound cannot be decoded, 20% may be: "
    with pytest.raises(Rejected, match=said) as caught:
        ingested(tmp_path, "x.m4a")
    assert caught.value.reason == "damaged"


def test_damaged_pictures_are_counted(tmp_path: Path) -> None:
    path = record(tmp_path / "x.mov", *CONTAINERS["x.mov"])
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    content = bytearray(path.read_bytes())
    for packet in packets[40:44]:
        content[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    path.write_bytes(content)
    track, flashes, chirps, result = ingested(tmp_path, "x.mov")
    assert track["num_units"] == 37 and 1 <= len(result.rejections) <= 4
    assert {(key, reason) for key, reason, _ in result.rejections} == {("s/a", "damaged_picture")}
    assert_near(flashes, EVENTS_S)
    assert_near(chirps, EVENTS_S)


def test_the_first_frame_may_be_damaged(tmp_path: Path) -> None:
    path = record(tmp_path / "x.mov", *CONTAINERS["x.mov"])
    with av.open(str(path)) as container:
        first = next(iter(container.demux(video=0)))
    content = bytearray(path.read_bytes())
    content[first.pos : first.pos + first.size] = bytes(first.size)
    path.write_bytes(content)
    track, flashes, chirps, _ = ingested(tmp_path, "x.mov")
    assert track["num_units"] == 37
    assert_near(flashes, EVENTS_S)
    assert_near(chirps, EVENTS_S)


def test_a_stray_packet_does_not_make_a_track_long(tmp_path: Path) -> None:
    """The last sound of a broadcast has a timestamp that is ten minutes late."""
    remux(
        tmp_path,
        "x.nut",
        lambda packet: 600 if packet.stream_index == 1 and packet.pts * packet.time_base > 5.9 else 0,
    )
    clock = timeline(probe(tmp_path / "x.nut").source, tmp_path)
    assert clock.audio_end_ms is not None and 5800 <= clock.audio_end_ms <= 6000
    assert 60 <= clock.audio_cut_ms <= 140


@pytest.mark.parametrize("kind", ["video", "audio"])
def test_a_stream_that_never_had_a_packet_is_left_out_and_counted(tmp_path: Path, kind: str) -> None:
    """A camera that was never on, a microphone that was muted from the beginning to the end."""
    remux(tmp_path, "x.mkv", lambda packet: None if packet.stream.type == kind else 0)
    track, flashes, chirps, result = ingested(tmp_path, "x.mkv")
    assert track["num_units"] == 37 and result.rejections == [("s/a", "empty_stream", f"{kind}: no packets")]
    assert (track["video_path"] is None, track["audio_path"] is None) == (kind == "video", kind == "audio")
    assert_near(flashes or chirps, EVENTS_S)


@pytest.mark.parametrize(
    ("name", "said"), [("cut.mp4", "moov atom not found"), ("text.mp4", "moov atom not found"), ("list.mkv", "")]
)
def test_the_detail_is_what_ffmpeg_says_first(tmp_path: Path, name: str, said: str) -> None:
    record(tmp_path / "x.mp4", *CONTAINERS["x.mp4"])
    content = (tmp_path / "x.mp4").read_bytes()
    parts = {"cut.mp4": content[: len(content) // 2], "text.mp4": b"no film\n" * 99, "list.mkv": b"\x1a\x45\xdf\xa3"}
    (tmp_path / name).write_bytes(parts[name])
    with pytest.raises(Rejected) as caught:
        probe(tmp_path / name)
    detail = caught.value.detail
    assert caught.value.reason == "unreadable" and said in detail and name in detail
    assert "return code" not in detail and " 0x" not in detail and "\n" not in detail


def test_the_telling_line_is_the_first_that_is_not_about_ffmpeg_itself() -> None:
    lines = [
        b"[in#0/wav @ 0x55e0] [warning] Packet corrupt (stream = 0, dts = NOPTS).",
        b"[aist#0:0/pcm_s16le @ 0x55e1] [dec:pcm @ 0x55e2] [error] Error submitting packet to decoder: Invalid data",
        b"[pcm_s16le @ 0x55e3] [error] Invalid PCM packet, data has size 1",
        b"[h264 @ 0x55e5] [error] pps_id 435 out of range",
        b"[fatal] Task finished with error code: -1094995529 (Invalid data found when processing input)",
        b"[in#0 @ 0x55e4] [verbose]   Input stream #0:0 (audio): 3 packets read (9 bytes); 3 frames decoded;",
    ]
    assert complaint(b"\n".join(lines)) == "Invalid PCM packet, data has size 1"
    assert complaint(b"\n".join(lines), about={"h264"}) == "pps_id 435 out of range"
    assert complaint(b"\n".join(lines[1:2])) == "Error submitting packet to decoder: Invalid data"
    assert complaint(b"") == complaint(None) == "ffmpeg reported nothing"


@pytest.mark.parametrize("frames", ["select='lt(n,60)'", "select='eq(n,0)'", "select='between(mod(n,50),24,26)'"])
def test_a_filled_picture_made_in_spans_is_that_made_in_one_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frames: str
) -> None:
    record(tmp_path / "x.mkv", *CONTAINERS["x.mkv"], frames=frames)
    made = []
    for span_units in (long_videos.SPAN_UNITS, 4):
        monkeypatch.setattr(long_videos, "SPAN_UNITS", span_units)
        result, data = ingest_rows(tmp_path, [{"participant": "a", "uri": "x.mkv"}])
        made.append(read_frames(data / result.tables["tracks"][0]["video_path"]))
    assert len(made[0]) == 148 and (made[0] == made[1]).all()
