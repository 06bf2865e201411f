"""Rooms and music."""

import numpy as np

from pipelines.conversation.room import music, room_response, through
from pipelines.conversation.voice import RATE_HZ


def test_a_room_decays_by_60_db_in_its_time_and_keeps_the_energy() -> None:
    response = room_response(0.4, 6.0, RATE_HZ, np.random.default_rng(1))
    assert np.isclose(np.sum(response**2), 1)
    echoes = np.sum(response[1:] ** 2)
    assert np.isclose(10 * np.log10(response[0] ** 2 / echoes), 6.0)
    early, late = (np.sqrt(np.mean(response[part] ** 2)) for part in (slice(100, 600), slice(-600, -100)))
    seconds = (len(response) - 700) / RATE_HZ
    assert np.isclose(20 * np.log10(early / late), 60 * seconds / 0.4, atol=3)


def test_a_voice_comes_through_without_a_delay() -> None:
    voice = np.random.default_rng(2).standard_normal(RATE_HZ)
    heard = through(voice, room_response(0.3, 10.0, RATE_HZ, np.random.default_rng(3)))
    assert len(heard) == len(voice)
    assert np.argmax(np.correlate(heard, voice[: RATE_HZ // 2], "valid")[:200]) == 0


def test_music_goes_on_without_a_pause_and_is_the_same_again() -> None:
    track = music(10 * RATE_HZ, np.random.default_rng(4))
    assert np.isclose(np.mean(track**2), 1) and np.array_equal(track, music(10 * RATE_HZ, np.random.default_rng(4)))
    halves = track[: 10 * RATE_HZ].reshape(20, -1)
    assert (np.sqrt((halves**2).mean(axis=1)) > 0.05).all()
