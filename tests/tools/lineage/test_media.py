"""The frames and samples that lineage names are those in the tracks: decoded from the source, they are the same."""

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from pipelines.ingest.clocks import FileClock
from pipelines.media.ffmpeg import decode_audio
from pipelines.media.probing import probe
from pipelines.media.retiming import retimed
from pipelines.media.tracks import read_frames, read_wav
from tests.helpers.clips import RATE_HZ, ingest_rows
from tests.helpers.found_people import crop_row, ingest_found, person, spans, write_scene
from tests.helpers.numbered_recordings import SIZE, noise, number_of, numbered, write_recording
from tools.lineage.media import decoded_samples, picture_source, sound_source
from wanstreamer.clock import FRAMES_PER_UNIT, UNIT_MS, samples_per_unit


def row_of(result: Any, table: str, participant: str = "a") -> dict[str, Any]:
    return next(row for row in result.tables[table] if row["participant"] == participant)


def source_numbers(path: Path, left: int = 0) -> list[int]:
    """The numbers that the frames of a recording show, in the order of time."""
    with av.open(str(path)) as container:
        return [number_of(frame.to_ndarray(format="rgb24")[:, left:]) for frame in container.decode(video=0)]


@pytest.mark.parametrize(
    ("rate", "sound_hz", "offset_ms"),
    [("25", 48000, 0), ("30000/1001", 44100, 130), ("24", 16000, 400), ("50", 48000, 77)],
)
def test_frames_and_samples_are_those_of_the_source(tmp_path: Path, rate: str, sound_hz: int, offset_ms: int) -> None:
    write_recording(tmp_path / "a.mkv", rate=rate, num_frames=100, sound_s=4.2, sound_hz=sound_hz)
    write_recording(tmp_path / "b.mkv", num_frames=100, sound_s=4.0)
    rows = [{"participant": "a", "uri": "a.mkv"}, {"participant": "b", "uri": "b.mkv", "start_offset_ms": offset_ms}]
    result, data = ingest_rows(tmp_path, rows)
    origin, track = row_of(result, "sources"), row_of(result, "tracks")
    frames, (sound, _) = read_frames(data / track["video_path"]), read_wav(data / track["audio_path"])
    known = source_numbers(tmp_path / "a.mkv")
    decoded = decode_audio(probe(tmp_path / "a.mkv").source, RATE_HZ, None)
    for unit in range(track["num_units"]):
        picture = picture_source(origin, track, None, tmp_path, unit)
        heard = sound_source(origin, track, tmp_path, unit)
        assert picture is not None and heard is not None
        shown = [number_of(frame) for frame in frames[unit * FRAMES_PER_UNIT : (unit + 1) * FRAMES_PER_UNIT]]
        assert [known[frame["source_frame"]] for frame in picture["frames"]] == shown, unit
        first, end = heard["samples"]
        own = sound[unit * samples_per_unit(RATE_HZ) : (unit + 1) * samples_per_unit(RATE_HZ)]
        assert np.abs(own - decoded[first:end]).max() <= 1 / 32767, unit
        assert heard["timestamps_s"][0] == pytest.approx((unit * UNIT_MS + offset_ms) / 1000, abs=1e-3)


def test_what_is_missing_at_an_end_is_held_or_silent(tmp_path: Path) -> None:
    late = ("-itsoffset", 0.9)
    write_recording(tmp_path / "a.mkv", num_frames=60, sound_s=4.0, late=late)  # the picture is there from 0.9 to 3.3 s
    write_recording(tmp_path / "b.mkv", num_frames=100, sound_s=2.0)
    rows = [{"participant": "a", "uri": "a.mkv"}, {"participant": "b", "uri": "b.mkv"}]
    result, data = ingest_rows(tmp_path, rows)
    origin, track = row_of(result, "sources"), row_of(result, "tracks")
    units = track["num_units"]
    first, last = (picture_source(origin, track, None, tmp_path, unit) for unit in (0, units - 1))
    assert first and last
    assert [frame["source_frame"] for frame in first["frames"]] == [0] * FRAMES_PER_UNIT
    assert first["held_ms"] == [[0, UNIT_MS]] and last["held_ms"] == [[(units - 1) * UNIT_MS, units * UNIT_MS]]
    assert [frame["source_frame"] for frame in last["frames"]] == [59] * FRAMES_PER_UNIT
    frames = read_frames(data / track["video_path"])
    assert number_of(frames[0]) == 0 and number_of(frames[-1]) == 59
    origin, track = row_of(result, "sources", "b"), row_of(result, "tracks", "b")
    silent = sound_source(origin, track, tmp_path, units - 1)
    assert silent and silent["filled_ms"] == [[(units - 1) * UNIT_MS, units * UNIT_MS]]
    assert not read_wav(data / track["audio_path"])[0][-samples_per_unit(RATE_HZ) :].any()


