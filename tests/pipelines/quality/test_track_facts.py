"""Facts of tracks with known faults."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.media.tracks import loudness_lufs, write_video, write_wav
from pipelines.quality import track_facts
from pipelines.quality.params import PERCEIVED
from pipelines.quality.track_facts import PAIR_FACTS, listen, look, measure
from schemas import TABLES
from tests.helpers.clips import ingest_rows
from tests.helpers.pictures import face, grey, scene, talking_face

RATE_HZ = 16000
UNITS = 25


def sound_facts(audio_T: np.ndarray, rate_hz: int) -> dict[str, float]:
    return track_facts.sound_facts(listen([audio_T], rate_hz))


def picture_facts(light_THW: np.ndarray) -> dict[str, Any]:
    return track_facts.picture_facts(look([grey(light_THW)]))


def speech(level_db: float, noise_db: float, seconds: int = 4) -> np.ndarray:
    """Bursts of noise at a level, every other half second, over a floor."""
    rng = np.random.default_rng(0)
    on = np.repeat(np.arange(2 * seconds) % 2 == 0, RATE_HZ // 2)
    voice = rng.standard_normal(len(on)) * on * 10 ** (level_db / 20)
    return (voice + rng.standard_normal(len(on)) * 10 ** (noise_db / 20)).astype(np.float32)


@pytest.mark.parametrize(("level_db", "noise_db"), [(-20, -60), (-30, -50), (-25, -40)])
def test_level_and_noise_are_found(level_db: float, noise_db: float) -> None:
    facts = sound_facts(speech(level_db, noise_db), RATE_HZ)
    assert facts["level_db"] == pytest.approx(level_db, abs=0.7)
    assert facts["snr_db"] == pytest.approx(level_db - noise_db, abs=2.5)
    assert facts["silent_share"] == pytest.approx(0.5, abs=0.05) and facts["clipped_share"] == 0


def test_clipping_and_digital_silence_are_found() -> None:
    loud = np.clip(8 * speech(-20, -60), -1, 1)
    assert 0.1 < sound_facts(loud, RATE_HZ)["clipped_share"] == pytest.approx((np.abs(loud) >= 1).mean(), abs=1e-3)
    nothing = sound_facts(np.zeros(RATE_HZ, np.float32), RATE_HZ)
    assert nothing["level_db"] == nothing["peak_db"] == track_facts.FLOOR_DB and nothing["silent_share"] == 1
    assert nothing["zero_share"] == 1 and sound_facts(speech(-20, -60), RATE_HZ)["zero_share"] == 0
    constant = 0.1 + np.random.default_rng(0).integers(-1, 2, RATE_HZ).astype(np.float32) / 32768
    assert sound_facts(constant, RATE_HZ)["zero_share"] == 1, "an offset with dither is no signal"
    muted = np.concatenate([nothing_for(3), speech(-20, -60, seconds=1)])
    assert sound_facts(muted, RATE_HZ)["zero_share"] == 0.75


def nothing_for(seconds: int) -> np.ndarray:
    return np.zeros(seconds * RATE_HZ, np.float32)


def test_black_frozen_and_cut_pictures_are_counted() -> None:
    rng = np.random.default_rng(0)
    moving = np.stack([np.roll(scene(0), shift // 4, axis=1) for shift in range(100)]) + rng.normal(0, 1, (100, 48, 64))
    assert picture_facts(moving) == {
        "black_share": 0.0, "frozen_share": 0.0, "cuts": 0, "cuts_per_min": 0.0, "face_share": 0.0,
    }  # fmt: skip
    still = np.repeat(scene(0)[None], 100, axis=0)
    assert picture_facts(still)["frozen_share"] == 1.0
    cut = np.concatenate([moving[:40], scene(5) + rng.normal(0, 1, (30, 48, 64)), moving[70:]])
    assert picture_facts(cut)["cuts"] == picture_facts(cut)["cuts_per_min"] == 2
    dark = np.concatenate([moving[:50], rng.random((50, 48, 64)) * 10])
    assert picture_facts(dark)["black_share"] == 0.5


def test_cuts_between_similar_pictures_are_found_and_gestures_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same kind of face in the same place: half of such cuts correlate more than a turning head may."""
    monkeypatch.setattr(track_facts, "shows_face", lambda frame: True)  # which takes most of the time
    people = [talking_face(seed, 64, 48, 40) for seed in range(12)]
    together = np.concatenate(people)
    curves = look([together])
    at = np.arange(1, len(people)) * 40 - 1
    assert (curves.alike_P[at] > track_facts.CUT_CORRELATION).sum() >= 3, "too easy"
    assert track_facts.picture_facts(curves)["cuts"] == len(people) - 1
    for seed in range(4):
        assert track_facts.picture_facts(look([talking_face(seed, 64, 48, 200, every=5)]))["cuts"] == 0
    switched_on = np.concatenate([people[0] // 2, people[0]])
    assert track_facts.picture_facts(look([switched_on]))["cuts"] == 0, "a lamp is no cut"


def test_a_photograph_is_frozen_however_its_track_is_encoded(tmp_path: Path) -> None:
    """A keyframe of each unit differs from the frames after it."""
    for seed in range(3):
        write_video(tmp_path / "a.mp4", np.repeat(face(seed, 320, 240)[None], 60, axis=0))
        result, data = ingest_rows(tmp_path, [{"participant": "a", "uri": "a.mp4"}])
        facts = measure(data, result.tables["tracks"][0]).facts
        assert facts["frozen_share"] > 0.9


def test_the_share_of_faces_does_not_depend_on_the_pieces() -> None:
    frames = np.stack([face(0, 64, 48)] * 130 + [grey(scene(0))] * 130)
    assert track_facts.picture_facts(look([frames]))["face_share"] == 0.5
    pieces = np.split(frames, [1, 20, 33, 150])
    assert track_facts.picture_facts(look(pieces)) == track_facts.picture_facts(look([frames]))


def test_sound_is_the_same_in_pieces() -> None:
    whole = speech(-20, -50, seconds=9)
    pieces = np.split(whole, np.arange(640 * 25, len(whole), 640 * 25))
    one, two = listen([whole], RATE_HZ), listen(pieces, RATE_HZ)
    assert track_facts.sound_facts(one) == track_facts.sound_facts(two)
    assert np.allclose(one.bands_NB, two.bands_NB) and (one.energy_N == two.energy_N).all()


def test_loudness_is_that_of_the_standard(tmp_path: Path) -> None:
    """EBU Tech 3341: 1 kHz of -23 dBFS peak from two loudspeakers measures -23 LUFS, so one loudspeaker's -26."""
    tone = np.sin(2 * np.pi * 1000 * np.arange(20 * RATE_HZ) / RATE_HZ).astype(np.float32)
    write_wav(tmp_path / "tone.wav", 10 ** (-23 / 20) * tone, RATE_HZ)
    assert loudness_lufs(tmp_path / "tone.wav") == pytest.approx(-26, abs=0.1)
    write_wav(tmp_path / "half.wav", np.concatenate([0.1 * tone, 0 * tone]), RATE_HZ)
    assert loudness_lufs(tmp_path / "half.wav") == pytest.approx(-23, abs=0.1)  # silence is gated away
    write_wav(tmp_path / "silence.wav", 0 * tone, RATE_HZ)
    assert loudness_lufs(tmp_path / "silence.wav") is None


def test_a_track_is_measured_whole_and_missing_streams_are_null(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (4 * UNITS, 48, 64, 3), dtype=np.uint8)
    write_video(tmp_path / "a.mp4", frames)
    write_wav(tmp_path / "a.wav", speech(-20, -50), RATE_HZ)
    track = {"num_units": UNITS, "rate_hz": RATE_HZ, "width": 64, "height": 48}
    both, hashes, light_TB, power_F = measure(tmp_path, {**track, "audio_path": "a.wav", "video_path": "a.mp4"})
    assert light_TB is not None and len(light_TB) == 4 * UNITS
    assert all(value is not None for value in both.values())
    ids = {"session_id", "participant"}
    assert {*both, *ids, *PAIR_FACTS, *PERCEIVED, "duplicate_of", "usable"} == {
        field.name for field in TABLES["quality"].fields
    }
    assert {*hashes, *ids} == {field.name for field in TABLES["hashes"].fields}
    deaf, _, _, no_power = measure(tmp_path, {**track, "audio_path": None, "video_path": "a.mp4"})
    assert (
        deaf["level_db"] is None
        and deaf["loudness_lufs"] is None
        and deaf["av_offset_ms"] is None
        and deaf["cuts"] == both["cuts"]
    )
    blind, _, no_light, _ = measure(tmp_path, {**track, "audio_path": "a.wav", "video_path": None})
    assert blind["black_share"] is None and blind["face_share"] is None and blind["snr_db"] == both["snr_db"]
    assert no_light is None and no_power is None and power_F is not None and len(power_F) == 50 * 4


def test_what_does_not_show_the_person_counts_for_nothing(tmp_path: Path) -> None:
    """Half of the video is grey, in three stretches; two cuts of the source lie where the person is shown."""
    frames = np.concatenate([talking_face(seed, 64, 48, 40) for seed in range(5)])
    shown = [(0, 30), (50, 90), (130, 170)]  # frames; the cut at 80 is seen, and 160
    visible = np.zeros(len(frames), bool)
    for start, stop in shown:
        visible[start:stop] = True
    frames[~visible] = 128
    write_video(tmp_path / "a.mp4", frames)
    track = {"num_units": len(frames) // 4, "rate_hz": RATE_HZ, "width": 64, "height": 48, "audio_path": None}
    track |= {"video_path": "a.mp4"}
    spans = [{"start_ms": 40 * start, "end_ms": 40 * stop} for start, stop in shown]
    facts = measure(tmp_path, track | {"visible": spans}).facts
    assert facts["black_share"] == 0 and facts["frozen_share"] < 0.05 and facts["face_share"] > 0.8
    assert facts["cuts"] == 2 and facts["cuts_per_min"] is None
    blind = measure(tmp_path, track).facts
    assert blind["frozen_share"] > 0.3 and blind["face_share"] < 0.7 and blind["cuts_per_min"] == 2, "without spans"
    never = measure(tmp_path, track | {"visible": []}).facts
    assert {never[name] for name in track_facts.VIDEO_FACTS} == {None}


def test_the_edges_of_what_is_grey_are_no_changes_of_the_picture(tmp_path: Path) -> None:
    """They would be in the hashes of every such track, and in both tracks of a session at once."""
    frames = np.full((80, 48, 64, 3), 60, np.uint8)
    frames[30:50] = 128
    write_video(tmp_path / "a.mp4", frames)
    track = {"num_units": 20, "rate_hz": RATE_HZ, "width": 64, "height": 48, "audio_path": None, "video_path": "a.mp4"}
    spans = [{"start_ms": 0, "end_ms": 1200}, {"start_ms": 2000, "end_ms": 3200}]
    light_TB = measure(tmp_path, track | {"visible": spans}).light_TB
    assert light_TB is not None and np.ptp(light_TB) < 3
    bare_TB = measure(tmp_path, track).light_TB
    assert bare_TB is not None and np.ptp(bare_TB) > 50


@pytest.mark.parametrize("limit_hz", [1000, 4000, 7000])
def test_the_band_of_a_sound_is_found(limit_hz: int) -> None:
    spectrum = np.fft.rfft(speech(-20, -60))
    spectrum[len(spectrum) * limit_hz // (RATE_HZ // 2) :] = 0
    assert sound_facts(np.fft.irfft(spectrum), RATE_HZ)["bandwidth_hz"] == pytest.approx(limit_hz, abs=300)
    assert sound_facts(nothing_for(1), RATE_HZ)["bandwidth_hz"] is None


def test_a_blurred_picture_has_less_detail_and_a_darker_one_does_not() -> None:
    sharp = np.stack([scene(0)] * 8)
    blurred = (sharp + np.roll(sharp, 1, 1) + np.roll(sharp, 1, 2) + np.roll(sharp, (1, 1), (1, 2))) / 4
    detail, less, dark = (
        track_facts.mean_detail(look([grey(picture)])) for picture in (sharp, blurred, sharp * 0.5 + 20)
    )
    assert detail is not None and less is not None and less < 0.8 * detail
    assert dark == pytest.approx(detail, rel=0.1)
    assert track_facts.mean_detail(look([grey(np.full_like(sharp, 90.0))])) is None
