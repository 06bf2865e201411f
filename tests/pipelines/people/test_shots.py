"""Shots begin at cuts and dissolves, and not at flashes, pans and lamps."""

import cv2
import numpy as np

from pipelines.people.faces_params import FacesParams
from pipelines.people.shots import Shot, mark_shots, same_setup, thumbnail
from tests.helpers.drawn_people import person, small_pictures, syllables
from wanstreamer.clock import Span

WIDTH, HEIGHT = 160, 120


def film(seed: int, num_frames: int) -> np.ndarray:
    return person(seed, syllables(seed, [Span(0, num_frames * 40)], num_frames), WIDTH, HEIGHT, wall=seed)


def beginnings(frames: np.ndarray) -> list[int]:
    marked = list(mark_shots(small_pictures(frames), FacesParams().cut_change))
    assert [mark.picture.frame for mark in marked] == list(range(len(frames)))
    return [mark.picture.frame for mark in marked if mark.begins]


def test_each_cut_begins_a_shot() -> None:
    lengths = (30, 12, 45, 60, 26)
    frames = np.concatenate([film(seed, length) for seed, length in enumerate(lengths)])
    assert beginnings(frames) == [0, *np.cumsum(lengths)[:-1].tolist()]


def test_someone_who_talks_is_one_shot() -> None:
    for seed in range(3):
        assert beginnings(film(seed, 100)) == [0]


def test_a_dissolve_begins_one_shot_near_its_middle() -> None:
    for length in (12, 25, 40):
        one, other = film(3, 60 + length).astype(np.float32), film(4, 60 + length).astype(np.float32)
        share = np.clip((np.arange(60 + length) - 30) / length, 0, 1)[:, None, None, None]
        found = beginnings(((1 - share) * one + share * other).astype(np.uint8))
        assert len(found) == 2 and abs(found[1] - 30 - length / 2) <= length / 2, (length, found)


def test_a_fade_through_black_ends_a_shot() -> None:
    frames = np.concatenate([film(3, 70), film(4, 70)]).astype(np.float32)
    light = np.clip(np.abs(np.arange(140) - 70) / 20, 0, 1)[:, None, None, None]
    found = beginnings((light * frames).astype(np.uint8))
    assert len(found) in (2, 3) and all(45 <= frame <= 95 for frame in found[1:])


def test_a_flash_is_no_cut() -> None:
    for length in (1, 3, 5):
        frames = film(5, 80)
        frames[40 : 40 + length] = np.minimum(255, frames[40 : 40 + length].astype(int) // 4 + 190)
        assert beginnings(frames) == [0], length


def test_a_lamp_that_is_switched_on_is_no_cut() -> None:
    frames = film(6, 80).astype(np.float32)
    frames[:40] *= 0.65
    assert beginnings(frames.astype(np.uint8)) == [0]


def test_captions_are_no_cuts() -> None:
    frames = film(8, 90)
    frames[30:60, 96:116, 8:152] = 255
    frames[30:60, 100:112:3, 20:140:2] = 0
    assert beginnings(frames) == [0]


def test_a_pan_is_no_cut() -> None:
    wide = cv2.resize(np.random.default_rng(0).integers(0, 256, (12, 60, 3), np.uint8), (900, HEIGHT))
    for pixels in (1, 3, 8):
        frames = np.stack([wide[:, at : at + WIDTH] for at in (pixels * np.arange(80)).tolist()])
        assert beginnings(frames) == [0], pixels


def test_a_pan_that_ends_in_a_cut_has_one() -> None:
    wide = cv2.resize(np.random.default_rng(0).integers(0, 256, (12, 60, 3), np.uint8), (900, HEIGHT))
    frames = np.stack([wide[:, at : at + WIDTH] for at in (2 * np.arange(60)).tolist()])
    assert beginnings(np.concatenate([frames, film(7, 40)])) == [0, 60]


def test_shots_of_one_camera_are_one_setup() -> None:
    shots = []
    for seed, wall in ((1, 1), (1, 1), (2, 2)):
        frames = person(seed, syllables(len(shots), [Span(0, 800)], 20), WIDTH, HEIGHT, wall=wall)
        thumbs = [thumbnail(picture) for picture in small_pictures(frames)]
        shots.append(Shot(start_ms=0, end_ms=800, thumb_3HW=np.mean(thumbs, axis=0)))
    assert same_setup(shots[0], shots[1]) and not same_setup(shots[0], shots[2])
