"""Channels that cancel each other: the louder one is the sound of the track."""

from pathlib import Path

import numpy as np
import pytest

from pipelines.media.cancelling import STEP_MS, without_cancelling
from pipelines.media.ffmpeg import decode_audio
from pipelines.media.probing import probe
from pipelines.media.tracks import read_wav
from tests.helpers.chirps import ffmpeg
from tests.helpers.clips import ingest_rows
from wanstreamer.clock import Span

RATE_HZ = 16000
SECONDS = 12


def voice(seed: int, seconds: int = SECONDS) -> np.ndarray:
    """Bursts of noise with pauses between them, at -20 dB."""
    rng = np.random.default_rng(seed)
    on = np.repeat(rng.random(seconds * 5) < 0.6, RATE_HZ // 5)
    return 0.1 * rng.standard_normal(seconds * RATE_HZ) * on


def noise(seed: int, level: float, seconds: int = SECONDS) -> np.ndarray:
    return level * np.random.default_rng(seed).standard_normal(seconds * RATE_HZ)


def write(path: Path, *channels: np.ndarray) -> None:
    samples = np.clip(np.round(32767 * np.stack(channels, axis=1)), -32768, 32767).astype("<i2")
    ffmpeg("-f", "s16le", "-ar", RATE_HZ, "-ac", len(channels), "-i", "pipe:", path, input=samples.tobytes())


def decoded(path: Path) -> tuple[np.ndarray, tuple[Span, ...]]:
    source = probe(path).source
    mix = without_cancelling(source, decode_audio(source, RATE_HZ, None), RATE_HZ)
    return np.array(mix.samples_T), mix.cancelled


def level_db(sound: np.ndarray, wanted: np.ndarray) -> float:
    """Level of what of `wanted` is in `sound`, relative to it."""
    return 20 * float(np.log10(abs(sound[: len(wanted)] @ wanted) / (wanted @ wanted) + 1e-9))


HUM = 0.2 * np.sin(2 * np.pi * 50 * np.arange(SECONDS * RATE_HZ) / RATE_HZ)
CANCEL = {
    "exactly": (voice(0), -voice(0)),
    "with a room": (voice(0) + noise(1, 0.005), -voice(0) + noise(2, 0.005)),
    "one weaker": (0.6 * voice(0), -voice(0)),
    "with hum in both": (voice(0) + HUM, -voice(0) + HUM),
    "in the front of surround": (voice(0), -voice(0), noise(3, 0.001), noise(4, 0.001), noise(5, 1e-4), noise(6, 1e-4)),
}
FINE = {
    "equal": (voice(0), voice(0)),
    "one silent": (voice(0), 0 * voice(0)),
    "two people": (voice(0), voice(1)),
    "wide": (voice(0) + noise(1, 0.01), np.roll(voice(0), 9) + noise(2, 0.01)),
    "slightly negative": (voice(0) + voice(1), voice(0) - 0.9 * voice(1)),
    "one": (voice(0),),
    "silence": (0 * voice(0), 0 * voice(0)),
}


@pytest.mark.parametrize("name", CANCEL)
def test_the_louder_channel_is_taken(tmp_path: Path, name: str) -> None:
    channels = CANCEL[name]
    write(tmp_path / "a.wav", *channels)
    source = probe(tmp_path / "a.wav").source
    assert level_db(decode_audio(source, RATE_HZ, None), voice(0)) < -9, "the mix is too loud for this test"
    sound, cancelled = decoded(tmp_path / "a.wav")
    assert cancelled == (Span(0, 1000 * SECONDS),)
    assert abs(level_db(sound, voice(0))) < 0.2
    loudest = max(channels, key=lambda channel: float(channel @ channel))
    assert np.abs(sound - loudest).max() < 2e-4


@pytest.mark.parametrize("name", FINE)
def test_other_channels_are_mixed_as_before(tmp_path: Path, name: str) -> None:
    write(tmp_path / "a.wav", *FINE[name])
    sound, cancelled = decoded(tmp_path / "a.wav")
    assert cancelled == ()
    assert (sound == decode_audio(probe(tmp_path / "a.wav").source, RATE_HZ, None)).all()


@pytest.mark.parametrize("suffix", ["wav", "m4a", "mka"])
def test_a_part_that_cancels_is_found(tmp_path: Path, suffix: str) -> None:
    """Two recordings joined: the first 20 s are wired the right way round. In mka, the sound begins at 5 s."""
    first, second = voice(1, 20), voice(2, 20)
    write(tmp_path / "a.wav", np.concatenate([first, second]), np.concatenate([first, -second]))
    late = ["-output_ts_offset", "5"] if suffix == "mka" else []
    if suffix != "wav":
        ffmpeg("-i", tmp_path / "a.wav", *late, "-b:a", "192k", tmp_path / f"a.{suffix}")
    sound, cancelled = decoded(tmp_path / f"a.{suffix}")
    (span,) = cancelled
    assert abs(span.start_ms - 20_000) <= STEP_MS and span.end_ms >= 40_000
    for part, wanted in ((slice(0, 19 * RATE_HZ), first), (slice(21 * RATE_HZ, 40 * RATE_HZ), second[RATE_HZ:])):
        piece = sound[part]
        assert abs(level_db(piece, wanted[: len(piece)])) < 0.5
    step = np.abs(np.diff(sound)).max()
    assert step < 1.1 * np.abs(np.diff(np.concatenate([first, second]))).max(), "a click where the channel changes"


def test_the_table_has_the_time(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", voice(0), -voice(0))
    write(tmp_path / "b.wav", voice(1), voice(1))
    write(tmp_path / "c.wav", voice(2), -voice(2))
    rows = [{"participant": name, "uri": f"{name}.wav"} for name in "abc"]
    result, data = ingest_rows(tmp_path, [*rows[:2], {**rows[2], "channel": 0}])
    assert [track["audio_cancel_ms"] for track in result.tables["tracks"]] == [75 * 160, 0, 0]
    sound, _ = read_wav(data / result.tables["tracks"][0]["audio_path"])
    assert abs(level_db(sound, voice(0)[: len(sound)])) < 0.1
