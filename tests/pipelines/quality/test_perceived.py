"""Which stretches of a track the networks hear, and what becomes of tracks without sound or without the package."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.media.tracks import write_wav
from pipelines.quality import perceived
from pipelines.quality.params import PERCEIVED
from pipelines.quality.perceived import FRAME_S, loudest_clips, perceived_facts
from pipelines.signals import opinion_scores
from pipelines.signals.opinion_scores import ECHO_SAMPLES, VOICE_SAMPLES, Scores

RATE_HZ = 16000


def track(data: Path, name: str, sound_T: np.ndarray, rate_hz: int = RATE_HZ) -> tuple[dict[str, Any], np.ndarray]:
    """A track, and the mean square of each 20 ms."""
    write_wav(data / f"{name}.wav", sound_T.astype(np.float32), rate_hz)
    frames = sound_T[: len(sound_T) // (rate_hz // 50) * (rate_hz // 50)].reshape(-1, rate_hz // 50)
    return {"participant": name, "audio_path": f"{name}.wav", "rate_hz": rate_hz}, (frames**2).mean(1)


def noise(seed: int, seconds: int, rate_hz: int = RATE_HZ) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal(seconds * rate_hz)


@pytest.fixture
def networks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Networks that score the level of what they hear, and note its length."""
    heard: list[tuple[str, int]] = []

    def voice_scores(clip_T: np.ndarray) -> Scores:
        heard.append(("voice", len(clip_T)))
        level = float(np.abs(clip_T).mean())
        return Scores(1 + level, 2 + level, 3 + level, 4 + level)

    def echo_score(other_T: np.ndarray, own_T: np.ndarray) -> float:
        heard.append(("echo", len(own_T)))
        assert len(other_T) == len(own_T)
        return 5 - float(np.abs(own_T[np.abs(other_T) > 0.1]).mean())

    monkeypatch.setattr(opinion_scores, "installed", lambda: "1.0")
    monkeypatch.setattr(opinion_scores, "voice_scores", voice_scores)
    monkeypatch.setattr(opinion_scores, "echo_score", echo_score)
    return heard


def test_clips_are_where_the_sound_is() -> None:
    sounds_F = np.zeros(round(100 / FRAME_S), bool)
    for begin_s in (12, 43, 88):
        sounds_F[round(begin_s / FRAME_S) : round((begin_s + 9) / FRAME_S)] = True
    starts_s = loudest_clips(sounds_F, 9.0, 8)
    sounding = [sounds_F[round(start / FRAME_S) : round((start + 9) / FRAME_S)].mean() for start in starts_s]
    assert 3 <= len(starts_s) <= 6 and min(sounding) > 0.1 and max(sounding) == 1
    assert loudest_clips(np.ones(100, bool), 9.0, 8) == [0.0]
    everywhere = loudest_clips(np.ones(5000, bool), 9.0, 8)
    assert len(everywhere) == 8 and everywhere == sorted(everywhere) and everywhere[-1] > 80


def test_scores_are_those_of_the_loud_parts(tmp_path: Path, networks: list[tuple[str, int]]) -> None:
    speech = np.concatenate([np.zeros(30 * RATE_HZ), noise(0, 10), np.zeros(30 * RATE_HZ)])
    echoing = 0.5 * speech
    other = np.concatenate([noise(1, 20), np.zeros(50 * RATE_HZ)])
    silent = np.zeros(70 * RATE_HZ)
    made = [track(tmp_path, name, sound) for name, sound in zip("abcd", (speech, echoing, other, silent), strict=True)]
    tracks = [each for each, _ in made] + [{"participant": "e", "audio_path": None, "rate_hz": None}]
    facts = perceived_facts(tmp_path, tracks, [*(power_F for _, power_F in made), None])
    level = float(np.abs(noise(0, 10)).mean())
    assert facts[0]["dnsmos_sig"] == pytest.approx(1 + level, abs=0.02)
    assert [facts[0][name] for name in PERCEIVED[1:4]] == pytest.approx([2 + level, 3 + level, 4 + level], abs=0.02)
    assert facts[1]["dnsmos_sig"] == pytest.approx(1 + level / 2, abs=0.02)
    assert facts[1]["aecmos_echo"] < facts[2]["aecmos_echo"] == pytest.approx(5.0, abs=0.01)
    assert facts[3] == facts[4] == dict.fromkeys(PERCEIVED)
    assert {length for kind, length in networks if kind == "voice"} == {VOICE_SAMPLES}
    assert {length for kind, length in networks if kind == "echo"} == {ECHO_SAMPLES}


@pytest.mark.parametrize("rate_hz", [8000, 24000, 48000])
def test_other_rates_and_short_tracks_are_heard_at_16_khz(
    tmp_path: Path, networks: list[tuple[str, int]], rate_hz: int
) -> None:
    alone, power_F = track(tmp_path, "a", noise(0, 3, rate_hz), rate_hz)
    (facts,) = perceived_facts(tmp_path, [alone], [power_F])
    assert networks == [("voice", VOICE_SAMPLES)] and facts["aecmos_echo"] is None
    assert facts["dnsmos_sig"] is not None and facts["dnsmos_sig"] > 1.03


def test_without_the_package_nothing_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opinion_scores, "installed", lambda: None)
    monkeypatch.setattr(perceived, "_clip", lambda *_, **__: pytest.fail("a file was read"))
    made = track(tmp_path, "a", noise(0, 3))
    assert perceived_facts(tmp_path, [made[0]], [made[1]]) == [dict.fromkeys(PERCEIVED)]