def test_recordings_that_were_joined_have_frames_of_every_part(tmp_path: Path) -> None:
    frames = numbered(120)
    for number, part in enumerate((frames[:55], frames[55:])):
        write_scene(tmp_path / f"{number}.ts", part, "25", "-c:v", "mpeg2video", "-q:v", "2", "-bf", "0")
    joined = b"".join((tmp_path / f"{number}.ts").read_bytes() for number in (0, 1))
    (tmp_path / "a.ts").write_bytes(joined)
    result, data = ingest_rows(tmp_path, [{"participant": "a", "uri": "a.ts"}])
    origin, track = row_of(result, "sources"), row_of(result, "tracks")
    assert track["clock_joins"] == 1
    made = read_frames(data / track["video_path"])
    stamps = []
    for unit in range(track["num_units"]):
        picture = picture_source(origin, track, None, tmp_path, unit)
        assert picture is not None
        assert [frame["source_frame"] for frame in picture["frames"]] == [
            number_of(frame) for frame in made[unit * FRAMES_PER_UNIT : (unit + 1) * FRAMES_PER_UNIT]
        ]
        stamps += [frame["timestamp_s"] for frame in picture["frames"]]
    assert stamps[56] < stamps[50]  # the file's own timestamps start again


def test_a_corrected_clock_names_samples_and_what_lies_between(tmp_path: Path) -> None:
    sound = noise(4.0, RATE_HZ, 3)
    clock = FileClock(start_ms=-312.3456, rate=1 / (1 + 80e-6))
    track = retimed(sound, clock.media_ms(0) * RATE_HZ / 1000, 1 / clock.rate, 12 * samples_per_unit(RATE_HZ), tmp_path)
    for unit in (0, 5, 11):
        named = decoded_samples(clock, unit, RATE_HZ)
        (first, end), (begin, last) = named["samples"], named["positions"]
        count = samples_per_unit(RATE_HZ)
        again = retimed(sound[first:end], begin - first, (last - begin) / (count - 1), count, tmp_path)
        assert np.abs(again - track[unit * count : (unit + 1) * count]).max() < 1e-3


def test_the_crop_of_someone_who_is_followed(tmp_path: Path) -> None:
    write_recording(tmp_path / "call.mkv", num_frames=75, sound_s=3.0, left=SIZE[0])
    crops = [crop_row(0, (SIZE[0], 0, *SIZE)), crop_row(1600, (0, 0, *SIZE), cut=True)]
    people = [
        person("s", "a", speech=spans((0, 1000)), crops=crops, visible=spans((0, 2400))),
        person("s", "b", speech=spans((1200, 2600))),
    ]
    result, data = ingest_found(tmp_path, "call.mkv", people)
    origin, track = row_of(result, "sources"), row_of(result, "tracks")
    right, left, gone = (picture_source(origin, track, people[0], tmp_path, unit) for unit in (2, 12, 16))
    assert right and left and gone
    assert [frame["crop"] for frame in right["frames"]] == [[128.0, 0.0, 128.0, 96.0]] * 4
    assert [frame["crop"] for frame in left["frames"]] == [[0.0, 0.0, 128.0, 96.0]] * 4
    assert [frame["crop"] for frame in gone["frames"]] == [None] * 4 and gone["not_visible_ms"] == [[2560, 2720]]
    shown = [number_of(frame) for frame in read_frames(data / track["video_path"])[8:12]]
    assert [frame["source_frame"] for frame in right["frames"]] == shown
    silenced = sound_source(origin, track, tmp_path, 8)
    assert silenced and silenced["silenced_ms"] == [[8 * UNIT_MS, 9 * UNIT_MS]]
    assert row_of(result, "sources", "b")["video_uri"] is None
    assert picture_source(row_of(result, "sources", "b"), row_of(result, "tracks", "b"), people[1], tmp_path, 0) is None


def test_a_source_that_is_gone_says_so(tmp_path: Path) -> None:
    write_recording(tmp_path / "a.mkv", num_frames=50, sound_s=2.0)
    result, _ = ingest_rows(tmp_path, [{"participant": "a", "uri": "a.mkv"}])
    (tmp_path / "a.mkv").unlink()
    origin, track = row_of(result, "sources"), row_of(result, "tracks")
    picture, heard = (look(tmp_path) for look in (
        lambda root: picture_source(origin, track, None, root, 1), lambda root: sound_source(origin, track, root, 1)
    ))  # fmt: skip
    assert picture and picture["frames"] is None and picture["cannot_tell"].startswith("missing_file")
    assert heard and heard["samples"] == [2560, 5120] and heard["cannot_tell"].startswith("missing_file")
