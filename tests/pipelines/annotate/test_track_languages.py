"""Which language a track is in, and what happens when no one can tell."""

import pytest

from pipelines.annotate.track_languages import SURE_MS, Heard, languages_of, session_languages
from wanstreamer.clock import Span


def heard(speech_s: float, **probabilities: float) -> Heard:
    return Heard(probabilities=probabilities, speech_ms=round(1000 * speech_s))


def test_each_track_has_its_own_language() -> None:
    languages, unclear = languages_of({"a": ("pt-BR", 9000)}, {"b": heard(20, de=0.9, en=0.1), "c": heard(20, en=0.7)})
    assert languages == {"a": "pt-BR", "b": "de", "c": "en"} and not unclear


@pytest.mark.parametrize("unsure", [heard(20, de=0.5, en=0.4), heard(SURE_MS / 1000 - 0.1, de=0.99, en=0.01)])
def test_who_says_little_speaks_as_the_others_do_and_the_table_says_so(unsure: Heard) -> None:
    languages, unclear = languages_of({"a": ("fr", 1000)}, {"b": heard(20, en=0.9), "c": unsure})
    assert languages == {"a": "fr", "b": "en", "c": "en"}  # 20 s of English, 1 s of French
    assert list(unclear) == ["c"]
    assert unclear["c"].startswith("de ") and "taken: en, as most of the session's speech" in unclear["c"]


def test_tracks_that_are_sure_together_decide_together() -> None:
    short = {"a": heard(2, en=0.8, de=0.2), "b": heard(2, en=0.7, cy=0.3)}
    languages, unclear = languages_of({}, short)
    assert languages == {"a": "en", "b": "en"} and "taken: en, as all tracks together" in unclear["a"]


def test_what_no_one_can_tell_is_not_transcribed() -> None:
    languages, unclear = languages_of({}, {"a": heard(1, en=0.8), "b": heard(1, de=0.9)})
    assert languages == {"a": None, "b": None}
    assert all("annotate.detect_language" in why for why in unclear.values())


def test_only_what_is_needed_is_heard_and_a_language_that_is_assumed_decides_nothing() -> None:
    asked: list[str] = []

    def hear(who: str) -> dict[str, float]:
        asked.append(who)
        return {"de": 0.55, "en": 0.45}

    tracks = [
        {"participant": "a", "language": None}, {"participant": "b", "language": None},
        {"participant": "c", "language": "nl"},
    ]  # fmt: skip
    speech = {who: [Span(0, 9000)] for who in "abc"}
    todo = {"b": [Span(0, 9000)], "c": [Span(0, 100)]}
    languages, unclear = session_languages(tracks, speech, todo, "en", hear=hear)
    assert languages == {"a": "en", "b": "nl", "c": "nl"} and asked == ["b"] and list(unclear) == ["b"]
    languages, unclear = session_languages(tracks, speech, todo, "en", hear=None)
    assert languages == {"a": "en", "b": "en", "c": "nl"} and asked == ["b"] and not unclear
