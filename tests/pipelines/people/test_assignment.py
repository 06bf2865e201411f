"""Voices get their faces over the whole recording, or none; the confidence says how sure that is."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from pipelines.people.assignment import assign, join_by_voice
from pipelines.people.identities import Identity
from pipelines.people.speaking import Speaking
from tests.helpers.counts import seeds
from tests.helpers.made_tracks import still
from wanstreamer.clock import Span

NUM_FRAMES = 3000


@dataclass(frozen=True)
class Voice:
    speech: tuple[Span, ...]


def two_voices(num_turns: int = 20) -> list[Voice]:
    every = NUM_FRAMES * 40 // num_turns
    spans = [Span(place * every, (place + 1) * every - 200) for place in range(num_turns)]
    return [Voice(tuple(spans[0::2])), Voice(tuple(spans[1::2]))]


def speaks(voice: Voice | None) -> np.ndarray:
    active = np.zeros(NUM_FRAMES, bool)
    for span in voice.speech if voice else ():
        active[span.start_ms // 40 : span.end_ms // 40] = True
    return active


def face_of(voice: Voice | None, rng: np.random.Generator, *, gap: float = 2.0, noise: float = 2.0) -> np.ndarray:
    return (gap * (speaks(voice) - 0.5) + noise * rng.normal(size=NUM_FRAMES)).astype(np.float32)


def people(count: int, *, posters: int = 0) -> list[Identity]:
    return [
        Identity(tracks=(), share=1.0, is_static=place >= count, copy_of=None, certainty=1.0)
        for place in range(count + posters)
    ]


@pytest.mark.parametrize("measure", ["lr-asd", "motion"])
@pytest.mark.parametrize("seed", seeds(40, 5))
def test_each_voice_gets_its_face(seed: int, measure: str) -> None:
    rng = np.random.default_rng(seed)
    voices = two_voices()
    order = rng.permutation(3)  # two who speak and one who never does
    scores = [face_of((*voices, None)[place], rng) for place in order]
    found = assign(voices, people(3), Speaking(tuple(scores), measure))
    assert found.faces == (order.tolist().index(0), order.tolist().index(1))
    assert found.confidence is not None and found.confidence > 0.9


def test_a_voice_off_screen_has_no_face_and_a_silent_face_no_voice() -> None:
    rng = np.random.default_rng(0)
    voices = two_voices()
    scores = face_of(None, rng), face_of(voices[1], rng)
    assert assign(voices, people(2), Speaking(scores, "lr-asd")).faces == (None, 1)
    assert assign(voices, people(1), Speaking(scores[1:], "lr-asd")).faces == (None, 0)
    nothing = assign(voices, people(1), Speaking(scores[:1], "lr-asd"))
    assert nothing.faces == (None, None) and nothing.confidence is None
    assert assign(voices, [], Speaking((), "lr-asd")).faces == (None, None)


def test_posters_and_copies_get_no_voice() -> None:
    rng = np.random.default_rng(0)
    voices = two_voices()
    scores = face_of(voices[0], rng), face_of(voices[1], rng, gap=1.0), face_of(voices[1], rng, gap=4.0)
    assert assign(voices, people(2, posters=1), Speaking(scores, "lr-asd")).faces == (0, 1)


def test_faces_that_are_seen_only_while_they_speak() -> None:
    rng = np.random.default_rng(0)
    voices = two_voices()
    scores = [face_of(voice, rng) for voice in voices]
    for place, score in enumerate(scores):
        score[speaks(voices[1 - place])] = np.nan
    assert assign(voices, people(2), Speaking(tuple(scores), "lr-asd")).faces == (0, 1)


def test_cameras_are_cut_to_the_speaker() -> None:
    """Scores that say nothing, and faces that are mostly seen while they speak."""
    rng = np.random.default_rng(0)
    voices = two_voices()
    scores = [face_of(None, rng, gap=0.0) + 0.1 for _ in voices]
    for place, score in enumerate(scores):
        for span in voices[1 - place].speech[1:]:
            score[span.start_ms // 40 : span.end_ms // 40] = np.nan
    found = assign(voices, people(2), Speaking(tuple(scores), "lr-asd"))
    assert found.faces == (0, 1) and found.confidence is not None and found.confidence > 0.9


def test_where_both_speak_nothing_counts() -> None:
    rng = np.random.default_rng(0)
    one, other = two_voices()
    both = [Voice(one.speech), Voice((*other.speech, *one.speech[2:]))]
    wrong = [face_of(one, rng), face_of(other, rng)]
    for span in one.speech[2:]:
        wrong[1][span.start_ms // 40 : span.end_ms // 40] = 3.0
    assert assign(both, people(2), Speaking(tuple(wrong), "lr-asd")).faces == (0, 1)


def test_a_few_very_sure_frames_do_not_outweigh_the_rest() -> None:
    rng = np.random.default_rng(0)
    voices = two_voices()
    scores = [face_of(voice, rng) for voice in voices]
    scores[0][speaks(voices[1]).nonzero()[0][:5]] = 1000
    assert assign(voices, people(2), Speaking(tuple(scores), "lr-asd")).faces == (0, 1)


def test_confidence_is_low_where_nothing_tells_faces_apart_and_grows_with_what_does() -> None:
    voices = two_voices()
    mean = []
    for gap in (0.0, 0.1, 1.0):
        values = []
        for seed in range(20):
            rng = np.random.default_rng(seed)
            own = [gap * (speaks(voice) - 0.5) for voice in voices]
            scores = tuple((score + 0.5 + 2 * rng.normal(size=NUM_FRAMES)).astype(np.float32) for score in own)
            values.append(assign(voices, people(2), Speaking(scores, "lr-asd")).confidence or 0.0)
        mean.append(np.mean(values))
    assert mean[0] < 0.7 and mean[0] < mean[1] < mean[2] and mean[2] > 0.95


def test_equally_good_assignments_have_no_confidence() -> None:
    voices = two_voices()
    score = np.ones(NUM_FRAMES, np.float32)
    assert assign(voices, people(2), Speaking((score, score), "lr-asd")).confidence == 0.0


def test_faces_of_one_voice_that_are_never_seen_together_are_one_person() -> None:
    rng = np.random.default_rng(0)
    voices = two_voices()
    scores = [face_of(voices[0], rng), face_of(voices[1], rng), face_of(voices[1], rng), face_of(None, rng)]
    scores[1][2000:] = np.nan
    scores[2][:2000] = np.nan
    scores[3][:2500] = np.nan
    spans = [(0, NUM_FRAMES), (0, 2000), (2000, NUM_FRAMES), (2500, NUM_FRAMES)]
    identities = [
        replace(one, tracks=(still(100, 100, 50, steps=(last - first) // 5, start_ms=first * 40),))
        for one, (first, last) in zip(people(4), spans, strict=True)
    ]
    joined, speaking = join_by_voice(voices, identities, Speaking(tuple(scores), "lr-asd"))
    assert [len(one.tracks) for one in joined] == [1, 2, 1] and len(speaking.scores) == 3
    assert not np.isnan(speaking.scores[1]).any()
    assert assign(voices, joined, speaking).faces == (0, 1)
    # Two who are seen together are two, whatever they seem to say.
    together = [replace(identities[2], tracks=(still(300, 100, 50, steps=600),))]
    scores[2] = face_of(voices[1], rng)
    kept, _ = join_by_voice(voices, [*identities[:2], *together], Speaking(tuple(scores[:3]), "lr-asd"))
    assert len(kept) == 3
