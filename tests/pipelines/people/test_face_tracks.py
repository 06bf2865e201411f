"""Faces are followed through a shot, small ones too, and never over a cut."""

import weakref
from collections.abc import Iterator

import numpy as np
import pytest

from pipelines.media.pictures import SmallPicture
from pipelines.people.face_tracks import FaceTrack, FoundFaces, find_tracks
from pipelines.people.faces_params import FacesParams
from tests.helpers.drawn_people import person, placed, small_pictures, syllables, turns

SIZE = (320, 180)


def two_shot(seeds: tuple[int, int], num_frames: int, *, small: bool = False) -> np.ndarray:
    width, height = (52, 40) if small else (160, 180)
    films = [
        person(seed, syllables(seed, turns(num_frames, first=place), num_frames), width, height)
        for place, seed in enumerate(seeds)
    ]
    places = [(60, 60), (200, 70)] if small else [(0, 0), (160, 0)]
    return placed([(film, *place) for film, place in zip(films, places, strict=True)], *SIZE)


def found_in(frames: np.ndarray, **more: object) -> FoundFaces:
    return find_tracks(small_pictures(frames), frames.shape[2:0:-1], FacesParams(), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("small", [False, True])
def test_two_people_in_one_picture_are_two_tracks(small: bool) -> None:
    num_frames = 150
    found = found_in(two_shot((1, 2), num_frames, small=small))
    assert len(found.shots) == 1 and len(found.tracks) == 2
    left, right = sorted(found.tracks, key=lambda track: track.centre[0])
    assert left.centre[0] < SIZE[0] / 2 < right.centre[0]
    for track in found.tracks:
        assert (track.start_ms, track.end_ms) == (0, num_frames * 40)
        assert len(track.mouth_TB) == num_frames and track.asd_T is None
        assert track.size < 24 if small else track.size > 40
        assert len(track.times_N) >= 5 * num_frames / 25 - 2
        assert track.change > FacesParams().still_change


def test_no_track_goes_over_a_cut() -> None:
    lengths = (60, 40, 70)
    frames = np.concatenate(
        [two_shot((seed, seed + 1), length) for seed, length in zip((1, 5, 1), lengths, strict=True)]
    )
    found = found_in(frames)
    cuts_ms = [0, *(np.cumsum(lengths) * 40).tolist()]
    assert [(shot.start_ms, shot.end_ms) for shot in found.shots] == list(zip(cuts_ms, cuts_ms[1:], strict=False))
    assert len(found.tracks) == 6
    for track in found.tracks:
        shot = found.shots[track.shot]
        assert (track.start_ms, track.end_ms) == (shot.start_ms, shot.end_ms)


def test_positions_are_in_displayed_pixels() -> None:
    frames = two_shot((1, 2), 40)
    small, large = found_in(frames), find_tracks(small_pictures(frames), (1280, 720), FacesParams())
    for one, other in zip(small.tracks, large.tracks, strict=True):
        np.testing.assert_allclose(4 * one.boxes_N4, other.boxes_N4)
        np.testing.assert_allclose(4 * one.landmarks_N52, other.landmarks_N52)


def test_every_picture_of_a_track_is_scored_once_and_in_order() -> None:
    calls: list[tuple[int, int]] = []

    def scorer(faces_THW: np.ndarray, first_frame: int) -> np.ndarray:
        assert faces_THW.shape[1:] == (112, 112) and faces_THW.dtype == np.uint8
        calls.append((first_frame, len(faces_THW)))
        return np.arange(first_frame, first_frame + len(faces_THW), dtype=np.float32)

    found = found_in(two_shot((1, 2), 200), scorer=scorer)
    for track in found.tracks:
        assert track.asd_T is not None and len(track.asd_T) == len(track.mouth_TB)
        np.testing.assert_array_equal(track.asd_T, track.first_frame + np.arange(len(track.asd_T)))
    assert len(calls) == 4 and max(length for _, length in calls) <= 150


def test_people_who_leave_and_walls_have_no_track() -> None:
    frames = two_shot((1, 2), 130)
    frames[50:, :, 160:] = 150  # the right one leaves
    found = found_in(frames)
    left = [track for track in found.tracks if track.centre[0] < 160]
    (right,) = (track for track in found.tracks if track.centre[0] > 160)
    assert sum(track.duration_ms for track in left) == 130 * 40 and 40 * 40 <= right.end_ms <= 52 * 40
    assert not found_in(np.full((60, 180, 320, 3), 120, np.uint8)).tracks


def test_a_poster_does_not_change_and_light_and_motion_are_measured() -> None:
    talking, still = two_shot((1, 2), 80), two_shot((3, 4), 80)
    still[:] = still[0]
    found = found_in(np.concatenate([talking[:, :, :160], still[:, :, 160:]], axis=2))
    left, right = sorted(found.tracks, key=lambda track: track.centre[0])
    assert right.change < FacesParams().still_change < left.change
    assert found.num_frames == 80 and 60 < found.light < 220 and found.moving_share > 0.9
    assert found_in(still).moving_share == 0


def test_turned_faces_are_not_frontal() -> None:
    found: list[FaceTrack] = list(found_in(two_shot((1, 2), 40)).tracks)
    assert all(track.frontal_share > 0.8 and track.sharpness > 0 for track in found)


def test_of_a_crowd_some_are_followed() -> None:
    films = [(person(seed, np.zeros(20), 60, 60), 64 * (seed % 5), 60 * (seed // 5)) for seed in range(15)]
    found = found_in(placed(films, *SIZE))
    assert 8 <= len(found.tracks) <= 12


def test_memory_holds_a_few_seconds_of_pictures() -> None:
    alive, most = 0, 0

    def counted(frames: np.ndarray) -> Iterator[SmallPicture]:
        nonlocal alive, most
        for picture in small_pictures(frames):
            alive += 1
            most = max(most, alive)
            weakref.finalize(picture.yuv_HW, ended)
            yield picture

    def ended() -> None:
        nonlocal alive
        alive -= 1

    find_tracks(counted(two_shot((1, 2), 250)), SIZE, FacesParams())
    assert 60 < most < 100
