"""The voice repeats itself for equal seeds."""

from pipelines.conversation.voice import Voice
from tests.helpers.written_dialogues import VOICES


def test_equal_requests_to_a_fresh_voice_give_equal_samples() -> None:
    def samples_of(seed: int) -> list[bytes]:
        with Voice(seed=seed) as voice:
            return [voice.say(text, VOICES["a"])[0].tobytes() for text in ("is the boat red?", "yes.")]

    assert samples_of(1) == samples_of(1)
    assert samples_of(1) != samples_of(2)  # this voice draws random numbers: equality is not for free
