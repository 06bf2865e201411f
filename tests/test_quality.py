"""Quality facts on tracks with known faults, and what the thresholds make of them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipelines import quality
from pipelines.media import write_video, write_wav
from pipelines.quality import QualityParams, judge, measure, picture_facts, sound_facts
from schemas import TABLES
from wanstreamer.errors import InputError

RATE_HZ = 16000
UNITS = 25


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
    assert nothing["level_db"] == nothing["peak_db"] == quality.FLOOR_DB and nothing["silent_share"] == 1


def scene(seed: int) -> np.ndarray:
    """A picture of soft shapes, (48, 64) in 0 to 255."""
    return np.kron(np.random.default_rng(seed).random((6, 8)), np.ones((8, 8))) * 200 + 20


def test_black_frozen_and_cut_pictures_are_counted() -> None:
    rng = np.random.default_rng(0)
    moving = np.stack([np.roll(scene(0), shift // 4, axis=1) for shift in range(100)]) + rng.normal(0, 1, (100, 48, 64))
    assert picture_facts(moving) == {"black_share": 0.0, "frozen_share": 0.0, "cuts": 0}
    still = np.repeat(scene(0)[None], 100, axis=0)
    assert picture_facts(still)["frozen_share"] == 1.0
    cut = np.concatenate([moving[:40], scene(5) + rng.normal(0, 1, (30, 48, 64)), moving[70:]])
    assert picture_facts(cut)["cuts"] == 2
    dark = np.concatenate([moving[:50], rng.random((50, 48, 64)) * 10])
    assert picture_facts(dark)["black_share"] == 0.5


def test_a_track_is_measured_whole_and_missing_streams_are_null(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (4 * UNITS, 48, 64, 3), dtype=np.uint8)
    write_video(tmp_path / "a.mp4", frames)
    write_wav(tmp_path / "a.wav", speech(-20, -50), RATE_HZ)
    both = measure(tmp_path, {"audio_path": "a.wav", "video_path": "a.mp4", "num_units": UNITS})
    assert all(value is not None for value in both.values())
    assert {*both, "session_id", "participant", "usable"} == {field.name for field in TABLES["quality"].fields}
    deaf = measure(tmp_path, {"audio_path": None, "video_path": "a.mp4", "num_units": UNITS})
    assert deaf["level_db"] is None and deaf["av_offset_ms"] is None and deaf["cuts"] == both["cuts"]
    blind = measure(tmp_path, {"audio_path": "a.wav", "video_path": None, "num_units": UNITS})
    assert blind["black_share"] is None and blind["snr_db"] == both["snr_db"]


def test_thresholds_judge_and_an_unsure_offset_does_not() -> None:
    good = {"clipped_share": 0.0, "black_share": 0.0, "frozen_share": 0.2, "av_offset_ms": 40, "av_confidence": 0.8}
    params = QualityParams()
    assert judge(good, params) == {}
    assert list(judge({**good, "clipped_share": 0.2, "frozen_share": 1.0}, params)) == ["clipped", "frozen"]
    assert list(judge({**good, "av_offset_ms": -300}, params)) == ["out_of_sync"]
    assert judge({**good, "av_offset_ms": -300, "av_confidence": 0.2}, params) == {}
    assert judge({**good, "av_offset_ms": -300}, replace(params, max_av_offset_ms=400)) == {}
    assert judge(dict.fromkeys(good), params) == {}
    with pytest.raises(InputError, match=r"quality\.max_black_share"):
        QualityParams(max_black_share=2)
