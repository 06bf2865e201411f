"""The plan of a sample: who meets whom, recorded how, whatever the seed."""

from collections import Counter

import pytest

from pipelines.conversation.cast import Recording, split_counts
from pipelines.formats.splits import split_of
from tests.helpers.counts import seeds
from tests.helpers.plans import SHARES, plan_of


@pytest.fixture(params=seeds(40, 8))
def recordings(request: pytest.FixtureRequest) -> list[Recording]:
    return plan_of(24, 45, seed=request.param)


def test_people_meet_in_their_group_and_split(recordings: list[Recording]) -> None:
    good = [recording for recording in recordings if not recording.is_truncated]
    assert Counter(recording.split for recording in good) == {"train": 16, "valid": 2, "test": 6}
    people = {}
    for recording in recordings:
        for stream in recording.streams:
            assert split_of(stream.speaker.speaker_id, *SHARES.values()) == recording.split
            people[stream.speaker.speaker_id] = stream.speaker
    assert len(people) >= 12
    assert len({speaker.voice.name for speaker in people.values()}) == len(people)


def test_recordings_vary_and_train_has_plain_ones(recordings: list[Recording]) -> None:
    streams = [stream for recording in recordings for stream in recording.streams]
    assert {"mp4", "mkv", "mov"} <= {stream.container for stream in streams}
    assert {"24", "25", "30000/1001", "30"} <= {stream.frame_rate for stream in streams}
    assert {stream.rate_hz for stream in streams} == {44100, 48000}
    assert all(10 <= stream.noise_db <= 40 for stream in streams)
    bleeds = [stream.bleed_db for stream in streams if stream.bleed_db is not None]
    assert bleeds and all(-40 <= bleed_db <= -25 for bleed_db in bleeds)
    assert len({stream.start_offset_ms for stream in streams}) > 20
    train = Counter(recording.layout for recording in recordings if recording.split == "train")
    assert train == {"per_participant": 10, "split_screen": 1, "audio_only": 6}  # one of the 10 is truncated
    assert [recording.is_truncated for recording in recordings] == [False] * 24 + [True]


def test_seeds_give_other_plans_and_a_seed_gives_its_own_again() -> None:
    assert plan_of(24, 45, seed=1) == plan_of(24, 45, seed=1) != plan_of(24, 45, seed=2)


def test_split_counts_stay_sensible() -> None:
    for number in range(2, 200):
        counts = split_counts(number)
        assert sum(counts.values()) == number
        assert counts["test"] >= 1 and counts["train"] >= number / 2 - 0.5
