"""Which two of the voices of a recording talk, and when it is no conversation of two."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.engine.jobs import Rejected
from pipelines.people.dyad import choose_two, speech_ms
from pipelines.people.params import PeopleParams
from pipelines.people.voices import Voice, Voices
from tests.helpers.counts import examples
from wanstreamer.clock import Span


def voice(*spans: tuple[int, int]) -> Voice:
    return Voice(speech=tuple(Span(*span) for span in spans), embedding_E=np.zeros(2, np.float32))


def voices(*found: Voice) -> Voices:
    ordered = sorted((each for each in found if each.speech), key=lambda each: each.speech[0])
    return Voices(voices=tuple(ordered), overlap=(), uncertain=(), confidence=1.0)


def test_the_two_who_speak_most_in_the_order_of_their_first_words() -> None:
    late, third, first = voice((30_000, 90_000)), voice((200, 1000)), voice((1500, 20_000))
    dyad = choose_two(voices(late, third, first), PeopleParams())
    assert dyad.voices[0] is first and dyad.voices[1] is late and dyad.others == (Span(200, 1000),)


@pytest.mark.parametrize(
    ("found", "reason", "said"),
    [
        (voices(voice((0, 60_000))), "one_person", "60.0"),
        (voices(voice((0, 60_000)), voice((61_000, 62_999))), "one_person", "60.0, 2.0"),
        (voices(voice((0, 60_000)), voice((61_000, 90_000)), voice((91_000, 93_001))), "more_than_two", "60.0, 29.0"),
        # 1.5 s is little, but not among 20 s.
        (voices(voice((0, 10_000)), voice((11_000, 20_000)), voice((21_000, 22_500))), "more_than_two", "10.0, 9.0"),
    ],
)  # fmt: skip
def test_what_is_no_conversation_of_two(found: Voices, reason: str, said: str) -> None:
    with pytest.raises(Rejected) as rejected:
        choose_two(found, PeopleParams())
    assert rejected.value.reason == reason and said in rejected.value.detail


def test_limits_are_parameters() -> None:
    found = voices(voice((0, 60_000)), voice((61_000, 62_000)), voice((70_000, 75_000)))
    with pytest.raises(Rejected, match="more_than_two"):
        choose_two(found, PeopleParams(max_third_voice_share=0.01))
    dyad = choose_two(found, PeopleParams(max_third_voice_share=0.05))
    assert [speech_ms(each.speech) for each in dyad.voices] == [60_000, 5000] and speech_ms(dyad.others) == 1000
    assert choose_two(voices(*found.voices[:2]), PeopleParams(min_voice_s=1.0)).others == ()


@examples(50)
@given(st.lists(st.integers(0, 100_000), min_size=1, max_size=5))
def test_no_speech_is_lost(lengths_ms: list[int]) -> None:
    own = [voice((200_000 * place, 200_000 * place + length)) for place, length in enumerate(lengths_ms) if length]
    if not own:
        return
    try:
        dyad = choose_two(voices(*own), PeopleParams())
    except Rejected as rejected:
        assert rejected.reason in ("one_person", "more_than_two")
        return
    assert sum(speech_ms(each.speech) for each in dyad.voices) + speech_ms(dyad.others) == sum(lengths_ms)
    assert dyad.voices[0].speech[0] < dyad.voices[1].speech[0]
