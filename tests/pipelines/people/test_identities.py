"""The same two people are the same two people after a cut; posters, mirrors and pictures in pictures are none."""

import cv2
import numpy as np
import pytest

from pipelines.people.face_tracks import FoundFaces, find_tracks
from pipelines.people.faces_params import FacesParams
from pipelines.people.identities import Identity, identify, in_step
from tests.helpers.counts import seeds
from tests.helpers.drawn_people import person, placed, small_pictures, syllables, turns

SIZE = (320, 180)
PARAMS = FacesParams()


def talking(
    seed: int, place: int, num_frames: int, width: int = 160, height: int = 180, *, start: int = 0
) -> np.ndarray:
    """A person who speaks in every second turn; `start`: frames of an earlier part of the same recording."""
    opening = syllables(seed, turns(start + num_frames, first=place), start + num_frames)[start:]
    return person(seed, opening, width, height, wall=7)


def found_in(frames: np.ndarray) -> tuple[FoundFaces, tuple[Identity, ...]]:
    found = find_tracks(small_pictures(frames), SIZE, PARAMS)
    return found, identify(found.tracks, found.shots, PARAMS, duration_ms=len(frames) * 40)


def two_shot(seeds_of_two: tuple[int, int], num_frames: int, *, start: int = 0) -> np.ndarray:
    films = [talking(seed, place, num_frames, start=start) for place, seed in enumerate(seeds_of_two)]
    return placed([(films[0], 0, 0), (films[1], 160, 0)], *SIZE)


def close_up(seed: int, place: int, num_frames: int, *, start: int = 0) -> np.ndarray:
    return talking(seed, place, num_frames, *SIZE, start=start)


@pytest.mark.parametrize("seed", seeds(12, 2))
def test_after_cuts_two_people_are_the_same_two(seed: int) -> None:
    one, other = 10 + 2 * seed, 11 + 2 * seed
    pieces = [
        two_shot((one, other), 50), close_up(one, 0, 40), close_up(other, 1, 40), close_up(one, 0, 30),
        two_shot((one, other), 40), close_up(other, 1, 40),
    ]  # fmt: skip
    found, identities = found_in(np.concatenate(pieces))
    assert len(found.shots) == 6 and len(identities) == 2
    truth = [{"left", "right"}, {"left"}, {"right"}, {"left"}, {"left", "right"}, {"right"}]
    names = {
        id(track): "left" if track.centre[0] < 160 else "right" for track in found.tracks if len(truth[track.shot]) == 2
    } | {id(track): min(truth[track.shot]) for track in found.tracks if len(truth[track.shot]) == 1}
    for identity in identities:
        assert len({names[id(track)] for track in identity.tracks}) == 1
        assert identity.is_person and 0 < identity.certainty <= 0.9  # weaker than with an embedding


def test_people_who_change_places_stay_themselves() -> None:
    frames = np.concatenate([two_shot((10, 11), 60), two_shot((11, 10), 60), two_shot((10, 11), 40)])
    found, identities = found_in(frames)
    assert len(identities) == 2
    for identity in identities:
        sides = {track.shot: bool(track.centre[0] < 160) for track in identity.tracks}
        assert sides[0] != sides[1] and sides[0] == sides[2]


def test_a_poster_is_no_person() -> None:
    frames = two_shot((10, 11), 90)
    poster = person(14, np.zeros(1), 64, 64)
    frames[:, 2:66, 128:192] = poster
    found, identities = found_in(frames)
    assert len(identities) == 3
    assert sorted(identity.is_static for identity in identities) == [False, False, True]
    assert all(abs(identity.tracks[0].centre[0] - 160) > 20 for identity in identities if identity.is_person)


def test_a_poster_under_a_hand_held_camera_is_no_person() -> None:
    rng = np.random.default_rng(0)
    frames = placed([(two_shot((10, 11), 90), 0, 0)], 340, 200)
    frames[:, 20:84, 128:192] = person(14, np.zeros(1), 64, 64)
    way = np.cumsum(rng.normal(0, 0.4, (90, 2)), axis=0)
    moved = [
        cv2.warpAffine(frame, np.array([[1, 0, -10 - x], [0, 1, -10 - y]]), SIZE, borderMode=cv2.BORDER_REPLICATE)
        for frame, (x, y) in zip(frames, way.clip(-9, 9), strict=True)
    ]
    _, identities = found_in(np.stack(moved))
    assert [identity.is_static for identity in sorted(identities, key=lambda one: one.tracks[0].size)] == [
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(("mirror", "late"), [(False, 4), (True, 0)])
def test_a_copy_that_moves_in_step_is_no_person(mirror: bool, late: int) -> None:
    frames = two_shot((10, 11), 130)
    copy = frames[:, :, 160:][:, 20:150]
    copy = np.stack([cv2.resize(frame, (72, 58), interpolation=cv2.INTER_AREA) for frame in copy])
    copy = np.concatenate([copy[:1]] * late + [copy[: len(copy) - late]])
    frames[:, 120:178, 4:76] = copy[:, :, ::-1] if mirror else copy
    _, identities = found_in(frames)
    assert len(identities) == 3
    small = min(identities, key=lambda identity: identity.tracks[0].size)
    assert small.copy_of is not None and not small.is_person
    assert identities[small.copy_of].tracks[0].centre[0] > 160
    assert sum(identity.is_person for identity in identities) == 2


def test_a_call_that_shows_the_speaker_twice_has_two_people() -> None:
    """The large tile changes too often for one track to show that its small copy moves in step."""
    pieces = []
    for number in range(6):
        large, small = (10, 11) if number % 2 == 0 else (11, 10)
        film = two_shot((10, 11), 45, start=45 * number)
        tiles = np.stack([cv2.resize(frame, (160, 90), interpolation=cv2.INTER_AREA) for frame in film])
        big = film[:, :, :160] if large == 10 else film[:, :, 160:]
        assert small != large
        pieces.append(placed([(big, 0, 0), (tiles, 160, 45)], *SIZE))
    found, identities = found_in(np.concatenate(pieces))
    assert len(found.shots) == 6
    people = [identity for identity in identities if identity.is_person]
    assert len(people) == 2 and all(identity.share > 0.9 for identity in people)


def test_two_people_under_a_shaking_camera_are_no_copies() -> None:
    rng = np.random.default_rng(1)
    frames = placed([(two_shot((10, 11), 100), 0, 0)], 340, 200)
    shakes = rng.normal(0, 1.5, (100, 2))
    moved = np.stack([
        cv2.warpAffine(frame, np.array([[1, 0, -x], [0, 1, -y]]), SIZE, borderMode=cv2.BORDER_REPLICATE)
        for frame, (x, y) in zip(frames, shakes, strict=True)
    ])  # fmt: skip
    found, identities = found_in(moved)
    assert len(identities) == 2 and all(identity.is_person for identity in identities)
    assert in_step(*found.tracks[:2]) < PARAMS.copy_correlation


def test_someone_who_is_still_for_a_while_is_the_same_person() -> None:
    still = np.repeat(close_up(10, 0, 1), 60, axis=0)
    frames = np.concatenate([two_shot((10, 11), 60), close_up(11, 1, 40), still])
    _, identities = found_in(frames)
    assert len(identities) == 2 and all(identity.is_person for identity in identities)


def test_no_faces_are_no_identities() -> None:
    assert identify([], [], PARAMS, duration_ms=0) == ()
