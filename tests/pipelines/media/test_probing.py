"""Clocks as recorders leave them: whatever happens to timestamps, picture and sound stay together and in their places.

Recordings are made here: a white frame and the start of a chirp at the same known instants.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.engine.jobs import Rejected
from pipelines.media.ffmpeg import decode_audio
from pipelines.media.probing import probe
from pipelines.media.timelines import timeline
from pipelines.media.tracks import read_frames, read_wav, write_wav
from tests.helpers.chirps import CHIRP_S, RATE_HZ, chirp, ffmpeg
from tests.helpers.clips import ingest_rows

H264 = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-bf", "2"]
PCM = ["-c:v", "ffv1", "-c:a", "pcm_s16le"]


def record(path: Path, events_s: Sequence[float], *options: object, seconds: float = 4.0, sound_s: float = 0) -> Path:
    """White frames and chirps at `events_s` (multiples of 40 ms); the sound ends after `sound_s`, if given."""
    frames = np.zeros((round(25 * seconds), 48, 64), np.uint8)
    sound = np.zeros(round(48000 * seconds), np.float32)
    for at in events_s:
        frames[round(25 * at)] = 255
        start = round(48000 * at)
        sound[start : start + round(48000 * CHIRP_S)] = 0.5 * chirp(48000)
    wav = path.with_suffix(".source.wav")
    write_wav(wav, sound[: round(48000 * sound_s)] if sound_s else sound, 48000)
    raw = ["-f", "rawvideo", "-pix_fmt", "gray", "-s", "64x48", "-r", 25, "-i", "pipe:"]
    ffmpeg(*raw, "-i", wav, "-pix_fmt", "yuv420p", *options, path, input=frames.tobytes())
    return path


def ingested(folder: Path, name: str, **row: Any) -> tuple[list[int], list[int], dict[str, Any]]:
    """When frames turn white and chirps begin, in samples of the track, and the track's row."""
    result, data = ingest_rows(folder, [{"participant": "a", "uri": name, **row}])
    light = read_frames(data / "tracks/04/s.a.mp4").mean(axis=(1, 2, 3)) > 128
    flashes = np.flatnonzero(light & ~np.append(False, light[:-1])) * (RATE_HZ // 25)
    audio, _ = read_wav(data / "tracks/04/s.a.wav")
    likeness = np.abs(np.correlate(audio, chirp(RATE_HZ), "valid"))
    chirps: list[int] = []
    while likeness.max() > 0.3 * 0.5 * (chirp(RATE_HZ) ** 2).sum():
        at = int(likeness.argmax())
        chirps.append(at)
        likeness[max(0, at - RATE_HZ // 8) : at + RATE_HZ // 8] = 0
    return flashes.tolist(), sorted(chirps), result.tables["tracks"][0]


def assert_at(places: Sequence[int], expected_s: Sequence[float], within_s: float) -> None:
    assert len(places) == len(expected_s), (places, expected_s)
    apart = np.abs(np.array(places) / RATE_HZ - np.array(expected_s))
    assert apart.max() <= within_s + 1e-9, (np.array(places) / RATE_HZ, expected_s)


SAMPLE_S = 1.01 / RATE_HZ
FRAME_S = 0.04


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("pcm.mkv", PCM),
        ("aac.mp4", [*H264, "-c:a", "aac"]),
        ("aac.mkv", [*H264, "-c:a", "aac"]),
        ("opus.mkv", [*H264, "-c:a", "libopus"]),
        ("opus.webm", ["-c:v", "libvpx", "-deadline", "realtime", "-c:a", "libopus"]),
        ("mp3.mkv", [*H264, "-c:a", "libmp3lame"]),
        ("vorbis.mkv", [*H264, "-c:a", "libvorbis"]),
    ],
)
def test_what_coders_put_before_the_sound_is_taken_off(tmp_path: Path, name: str, options: list[str]) -> None:
    record(tmp_path / name, (0.4, 2.0, 3.2), *options)
    flashes, chirps, _ = ingested(tmp_path, name)
    assert_at(flashes, (0.4, 2.0, 3.2), 0)
    assert_at(chirps, (0.4, 2.0, 3.2), SAMPLE_S)


def test_edit_lists_that_trim_or_delay_are_followed(tmp_path: Path) -> None:
    record(tmp_path / "whole.mp4", (0.8, 2.4), *H264, "-c:a", "aac")
    ffmpeg("-ss", 0.5, "-i", tmp_path / "whole.mp4", "-c", "copy", tmp_path / "trimmed.mp4")
    flashes, chirps, _ = ingested(tmp_path, "trimmed.mp4")
    assert_at(flashes, (0.32, 1.92), FRAME_S)  # 0.30 and 1.90, on our grid
    assert_at(chirps, (0.3, 1.9), 0.012)  # copied from a whole packet of 21 ms on

    record(tmp_path / "early.mov", (0.4, 2.0), *PCM)  # sound comes 0.4 s late: an empty edit
    record(tmp_path / "late.mov", (0.8, 2.4), *PCM)
    late = ["-i", tmp_path / "late.mov", "-itsoffset", 0.4, "-i", tmp_path / "early.mov"]
    ffmpeg(*late, "-map", "0:v", "-map", "1:a", "-c", "copy", tmp_path / "delayed.mov")
    flashes, chirps, row = ingested(tmp_path, "delayed.mov")
    assert_at(flashes, (0.8, 2.4), 0)
    assert_at(chirps, (0.8, 2.4), SAMPLE_S)
    assert abs(row["audio_filled_ms"] - 400) <= 1


@pytest.mark.parametrize("offset_s", [0.0, 20000.0, 95442.0])  # the last passes 2^33 / 90 kHz, where MPEG-TS wraps
@pytest.mark.parametrize("late_s", [0.0, 0.48])
def test_streams_of_a_broadcast_share_their_first_instant(tmp_path: Path, offset_s: float, late_s: float) -> None:
    """Sound that starts late in MPEG-TS; ffmpeg alone would count either stream from its own beginning."""
    late = ["-af", f"atrim=start={late_s}"]
    coded = [*H264, "-c:a", "mp2", "-muxdelay", 0, "-output_ts_offset", offset_s]
    record(tmp_path / "x.ts", (0.8, 2.4), *late, *coded)
    flashes, chirps, row = ingested(tmp_path, "x.ts")
    # The coder's delay of 481 samples is not noted in the file; H.264 with B-frames starts two frames after its clock.
    assert_at(np.diff(flashes).tolist(), (1.6,), 0)
    assert_at(np.diff(chirps).tolist(), (1.6,), SAMPLE_S)
    assert_at([chirps[0] - flashes[0]], (0.01,), 0.012)
    assert abs(row["audio_filled_ms"] - 1000 * late_s) <= 100
    assert row["clock_joins"] == 0


@pytest.mark.parametrize("second_s", [0.0, 1.5, 90000.0])
def test_recordings_joined_end_to_end_follow_one_another(tmp_path: Path, second_s: float) -> None:
    """Timestamps begin anew, and the first part's sound ends 300 ms before its picture."""
    coded = [*H264, "-bf", 0, "-c:a", "mp2"]
    first = record(tmp_path / "1.ts", (0.8, 2.4), *coded, sound_s=3.7)
    second = record(tmp_path / "2.ts", (0.4, 2.0), *coded, "-output_ts_offset", second_s)
    (tmp_path / "x.ts").write_bytes(first.read_bytes() + second.read_bytes() + first.read_bytes())
    flashes, chirps, row = ingested(tmp_path, "x.ts")
    expected_s = np.array([0.8, 2.4, 4.4, 6.0, 8.8, 10.4])
    assert_at(flashes, expected_s, FRAME_S)
    assert_at(chirps, np.array(flashes) / RATE_HZ, 0.025)
    assert row["clock_joins"] == 2 and row["num_units"] >= 72
    assert 250 <= row["audio_filled_ms"] <= 400


def test_files_named_alike_are_joined_each_by_itself(tmp_path: Path) -> None:
    for participant, at in (("a", 0.4), ("b", 1.2)):
        (tmp_path / participant).mkdir()
        part = record(tmp_path / participant / "1.ts", (at,), *H264, "-bf", 0, "-c:a", "mp2", seconds=2)
        (tmp_path / participant / "x.ts").write_bytes(2 * part.read_bytes())
    rows = [{"participant": participant, "uri": f"{participant}/x.ts"} for participant in "ab"]
    result, data = ingest_rows(tmp_path, rows)
    assert [row["clock_joins"] for row in result.tables["tracks"]] == [1, 1]
    for participant, at in (("a", 0.4), ("b", 1.2)):
        light = read_frames(data / f"tracks/04/s.{participant}.mp4").mean(axis=(1, 2, 3)) > 128
        assert np.abs(np.flatnonzero(light)[[0, -1]] * FRAME_S - [at, at + 2]).max() <= 2 * FRAME_S


def test_small_overlaps_are_cut_and_move_nothing(tmp_path: Path) -> None:
    coded = [*H264, "-bf", 0, "-c:a", "mp2"]
    first = record(tmp_path / "1.ts", (0.8, 2.4), *coded)
    second = record(tmp_path / "2.ts", (0.4, 2.0), *coded, "-output_ts_offset", 3.94)
    (tmp_path / "x.ts").write_bytes(first.read_bytes() + second.read_bytes())
    flashes, chirps, row = ingested(tmp_path, "x.ts")
    assert_at(flashes, (0.8, 2.4, 4.36, 5.96), FRAME_S)  # 4.34 and 5.94, on our grid
    assert_at(chirps, (0.8, 2.4, 4.34, 5.94), 0.025)
    assert row["clock_joins"] == 0 and 30 <= row["audio_cut_ms"] <= 110


def test_lost_sound_is_silent_and_lost_pictures_stand_still(tmp_path: Path) -> None:
    lost = ["-af", "aselect='not(between(t,0.98,1.5)+between(t,2.7,2.73))'", "-fps_mode", "passthrough"]
    lost += ["-vf", "select='not(between(t,1.0,2.18))'"]
    events = (0.4, 0.8, 2.4, 3.2)
    record(tmp_path / "x.mkv", events, *lost, *PCM)
    flashes, chirps, row = ingested(tmp_path, "x.mkv")
    assert_at(flashes, events, 0)
    assert_at(chirps, events, SAMPLE_S)
    # Whole frames of 21 ms are lost.
    assert 500 <= row["audio_filled_ms"] <= 600 and 1180 <= row["video_held_ms"] <= 1280
    assert (row["audio_cut_ms"], row["clock_joins"]) == (0, 0)
    record(tmp_path / "whole.mkv", events, *PCM)
    row = ingested(tmp_path, "whole.mkv")[2]
    assert (row["audio_filled_ms"], row["video_held_ms"], row["audio_cut_ms"], row["clock_joins"]) == (0, 0, 0, 0)


def test_single_lost_packets_do_not_add_up(tmp_path: Path) -> None:
    """Every 15th packet of 20 ms is missing: 0.2 s in all."""
    record(tmp_path / "x.mkv", (0.4, 3.2), "-af", "asetnsamples=960,aselect='mod(n+1,15)'", *PCM)
    _, chirps, row = ingested(tmp_path, "x.mkv")
    assert_at(chirps, (0.4, 3.2), 0.0011)  # timestamps of Matroska are whole milliseconds
    assert 240 <= row["audio_filled_ms"] <= 280


def test_sound_gone_astray_is_turned_away_before_it_fills_the_disk(tmp_path: Path) -> None:
    record(tmp_path / "x.mkv", (0.8, 2.4), "-af", "asetpts='PTS+gt(T,3.5)*300/TB'", *PCM)
    with pytest.raises(Rejected, match="4000 of 304000 ms") as caught:
        ingested(tmp_path, "x.mkv")
    assert caught.value.reason == "truncated"
    look = probe(tmp_path / "x.mkv").source
    clock = timeline(look, tmp_path)
    assert len(decode_audio(look, RATE_HZ, None, tmp_path, end_ms=clock.video_end_ms)) == 4 * RATE_HZ


def test_a_change_of_picture_size_on_the_way_moves_nothing(tmp_path: Path) -> None:
    coded = [*H264, "-bf", 0, "-c:a", "mp2"]
    first = record(tmp_path / "1.ts", (0.8, 2.4), *coded)
    second = record(tmp_path / "2.ts", (0.4, 2.0), "-s", "128x96", *coded, "-output_ts_offset", 4)
    (tmp_path / "x.ts").write_bytes(first.read_bytes() + second.read_bytes())
    flashes, chirps, _ = ingested(tmp_path, "x.ts")
    assert_at(flashes, (0.8, 2.4, 4.4, 6.0), FRAME_S)
    assert_at(chirps, (0.8, 2.4, 4.4, 6.0), 0.025)


def test_a_change_of_sample_rate_on_the_way_is_said(tmp_path: Path) -> None:
    coded = [*H264, "-bf", 0, "-c:a", "mp2"]
    first = record(tmp_path / "1.ts", (0.8, 2.4), *coded)
    second = record(tmp_path / "2.ts", (0.4, 2.0), *coded, "-ar", 44100, "-output_ts_offset", 4)
    (tmp_path / "x.ts").write_bytes(first.read_bytes() + second.read_bytes())
    with pytest.raises(Rejected) as caught:
        ingested(tmp_path, "x.ts")
    assert caught.value.reason == "changes_format"
