"""The voices of a recording -> the two who talk, or the reason why it is no conversation of two."""

from collections.abc import Sequence
from typing import NamedTuple

from pipelines.engine.jobs import Rejected
from pipelines.people.params import PeopleParams
from pipelines.people.voices import Voice, Voices
from wanstreamer.clock import Span, merge_spans


class Dyad(NamedTuple):
    """The two voices, in the order of their first words, and when anyone else speaks."""

    voices: tuple[Voice, Voice]
    others: tuple[Span, ...]


def choose_two(found: Voices, params: PeopleParams) -> Dyad:
    """The two voices that speak most.

    Raises Rejected `one_person` or `more_than_two`, with the seconds of each voice.
    """
    by_speech = sorted(found.voices, key=lambda voice: -speech_ms(voice.speech))
    total_ms = max(1, speech_ms(merge_spans(span for voice in found.voices for span in voice.speech)))
    heard = ", ".join(f"{speech_ms(voice.speech) / 1000:.1f}" for voice in by_speech)
    if len(by_speech) < 2 or speech_ms(by_speech[1].speech) < 1000 * params.min_voice_s:
        raise Rejected("one_person", f"seconds of speech by voice: {heard}; the second speaks too little")
    for voice in by_speech[2:]:
        spoken_ms = speech_ms(voice.speech)
        if spoken_ms > 1000 * params.max_third_voice_s or spoken_ms > params.max_third_voice_share * total_ms:
            raise Rejected("more_than_two", f"seconds of speech by voice: {heard}")
    first, second = (voice for voice in found.voices if any(voice is one for one in by_speech[:2]))
    others = merge_spans(span for voice in by_speech[2:] for span in voice.speech)
    return Dyad((first, second), tuple(others))


def speech_ms(spans: Sequence[Span]) -> int:
    return sum(span.duration_ms for span in spans)
