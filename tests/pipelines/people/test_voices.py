"""Who speaks when in one sound, with voices that espeak made at known times."""

from collections.abc import Sequence

import numpy as np
import pytest

from pipelines.engine.jobs import Rejected
from pipelines.people.voices import Voices, find_voices
from pipelines.people.voices_params import VoicesParams
from pipelines.signals.voice_activity import RATE_HZ
from pipelines.signals.voice_embedding import Embedder, load_embedder
from tests.helpers.diarization_error import diarization_error
from tests.helpers.spoken_scene import HIGH, LOW, OTHER, SHRILL, Line, speak_scene, turns
from wanstreamer.clock import Span, intersect_spans


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return load_embedder()


@pytest.fixture(scope="module")
def dialogue() -> tuple[np.ndarray, dict[str, list[Span]]]:
    return speak_scene(turns((HIGH, LOW), 14))


@pytest.fixture(scope="module")
def found(dialogue: tuple[np.ndarray, dict[str, list[Span]]], embedder: Embedder) -> Voices:
    return find(dialogue[0], embedder)


def find(audio_T: np.ndarray, embedder: Embedder) -> Voices:
    return find_voices(audio_T, VoicesParams(), embedder)


def total_ms(spans: Sequence[Span]) -> int:
    return sum(span.duration_ms for span in spans)


def test_two_voices_and_their_edges(dialogue: tuple[np.ndarray, dict[str, list[Span]]], found: Voices) -> None:
    _, truth = dialogue
    assert len(found.voices) == 2
    error = diarization_error(truth, [voice.speech for voice in found.voices])
    assert error.confusion <= 0.01 * error.speech
    assert error.false <= 0.05 * error.speech
    assert not found.overlap
    assert 0.8 < found.confidence <= 1
    # The voice that speaks first is the first one.
    assert total_ms(intersect_spans(found.voices[0].speech, truth[HIGH.name])) > 10 * total_ms(
        intersect_spans(found.voices[0].speech, truth[LOW.name])
    )


@pytest.mark.long
def test_the_voice_that_speaks_first_is_the_first(embedder: Embedder) -> None:
    audio_T, truth = speak_scene(turns((LOW, HIGH), 12))
    first, second = find(audio_T, embedder).voices
    assert first.speech[0] < second.speech[0]
    assert abs(first.speech[0].start_ms - truth[LOW.name][0].start_ms) < 100


@pytest.mark.long
def test_sound_that_begins_later_is_the_same_later(
    dialogue: tuple[np.ndarray, dict[str, list[Span]]], found: Voices, embedder: Embedder
) -> None:
    audio_T, _ = dialogue
    silence_T = np.random.default_rng(1).normal(0, 1e-3, 64 * 512).astype(np.float32)  # whole frames of the detector
    shift_ms = 1000 * len(silence_T) // RATE_HZ
    early, late = found, find(np.concatenate([silence_T, audio_T]), embedder)
    assert len(early.voices) == len(late.voices)
    for one, other in zip(early.voices, late.voices, strict=True):
        shifted = [Span(a + shift_ms, b + shift_ms) for a, b in one.speech]
        assert total_ms(intersect_spans(shifted, other.speech)) > 0.97 * max(total_ms(shifted), total_ms(other.speech))


@pytest.mark.long
def test_the_same_sound_gives_the_same_voices(
    dialogue: tuple[np.ndarray, dict[str, list[Span]]], found: Voices, embedder: Embedder
) -> None:
    audio_T, _ = dialogue
    one, other = found, find(audio_T.copy(), embedder)
    assert [voice.speech for voice in one.voices] == [voice.speech for voice in other.voices]
    assert one.overlap == other.overlap and one.confidence == other.confidence


@pytest.mark.parametrize("voice", [HIGH, pytest.param(LOW, marks=pytest.mark.long)])
def test_one_voice_is_one(voice: object, embedder: Embedder) -> None:
    audio_T, truth = speak_scene(turns((voice,), 14))  # type: ignore[arg-type]
    found = find(audio_T, embedder)
    assert len(found.voices) == 1 and not found.overlap
    assert total_ms(found.voices[0].speech) == pytest.approx(total_ms(next(iter(truth.values()))), rel=0.1)


@pytest.mark.long
def test_three_voices_are_three(embedder: Embedder) -> None:
    audio_T, truth = speak_scene(turns((HIGH, LOW, OTHER), 21))
    found = find(audio_T, embedder)
    assert len(found.voices) == 3
    error = diarization_error(truth, [voice.speech for voice in found.voices])
    assert error.confusion <= 0.03 * error.speech


