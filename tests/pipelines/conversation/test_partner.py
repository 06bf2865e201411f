"""Users who listen: what they do is what their stimuli say, follows from what they hear, and is the same twice."""

from collections.abc import Callable
from functools import cache
from itertools import chain

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.conversation.partner import Partner, open_partners
from tests.helpers.counts import count
from wanstreamer.clock import UNIT_MS

RATE_HZ = 16000
T = RATE_HZ * UNIT_MS // 1000
NUM_UNITS = 250
SEEDS = range(3, 3 + count(12, 3))  # what is said of users in general is said of several casts of them
USERS = 2  # of each seed
Agent = Callable[[int, NDArray[np.float32]], bool]  # unit, what the user said in the unit before -> whether it speaks
Talk = tuple[Partner, NDArray[np.float32], NDArray[np.bool_], list[NDArray[np.uint8] | None]]

SPEECH = (0.1 * np.random.default_rng(0).standard_normal(T)).astype(np.float32)


def converse(
    agent: Agent, users: int = USERS, num_units: int = NUM_UNITS, *, seed: int = SEEDS[0], draw: bool = False
) -> list[Talk]:
    """(partner, its samples, per unit whether the agent spoke, its frames) of each user."""
    talks = []
    seconds = num_units * UNIT_MS // 1000 + 1
    with open_partners(users, seed=seed, seconds=seconds, width=64, height=48, rate_hz=RATE_HZ) as partners:
        for partner in partners:
            heard = samples = np.zeros(T, np.float32)
            sounds, spoke, frames = [], [], []
            for unit in range(num_units):
                picture, samples = partner.step(heard, draw=draw)
                speaks = agent(unit, samples)
                heard = SPEECH if speaks else np.zeros(T, np.float32)
                sounds.append(samples)
                spoke.append(speaks)
                frames.append(picture)
            talks.append((partner, np.concatenate(sounds), np.array(spoke), frames))
    return talks


def silent(unit: int, samples: NDArray[np.float32]) -> bool:
    return False


@cache
def talks_with_silence(seed: int) -> list[Talk]:
    return converse(silent, seed=seed)


@cache
def talks_with_answers(seed: int) -> list[Talk]:
    return converse(answering(), num_units=400, seed=seed)


def answering() -> Agent:
    """Speaks for two seconds when the user has been quiet for half of one."""
    quiet, left = 0, 0

    def speaks(unit: int, samples: NDArray[np.float32]) -> bool:
        nonlocal quiet, left
        quiet = quiet + 1 if loud(samples) < 0.02 else 0
        left = 12 if quiet == 3 and not left else max(0, left - 1)
        return left > 0

    return speaks


def loud(samples: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean(samples.astype(np.float64) ** 2)))


