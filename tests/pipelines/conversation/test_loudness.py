"""How loud somebody is tells what they mean."""

import numpy as np

from pipelines.conversation import grammar
from pipelines.conversation.dialogue import Utterance
from pipelines.conversation.loudness import with_loudness
from pipelines.conversation.record import rms
from tests.helpers.written_dialogues import written_dialogue


def test_who_does_not_insist_is_heard_to_from_the_start() -> None:
    """Their first word is none that claims the floor, and they are softer beside the others' voices."""
    insists = {text.split()[0] for text in grammar.CHALLENGES}
    louder_db = []
    for dialogue in map(written_dialogue, range(10)):
        heard = with_loudness(dialogue, np.random.default_rng(0))
        for t in (t for t in dialogue.transitions if t.label == "interruption"):
            claim = next(u for u in heard.of(t.participant) if u.start_ms == t.start_ms)
            assert (claim.words[0].text.rstrip("-") in insists) == (t.outcome == "floor_taking")
            assert claim.hesitant == (t.outcome == "failed")
        for utterance in heard.utterances:
            bare = next(u for u in dialogue.utterances if (u.participant, u.start_ms) == _begin(utterance))
            gain = rms(utterance.clips[0][1].samples) / rms(bare.clips[0][1].samples)
            louder_db.append((utterance.hesitant, 20 * np.log10(gain)))
    means = [np.mean([db for hesitant, db in louder_db if hesitant == which]) for which in (True, False)]
    assert means[1] - means[0] > 2


def _begin(utterance: Utterance) -> tuple[str, int]:
    return utterance.participant, utterance.start_ms
