"""Two recorders: their clocks are compared, reported in `tracks`, and put on one clock if asked for."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.engine.files import file_sha256
from pipelines.engine.run import RunParams
from pipelines.engine.tables import read_rows
from pipelines.ingest import long_videos
from pipelines.ingest import stage as ingest
from pipelines.ingest.clocks import FileClock, RowClocks
from pipelines.ingest.params import IngestParams
from pipelines.ingest.recorders import Comparison, corrected_clocks
from pipelines.media.tracks import read_frames, read_wav, write_wav
from pipelines.signals.clock_fit import ClockFit
from pipelines.sources.row import SourceRow
from tests.helpers.chirps import ffmpeg
from tests.helpers.clips import ingest_rows
from tests.helpers.recorders import (
    FAST_HZ,
    RATE_HZ,
    TRUE_HZ,
    mark_places_s,
    noisy,
    talk,
    write_camera_and_recorder,
)
from tests.helpers.small_corpus import keep_in_process

CAMERA_AND_RECORDER = {"participant": "a", "uri": "camera.mov", "audio_uri": "recorder.wav"}
LATE_S = 3.7


def flashes_s(track: Path, marks_s: list[float]) -> list[float]:
    """When the flashes begin that are expected near `marks_s`."""
    found = []
    for mark_s in marks_s:
        first = max(0, round((mark_s - 1) * 25))
        bright = read_frames(track, first, round((mark_s + 1) * 25)).mean((1, 2, 3)) > 128
        found.append((first + int(np.argmax(bright))) / 25 if bright.any() else np.nan)
    return found


@pytest.mark.parametrize("seconds", [60, pytest.param(3600, marks=pytest.mark.long)])
def test_a_recorder_is_put_on_the_clock_of_its_camera(tmp_path: Path, seconds: int) -> None:
    """80 ppm apart, 3.7 s late, noise at 10 dB. Picture and sound are compared at begin, middle and end."""
    marks_s = [float(mark) for mark in (5, seconds // 2, seconds - 10)]
    write_camera_and_recorder(tmp_path, seconds, LATE_S, 10, marks_s)
    apart_ms = {}
    for align in (False, True) if seconds < 3600 else (True,):
        result, data = ingest_rows(tmp_path, [CAMERA_AND_RECORDER], align_recorders=align)
        row, origin_s = result.tables["tracks"][0], result.tables["sessions"][0]["origin_ms"] / 1000
        clock = row["camera_clock"]
        assert (clock["finding"], clock["reference"], clock["corrected"]) == ("measured", "a", align)
        assert clock["offset_ms"] == pytest.approx(1000 * LATE_S, abs=10)
        assert clock["drift_ppm"] == pytest.approx(80, abs=2) and clock["drift_error_ppm"] < 2
        assert row["partner_clock"] is None and result.rejections == []
        audio, _ = read_wav(data / row["audio_path"])
        sound_s = mark_places_s(audio, RATE_HZ, [mark - origin_s - (0 if align else LATE_S) for mark in marks_s])
        picture_s = flashes_s(data / row["video_path"], [mark - origin_s for mark in marks_s])
        assert picture_s == pytest.approx([mark - origin_s for mark in marks_s], abs=0.021)  # frames of 40 ms
        apart_ms[align] = [1000 * (sound + origin_s - mark) for sound, mark in zip(sound_s, marks_s, strict=True)]
        print(f"{seconds} s, corrected {align}: {clock}, apart {np.round(apart_ms[align], 2)} ms")
    assert np.abs(apart_ms[True]).max() < 10 and abs(clock["apart_ms"]) < 10
    assert seconds == 3600 or abs(apart_ms[False][0] + 1000 * LATE_S) < 10


def test_the_track_covers_all_that_both_recorded(tmp_path: Path) -> None:
    """The recorder was started before the camera."""
    write_camera_and_recorder(tmp_path, 60, 0.0, 20, [20.0])
    row = {**CAMERA_AND_RECORDER, "audio_offset_ms": 9000}  # wrong
    result, _ = ingest_rows(tmp_path, [row], align_recorders=True)
    assert result.tables["sessions"][0]["origin_ms"] == 0 and result.tables["sessions"][0]["num_units"] == 374
    assert result.tables["tracks"][0]["camera_clock"]["offset_ms"] == pytest.approx(-9000, abs=10)


def write_two_people(folder: Path, seconds: int, late_s: float, bleed_db: float) -> None:
    """`a.mov` and `b.mov`: b began late, and its clock, of picture and sound, runs 80 ppm fast."""
    anna, ben = talk(seconds, 1, rate_hz=FAST_HZ), talk(seconds, 2, rate_hz=FAST_HZ, pitch_hz=200)
    gain, path = np.float32(10 ** (bleed_db / 20)), FAST_HZ // 150
    ours, theirs = noisy(anna + gain * np.roll(ben, path), 30, 3), noisy(ben + gain * np.roll(anna, path), 30, 4)
    write_wav(folder / "a.wav", ours, FAST_HZ)
    write_wav(folder / "b.wav", theirs[round(late_s * FAST_HZ) :], TRUE_HZ)
    for name in "ab":
        ffmpeg(
            "-f", "lavfi", "-i", f"testsrc2=s=64x48:r=25:d={seconds}", "-i", folder / f"{name}.wav", "-shortest",
            "-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-c:a", "pcm_s16le", folder / f"{name}.mov",
        )  # fmt: skip


def test_two_people_in_a_room_share_a_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Picture and sound of the second person follow the first. Work that is divided into spans makes the same files."""
    write_two_people(tmp_path, 48, 1.28, -20)
    rows = [{"participant": name, "uri": f"{name}.mov"} for name in "ab"]
    hashes = []
    for units in (long_videos.SPAN_UNITS, 90):
        monkeypatch.setattr(long_videos, "SPAN_UNITS", units)
        result, data = ingest_rows(tmp_path, rows, align_recorders=True)
        clock = result.tables["tracks"][1]["partner_clock"]
        assert (clock["reference"], clock["finding"], clock["corrected"]) == ("a", "measured", True)
        assert clock["offset_ms"] == pytest.approx(1280, abs=10) and clock["drift_ppm"] == pytest.approx(80, abs=2)
        tracks = [data / row[name] for row in result.tables["tracks"] for name in ("video_path", "audio_path")]
        hashes.append([file_sha256(path) if path.suffix == ".wav" else read_frames(path).tobytes() for path in tracks])
    assert hashes[0] == hashes[1]
    # Both files begin with the same picture, b's 32 frames after a's.
    ours, theirs = (read_frames(data / row["video_path"]) for row in result.tables["tracks"])
    assert len(ours) == len(theirs) > 1100
    assert np.abs(ours[:-32].astype(int) - theirs[32:]).mean((1, 2, 3)).max() < 3


