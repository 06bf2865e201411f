"""Of sessions with the same recording, the better one is kept, whatever their names and their order."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.quality.better import FACTS, best_of

GOOD: dict[str, Any] = {
    "broken": 0, "audio_path": "a.wav", "video_path": "a.mp4", "num_units": 200, "audio_filled_ms": 0,
    "source_width": 640, "source_height": 480, "bandwidth_hz": 7900.0, "clipped_share": 0.0, "snr_db": 40.0,
    "detail": 0.3, "frozen_share": 0.0, "face_share": 0.95,
}  # fmt: skip
WORSE = [
    ({"broken": 1}, "breaks fewer thresholds: 0 instead of 1"),
    ({"video_path": None, "source_width": None}, "has more of sound and picture: 2 instead of 1"),
    ({"num_units": 180}, "is longer: 32.00 s instead of 28.80 s"),
    ({"audio_filled_ms": 1200}, "has fewer gaps in its sound: 0 ms instead of 1200 ms"),
    ({"source_width": 320}, "has a larger picture: 307200 pixels instead of 153600"),
    ({"bandwidth_hz": 3900.0}, "has more high frequencies: up to 7900 Hz instead of 3900 Hz"),
    ({"bandwidth_hz": None}, "has more high frequencies"),
    ({"clipped_share": 0.01}, "is clipped less: a share of 0 instead of 0.01"),
    ({"snr_db": 30.0}, "has less noise: SNR 40.0 dB instead of 30.0 dB"),
    ({"detail": 0.2}, "has a sharper picture: detail 0.300 instead of 0.200"),
    ({"frozen_share": 0.5}, "stands still less: a share of 0 instead of 0.5"),
    ({"face_share": 0.2}, "shows a face more often: a share of 0.95 instead of 0.2"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "why"), WORSE)
def test_each_fact_decides(change: dict[str, Any], why: str) -> None:
    assert best_of({"a": [GOOD | change], "b": [GOOD]}) == ("b", {"a": why})
    assert best_of({"b": [GOOD], "a": [GOOD | change]}) == ("b", {"a": why})
    assert best_of({"a": [GOOD], "b": [GOOD | change]}) == ("a", {"b": why})


def test_every_fact_is_tested() -> None:
    assert {fact.words.partition(":")[0] for fact in FACTS} == {why.partition(":")[0] for _, why in WORSE}


def test_small_differences_do_not_count_and_the_first_id_is_kept() -> None:
    almost = GOOD | {
        "num_units": 205, "snr_db": 41.0, "detail": 0.31, "bandwidth_hz": 8000.0, "audio_filled_ms": 40,
        "source_width": 650, "face_share": 0.97, "frozen_share": 0.01, "clipped_share": 0.0005,
    }  # fmt: skip
    assert best_of({"b": [almost], "a": [GOOD]}) == ("a", {"b": "is as good and has the first id"})


def test_all_tracks_of_a_session_count() -> None:
    assert best_of({"a": [GOOD, GOOD | {"broken": 2}], "b": [GOOD | {"broken": 1}, GOOD | {"snr_db": 1.0}]})[0] == "b"


def test_what_both_lack_decides_nothing() -> None:
    sound_only = GOOD | dict.fromkeys(("video_path", "source_width", "source_height", "detail", "frozen_share"))
    assert best_of({"a": [sound_only], "b": [sound_only | {"snr_db": 50.0}]})[0] == "b"


changes = st.sampled_from([{}, *(change for change, _ in WORSE)])


@given(st.lists(st.tuples(changes, changes), min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_the_order_of_the_sessions_does_not_matter(pairs: list[Any], random: Any) -> None:
    sessions = [(f"s{number}", [GOOD | first | second]) for number, (first, second) in enumerate(pairs)]
    choice = best_of(dict(sessions))
    random.shuffle(sessions)
    assert best_of(dict(sessions)) == choice
    assert set(choice.why) == {name for name, _ in sessions} - {choice.session}
