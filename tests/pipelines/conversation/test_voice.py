"""The voice repeats itself for equal seeds."""

from pipelines.conversation.voice import Voice
from tests.helpers.written_dialogues import VOICES


def test_equal_requests_to_a_fresh_voice_give_equal_samples() -> None:
    def said(seed: int) -> list[bytes]:
        with Voice(seed=seed) as voice:
            return [voice.say(text, VOICES["a"])[0].tobytes() for text in ("is the boat red?", "yes.")]

    assert said(1) == said(1)
    assert said(1) != said(2)  # this voice draws random numbers: equality is not for free