@pytest.mark.parametrize(
    ("sound", "finding"), [("silence", "silent"), ("another", "unrelated"), ("short", "too_short")]
)
def test_cannot_tell_is_an_answer(tmp_path: Path, sound: str, finding: str) -> None:
    write_camera_and_recorder(tmp_path, 20, 0.0, 20, [])
    heard = {"silence": np.zeros(20 * TRUE_HZ, np.float32), "another": talk(20, 9, rate_hz=TRUE_HZ)}
    write_wav(tmp_path / "recorder.wav", heard.get(sound, heard["another"][: 8 * TRUE_HZ]), TRUE_HZ)
    plain, data = ingest_rows(tmp_path, [CAMERA_AND_RECORDER])
    tracks = [file_sha256(data / plain.tables["tracks"][0][name]) for name in ("video_path", "audio_path")]
    result, data = ingest_rows(tmp_path, [CAMERA_AND_RECORDER], align_recorders=True)
    clock = result.tables["tracks"][0]["camera_clock"]
    assert (clock["finding"], clock["offset_ms"], clock["apart_ms"], clock["corrected"]) == (finding, None, None, False)
    assert [file_sha256(data / result.tables["tracks"][0][name]) for name in ("video_path", "audio_path")] == tracks
    assert plain.rejections == []
    detail = f"compared with the camera's sound: {finding}; it is placed as the manifest states"
    assert result.rejections == [("s/a", "clock_not_measured", detail)]