def between(samples: NDArray[np.float32], start_ms: int, end_ms: int) -> NDArray[np.float32]:
    return samples[start_ms * RATE_HZ // 1000 : end_ms * RATE_HZ // 1000]


@pytest.mark.counts
def test_it_tells_asks_and_shows_and_waits_for_an_answer_that_never_comes() -> None:
    kinds = set()
    for partner, samples, _, _ in chain.from_iterable(map(talks_with_silence, SEEDS)):
        kinds |= {stimulus.kind for stimulus in partner.stimuli}
        ends = sorted(stimulus for stimulus in partner.stimuli if stimulus.kind == "turn_end")
        assert len(ends) >= 3
        for stimulus in ends:
            assert loud(between(samples, stimulus.start_ms, stimulus.end_ms)) > 0.02
            assert loud(between(samples, stimulus.end_ms + 60, stimulus.end_ms + 2400)) < 0.03
        for stimulus in partner.stimuli:
            if stimulus.kind == "pause" and stimulus.end_ms - stimulus.start_ms > 100:
                assert loud(between(samples, stimulus.start_ms + 30, stimulus.end_ms - 30)) < 0.03
    assert kinds == {"turn_end", "pause", "shown"}  # no one to say "mhm" to, or to interrupt


@pytest.mark.counts
def test_it_says_mhm_and_interrupts_only_who_is_speaking() -> None:
    times = {"interruption": 0, "backchannel": 0}
    for partner, samples, spoke, _ in chain.from_iterable(map(talks_with_answers, SEEDS)):
        for stimulus in partner.stimuli:
            if stimulus.kind in times:
                times[stimulus.kind] += 1
                assert spoke[stimulus.start_ms // UNIT_MS - 2 : stimulus.start_ms // UNIT_MS].any()
                assert loud(between(samples, stimulus.start_ms, stimulus.end_ms)) > 0.02
    assert min(times.values()) >= len(SEEDS)


@pytest.mark.counts
def test_it_raises_its_voice_to_interrupt() -> None:
    """Against its own level of the first instant, before anybody reacts to an overlap."""
    raised_db, plain_db = [], []
    for partner, samples, _, _ in chain.from_iterable(map(talks_with_answers, SEEDS)):
        begun_ms = {stimulus.start_ms for stimulus in partner.stimuli if stimulus.kind == "interruption"}
        for turn in partner.dialogue.of("a", "turn"):
            if turn.clips[0][1].duration_ms > 900 and turn.start_ms + 900 < 400 * UNIT_MS:
                at_ms = turn.start_ms
                first, then = (
                    loud(between(samples, at_ms, at_ms + 120)),
                    loud(between(samples, at_ms + 220, at_ms + 800)),
                )
                (raised_db if at_ms in begun_ms else plain_db).append(20 * np.log10(then / first))
    assert len(raised_db) >= 3 and np.mean(raised_db) - np.mean(plain_db) > 2


@pytest.mark.counts
def test_it_goes_on_soon_after_an_answer_and_late_without_one() -> None:
    waits_ms = {}
    for name, talks in (("answering", talks_with_answers), ("silent", talks_with_silence)):
        waits = []
        for partner, _, spoke, _ in chain.from_iterable(map(talks, SEEDS)):
            heard_ms = np.flatnonzero(spoke) * UNIT_MS
            for turn in partner.dialogue.of("a", "turn")[1:]:
                before = [t for t in heard_ms if t < turn.start_ms]
                ends = [other.end_ms for other in partner.dialogue.of("a", "turn") if other.end_ms <= turn.start_ms]
                waits.append(turn.start_ms - max([*(t + UNIT_MS for t in before[-1:]), *ends[-1:]]))
        waits_ms[name] = np.median(waits)
    assert waits_ms["answering"] < 1600 and waits_ms["silent"] > 2400


@pytest.mark.counts
def test_some_turns_are_left_to_an_agent_that_talks_into_them() -> None:
    left = [
        turn.is_broken
        for seed in SEEDS
        for partner, _, _, _ in converse(lambda unit, samples: unit % 25 < 20, seed=seed)
        for turn in partner.dialogue.of("a", "turn")
    ]
    assert any(left) and not all(left)


def test_what_it_does_depends_on_what_it_has_heard_and_on_nothing_later() -> None:
    first, again, other = (
        converse(lambda unit, samples, stop=stop: 40 < unit < stop, 1)[0][1] for stop in (60, 60, 90)
    )
    assert np.array_equal(first, again)
    known = 61 * T  # the agent's unit 60 is heard in unit 61
    assert np.array_equal(first[:known], other[:known]) and not np.array_equal(first, other)


def test_its_sound_has_no_seams() -> None:
    """Resampled unit by unit it is what its whole voice would be."""
    from scipy.signal import resample_poly

    partner, samples, _, _ = talks_with_silence(SEEDS[0])[0]
    whole = partner.noise.copy()
    voice = partner.dialogue.samples("a")
    whole[: len(voice)] += voice
    expected = resample_poly(whole, partner.up, partner.down, window=partner.filter)[: len(samples)]
    skipped = RATE_HZ // 10  # before the first unit there is nothing
    assert np.abs(samples - expected)[skipped:].max() < 1e-6


def test_it_is_seen_speaking_and_showing_and_drawing_changes_nothing_else() -> None:
    blind, shows = talks_with_silence(SEEDS[0]), 0
    for (partner, samples, _, frames), (_, same, _, none) in zip(
        converse(silent, seed=SEEDS[0], draw=True), blind, strict=True
    ):
        assert np.array_equal(samples, same) and none[0] is None
        film = np.concatenate([frame for frame in frames if frame is not None]).astype(np.float64)
        assert film.shape == (4 * NUM_UNITS, 48, 64, 3)
        lower_TP = film[:, 24:44, 20:44].reshape(len(film), -1)
        motion_T = np.abs(np.diff(lower_TP, axis=0)).mean(axis=1)
        speaking_T = np.array([loud(between(samples, 40 * t, 40 * t + 40)) > 0.03 for t in range(1, len(film))])
        assert motion_T[speaking_T].mean() > 2 * motion_T[~speaking_T].mean()
        for stimulus in partner.stimuli:
            if stimulus.kind == "shown":
                shows += 1
                before, during = stimulus.start_ms // 40 - 1, stimulus.start_ms // 40 + 15
                side = slice(0, 20) if partner.look.light_side < 0 else slice(44, 64)
                assert np.abs(film[before, 20:, side] - film[during, 20:, side]).mean() > 8
    assert shows


@pytest.mark.parametrize("rate_hz", [16000, 24000, 48000])
def test_any_usual_rate(rate_hz: int) -> None:
    with open_partners(1, seed=0, seconds=2, width=32, height=24, rate_hz=rate_hz) as (partner,):
        frames, samples = partner.step(np.zeros(rate_hz * UNIT_MS // 1000, np.float32))
    assert samples.shape == (rate_hz * UNIT_MS // 1000,) and frames is not None and frames.shape == (4, 24, 32, 3)