@pytest.mark.long
def test_one_who_speaks_a_tenth_is_found(embedder: Embedder) -> None:
    lines = turns((HIGH,), 18)
    for place in (5, 12):
        lines[place] = Line(LOW, "I have never been there myself, and you?")
    audio_T, truth = speak_scene(lines)
    found = find(audio_T, embedder)
    assert len(found.voices) == 2
    error = diarization_error(truth, [voice.speech for voice in found.voices])
    assert error.confusion <= 0.03 * error.speech


@pytest.mark.long
def test_both_at_once_is_overlap_and_speech_of_both(embedder: Embedder) -> None:
    lines = turns((HIGH, LOW), 16)
    lines[5] = lines[5]._replace(pause_ms=-1_500)
    lines[10] = lines[10]._replace(pause_ms=-1_200)
    audio_T, truth = speak_scene(lines)
    found = find(audio_T, embedder)
    assert len(found.voices) == 2
    true_overlap = intersect_spans(truth[HIGH.name], truth[LOW.name])
    assert total_ms(true_overlap) > 2_000
    assert total_ms(intersect_spans(found.overlap, true_overlap)) > 0.5 * total_ms(true_overlap)
    assert total_ms(found.overlap) < 2 * total_ms(true_overlap)
    for voice in found.voices:
        assert intersect_spans(voice.speech, found.overlap) == list(found.overlap)


def test_a_third_who_says_two_words_is_a_voice_of_its_own(embedder: Embedder) -> None:
    lines = turns((HIGH, LOW), 12)
    lines.insert(7, Line(SHRILL, "Coffee, anyone?"))
    audio_T, truth = speak_scene(lines)
    found = find(audio_T, embedder)
    assert len(found.voices) == 3
    (rare,) = (voice for voice in found.voices if total_ms(voice.speech) < 2_000)
    assert total_ms(intersect_spans(rare.speech, truth[SHRILL.name])) > 0.7 * total_ms(truth[SHRILL.name])
    assert total_ms(rare.speech) < 1.5 * total_ms(truth[SHRILL.name])


def music(seconds: float) -> np.ndarray:
    """Chords of plucked strings."""
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    sound_T = np.zeros_like(time_s)
    for beat in range(int(seconds * 2)):
        after_s = time_s - beat / 2
        for half_tones in ((0, 4, 7), (5, 9, 12), (7, 11, 14))[beat // 4 % 3]:
            pitch_hz = 220 * 2 ** (half_tones / 12)
            tone = sum(np.sin(2 * np.pi * k * pitch_hz * after_s) / k**1.5 for k in (1, 2, 3, 4))
            sound_T += np.where(after_s >= 0, tone * np.exp(-4 * np.maximum(after_s, 0)), 0)
    return (0.1 * sound_T / np.abs(sound_T).max()).astype(np.float32)


def applause(seconds: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    claps_T = np.zeros(round(seconds * RATE_HZ))
    claps_T[rng.integers(0, len(claps_T), round(150 * seconds))] = rng.normal(0, 1, round(150 * seconds))
    clap = rng.normal(0, 1, 800) * np.exp(-np.arange(800) / 120)
    return (0.03 * np.convolve(claps_T, clap, mode="same")).astype(np.float32)


@pytest.mark.parametrize(
    "audio_T",
    [
        np.zeros(0, np.float32),
        np.zeros(1, np.float32),
        np.zeros(20 * RATE_HZ, np.float32),
        np.random.default_rng(0).normal(0, 0.1, 20 * RATE_HZ).astype(np.float32),
        music(20),
        applause(20),
    ],
    ids=["nothing", "one_sample", "silence", "noise", "music", "applause"],
)
def test_what_is_no_speech_has_no_voices(audio_T: np.ndarray, embedder: Embedder) -> None:
    with pytest.raises(Rejected) as caught:
        find(audio_T, embedder)
    assert caught.value.reason == "no_speech"


@pytest.mark.long
def test_music_before_and_after_is_no_voice(
    dialogue: tuple[np.ndarray, dict[str, list[Span]]], embedder: Embedder
) -> None:
    audio_T, truth = dialogue
    found = find(np.concatenate([music(8), audio_T, applause(5)]), embedder)
    assert len(found.voices) == 2
    shifted = {name: [Span(a + 8_000, b + 8_000) for a, b in spans] for name, spans in truth.items()}
    error = diarization_error(shifted, [voice.speech for voice in found.voices])
    assert error.confusion <= 0.03 * error.speech and error.false <= 0.08 * error.speech


def test_a_short_recording_of_one_sentence_is_one_voice(embedder: Embedder) -> None:
    audio_T, _ = speak_scene([Line(HIGH, "We went down to the sea.", 200)])
    assert len(find(audio_T, embedder).voices) == 1
