"""The mouth that moves with the sound has the higher score, without the weights of any network."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from pipelines.people.assignment import assign
from pipelines.people.face_tracks import find_tracks
from pipelines.people.faces_params import FacesParams
from pipelines.people.identities import Identity, identify
from pipelines.people.speaking import Speaking, speaking_scores
from tests.helpers.counts import seeds
from tests.helpers.drawn_people import person, placed, small_pictures, syllables, turns, voices
from wanstreamer.clock import Span

SIZE = (320, 180)
NUM_FRAMES = 360


@dataclass(frozen=True)
class Voice:
    speech: tuple[Span, ...]


def two_voices() -> list[Voice]:
    return [Voice(tuple(turns(NUM_FRAMES, first=place))) for place in range(2)]


def mouths(seed: int) -> list[np.ndarray]:
    return [syllables(100 * seed + place, voice.speech, NUM_FRAMES) for place, voice in enumerate(two_voices())]


def looked_at(frames: np.ndarray) -> tuple[Identity, ...]:
    found = find_tracks(small_pictures(frames), SIZE, FacesParams())
    return identify(found.tracks, found.shots, FacesParams(), duration_ms=len(frames) * 40)


def scores_of(identities: tuple[Identity, ...], audio_T: np.ndarray) -> Speaking:
    speech = [span for voice in two_voices() for span in voice.speech]
    return speaking_scores(identities, audio_T, speech, num_frames=NUM_FRAMES)


def two_shot(seed: int, openings: list[np.ndarray], width: int = 160, height: int = 180) -> np.ndarray:
    films = [person(20 + 2 * seed + place, opening, width, height) for place, opening in enumerate(openings)]
    return placed([(films[0], 0, 0), (films[1], SIZE[0] - width, 0)], *SIZE)


def left_to_right(identities: tuple[Identity, ...]) -> list[int]:
    return sorted(range(len(identities)), key=lambda place: identities[place].tracks[0].centre[0])


@pytest.mark.parametrize("seed", seeds(12, 1))
def test_two_people_in_one_picture_get_their_voices(seed: int) -> None:
    openings = mouths(seed)
    identities = looked_at(two_shot(seed, openings))
    speaking = scores_of(identities, voices(openings, seed=seed))
    assert speaking.measure == "motion" and len(identities) == 2
    found = assign(two_voices(), identities, speaking)
    assert found.faces == tuple(left_to_right(identities)) and found.confidence is not None and found.confidence > 0.5


def test_sound_that_is_late_or_early_still_finds_its_mouth() -> None:
    openings = mouths(3)
    identities = looked_at(two_shot(3, openings, 80, 90))
    for late in (-3, 3):
        audio_T = np.roll(voices(openings), late * 640)
        assert assign(two_voices(), identities, scores_of(identities, audio_T)).faces == tuple(
            left_to_right(identities)
        )


def test_a_voice_off_screen_gets_no_face() -> None:
    opening, unseen = mouths(4)
    quiet = np.zeros(NUM_FRAMES)
    audio_T = voices([opening, unseen])
    alone = looked_at(placed([(person(28, opening, 160, 180), 0, 0)], *SIZE))
    assert assign(two_voices(), alone, scores_of(alone, audio_T)).faces == (0, None)
    identities = looked_at(two_shot(4, [opening, quiet]))
    left, _ = left_to_right(identities)
    assert assign(two_voices(), identities, scores_of(identities, audio_T)).faces == (left, None)


def test_someone_who_chews_is_no_speaker() -> None:
    openings = mouths(5)
    chewing = 0.5 * np.abs(np.sin(2 * np.pi * 1.3 * np.arange(NUM_FRAMES) / 25))
    films = [person(30 + place, opening, 106, 180) for place, opening in enumerate((*openings, chewing))]
    identities = looked_at(placed([(film, 106 * place, 0) for place, film in enumerate(films)], *SIZE))
    assert len(identities) == 3
    left, middle, _ = left_to_right(identities)
    found = assign(two_voices(), identities, scores_of(identities, voices(openings)))
    assert found.faces == (left, middle)


def test_close_ups_of_whoever_speaks_get_their_voices() -> None:
    openings = mouths(6)
    films = [person(32 + place, opening, *SIZE) for place, opening in enumerate(openings)]
    shown = [(frame * 40 // 2400) % 2 for frame in range(NUM_FRAMES)]
    identities = looked_at(np.stack([films[place][frame] for frame, place in enumerate(shown)]))
    assert len(identities) == 2
    first = int(identities[0].tracks[0].start_ms > 0)
    assert assign(two_voices(), identities, scores_of(identities, voices(openings))).faces == (first, 1 - first)


def test_scores_are_unknown_where_the_face_is_not_seen() -> None:
    openings = mouths(7)
    frames = two_shot(7, openings)
    frames[200:, :, :160] = 150
    identities = looked_at(frames)
    left, right = left_to_right(identities)
    speaking = scores_of(identities, voices(openings))
    assert np.isnan(speaking.scores[left][210:]).all() and not np.isnan(speaking.scores[left][:190]).any()
    assert not np.isnan(speaking.scores[right]).any()


def test_scores_of_a_network_are_taken_as_they_are() -> None:
    identities = looked_at(two_shot(8, [opening[:60] for opening in mouths(8)]))
    scored = tuple(
        replace(one, tracks=tuple(replace(track, asd_T=np.arange(60, dtype=np.float32)) for track in one.tracks))
        for one in identities
    )
    speaking = scores_of(scored, np.zeros(16_000, np.float32))
    assert speaking.measure == "lr-asd"
    for score in speaking.scores:
        np.testing.assert_array_equal(score[:60], np.arange(60))
        assert np.isnan(score[60:]).all()


def test_silence_gives_no_scores_but_no_errors() -> None:
    identities = looked_at(two_shot(9, [opening[:60] for opening in mouths(9)]))
    speaking = speaking_scores(identities, np.zeros(0, np.float32), [], num_frames=60)
    assert all(len(score) == 60 for score in speaking.scores)
    assert assign(two_voices(), identities, speaking).faces == (None, None)