def test_a_clock_that_jumps_is_reported_and_left(tmp_path: Path) -> None:
    write_camera_and_recorder(tmp_path, 60, 0.0, 20, [])
    sound, _ = read_wav(tmp_path / "recorder.wav")
    write_wav(tmp_path / "recorder.wav", np.delete(sound, slice(30 * TRUE_HZ, 30 * TRUE_HZ + TRUE_HZ // 4)), TRUE_HZ)
    result, _ = ingest_rows(tmp_path, [CAMERA_AND_RECORDER], align_recorders=True)
    clock = result.tables["tracks"][0]["camera_clock"]
    assert (clock["finding"], clock["num_jumps"], clock["corrected"]) == ("clock_jumps", 1, False)
    assert clock["apart_ms"] == pytest.approx(-250, abs=10)
    [(key, reason, detail)] = result.rejections
    assert (key, reason) == ("s/a", "clock_jumps") and "camera's sound: 1 times, first by -250 ms near" in detail


def test_the_command_warns_of_recorders_that_lie_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keep_in_process(monkeypatch)
    source = tmp_path / "source"
    source.mkdir()
    write_camera_and_recorder(source, 30, 1.5, 20, [])
    (source / "manifest.csv").write_text("session_id,uri,audio_uri\ns,camera.mov,recorder.wav\n")
    for align, warns in ((False, True), (True, False)):
        params = IngestParams(source=str(source), align_recorders=align)
        assert ingest.run(tmp_path / "data", params, RunParams(workers=1))["done"] == 1
        warning = "the sound of 1 tracks lies up to 1500 ms from that of their camera"
        assert (warning in capsys.readouterr().err) == warns
        [row] = read_rows(tmp_path / "data", "tracks")
        assert row["camera_clock"]["corrected"] == align and row["camera_clock"]["finding"] == "measured"


def tie(reference: str, sound: str, late_ms: float, ppm: float, **known: Any) -> Comparison:
    fit = ClockFit(finding=known.pop("finding", "measured"), offset_ms=late_ms, drift_ppm=ppm)
    return Comparison(
        participant="b", of_camera=known.pop("of_camera", True), reference="a", files=(reference, sound),
        stated_lag_ms=0.0, fit=fit,
    )  # fmt: skip


def test_files_follow_the_first_that_they_are_tied_to() -> None:
    """One camera with two people, each with a recorder; a recorder with two cameras; a tie that was not measured."""
    rows = [SourceRow(session_id="s", participant=name, uri="table.mp4", audio_uri=f"{name}.wav") for name in "ab"]
    stated = [RowClocks(picture=FileClock(start_ms=0), sound=FileClock(start_ms=0)) for _ in rows]
    ties = [tie("table.mp4", "a.wav", 500, 100), tie("table.mp4", "b.wav", -200, -50)]
    first, second = corrected_clocks(rows, stated, ties)
    assert first.picture == second.picture == FileClock(start_ms=0)
    assert first.sound == FileClock(start_ms=500, rate=1 / (1 + 100e-6))
    assert second.sound == FileClock(start_ms=-200, rate=1 / (1 - 50e-6))
    # What both cameras' ties say is preferred to what leaks between the recorders.
    assert corrected_clocks(rows, stated, [tie("a.wav", "b.wav", 9, 9, of_camera=False), *ties]) == [first, second]

    rows = [SourceRow(session_id="s", participant=name, uri=f"{name}.mp4", audio_uri="both.wav") for name in "ab"]
    ties = [tie("a.mp4", "both.wav", 500, 100), tie("b.mp4", "both.wav", 700, 100)]
    first, second = corrected_clocks(rows, stated, ties)
    assert first.picture == FileClock(start_ms=0) and first.sound == second.sound
    assert second.picture.start_ms == pytest.approx(-200) and second.picture.rate == pytest.approx(1)
    ties[1] = tie("b.mp4", "both.wav", 700, 100, finding="clock_jumps")
    assert corrected_clocks(rows, stated, ties)[1].picture == FileClock(start_ms=0)
