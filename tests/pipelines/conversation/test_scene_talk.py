"""Who says what in a scene: two, one, three, or two and a third who says two words."""

from itertools import pairwise

import numpy as np
import pytest

from pipelines.conversation.dialogue import Dialogue, Transition, Utterance
from pipelines.conversation.phrases import Clip, Word
from pipelines.conversation.scene_talk import with_remark
from tests.helpers.scenes import planned, spoken
from wanstreamer.clock import Span, intersect_spans


def speech_ms(dialogue: Dialogue) -> dict[str, int]:
    names = sorted({u.participant for u in dialogue.utterances})
    return {name: sum(span.duration_ms for span in dialogue.speech(name)) for name in names}


@pytest.mark.parametrize(("kind", "voices"), [("two_shot", "ab"), ("one_person", "a"), ("three", "abc")])
def test_the_voices_of_a_kind_speak_in_the_order_of_their_names(kind: str, voices: str) -> None:
    dialogue, people = spoken(kind)
    spoken_ms = speech_ms(dialogue)
    assert "".join(spoken_ms) == voices and list(people)[: len(voices)] == list(voices)
    firsts = [dialogue.of(name)[0].start_ms for name in voices]
    assert firsts == sorted(firsts)
    assert dialogue.duration_ms == planned(kind).seconds * 1000
    assert max(u.end_ms for u in dialogue.utterances) <= dialogue.duration_ms
    assert min(spoken_ms.values()) >= 0.12 * sum(spoken_ms.values())


def test_who_speaks_has_the_voice_of_that_person() -> None:
    dialogue, people = spoken("three")
    assert len({people[name].voice.name for name in "abc"}) == 3
    pitch = {name: _pitch_hz(dialogue.samples(name)) for name in "abc"}
    high = [pitch[name] for name in "abc" if people[name].is_high]
    low = [pitch[name] for name in "abc" if not people[name].is_high]
    assert high and low and min(high) > max(low), pitch


def _pitch_hz(samples: np.ndarray) -> float:
    """Median of the strongest period between 70 and 400 Hz, over pieces with sound."""
    pieces = samples[: len(samples) // 1024 * 1024].reshape(-1, 1024)
    loud = pieces[np.abs(pieces).max(axis=1) > 0.3 * np.abs(samples).max()]
    spectra = np.abs(np.fft.rfft(loud, 4096)) ** 2
    periods = np.fft.irfft(spectra)[:, 22050 // 400 : 22050 // 70]
    return float(np.median(22050 / (periods.argmax(axis=1) + 22050 // 400)))


def test_a_third_who_says_two_words_is_under_two_percent_and_speaks_alone() -> None:
    dialogue, _ = spoken("two_words")
    spoken_ms = speech_ms(dialogue)
    assert list(spoken_ms) == ["a", "b", "c"]
    assert 200 < spoken_ms["c"] < 0.02 * sum(spoken_ms.values())
    assert len(dialogue.words("c")) == 2
    for name in "ab":
        assert not intersect_spans(dialogue.speech(name), dialogue.speech("c"))


def test_a_crowd_talks_all_at_once() -> None:
    dialogue, _ = spoken("crowd")
    assert len(speech_ms(dialogue)) == 10
    at_once = [sum(s.start_ms <= t < s.end_ms for n in "abcdefghij" for s in dialogue.speech(n))
               for t in range(2000, 18_000, 500)]  # fmt: skip
    assert np.mean(at_once) > 5


def clip(duration_ms: int) -> Clip:
    return Clip(
        samples=np.zeros(duration_ms * 22, np.float32), words=(Word(text="boat", start_ms=0, end_ms=duration_ms),),
        speech=(Span(0, duration_ms),),
    )  # fmt: skip


def test_a_remark_makes_room_for_itself_and_moves_what_is_known_of_the_rest() -> None:
    def turn(who: str, start_ms: int) -> Utterance:
        return Utterance(participant=who, kind="turn", clips=((start_ms, clip(1000)),))

    def shift(who: str, start_ms: int, fto_ms: int) -> Transition:
        return Transition(participant=who, start_ms=start_ms, label="smooth_shift", holder=who, fto_ms=fto_ms)

    before = Dialogue(
        duration_ms=10_000, utterances=[turn("a", 1000), turn("b", 2400), turn("a", 3700)],
        transitions=[shift("b", 2400, 400), shift("a", 3700, 300)],
    )  # fmt: skip
    after = with_remark(before, "c", clip(300), 2001)
    longer_ms = 300 + 700
    assert [u.start_ms for u in after.of("a")] == [1000, 3700 + longer_ms]
    assert [u.start_ms for u in after.of("b")] == [2400 + longer_ms]
    assert [u.start_ms for u in after.of("c")] == [2351]
    assert after.duration_ms == 10_000 + longer_ms
    assert [(t.start_ms, t.fto_ms) for t in after.transitions] == [(3400, 400 + longer_ms), (4700, 300)]
    onsets = sorted((u.start_ms, u.end_ms) for u in after.utterances)
    assert all(first[1] <= second[0] for first, second in pairwise(onsets))
