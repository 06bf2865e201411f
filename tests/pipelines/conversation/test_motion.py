"""Faces move with what is said and heard."""

import numpy as np
import pytest

from pipelines.conversation import grammar
from pipelines.conversation.dialogue import other
from pipelines.conversation.face import draw_frames
from pipelines.conversation.look import make_look
from pipelines.conversation.motion import Motion, make_motion
from tests.helpers.pictures import still_face
from tests.helpers.written_dialogues import written_dialogue


@pytest.mark.parametrize("index", range(3))
def test_faces_speak_and_listen(index: int) -> None:
    dialogue = written_dialogue(index)
    voices = {participant: dialogue.samples(participant) for participant in "ab"}
    frame_ms = np.arange(45 * 25) * 40.0
    for participant in "ab":
        motion = make_motion(dialogue, participant, voices, frame_ms, np.random.default_rng(0))
        speaking = np.array([any(s.start_ms <= t < s.end_ms for s in dialogue.speech(participant)) for t in frame_ms])
        assert motion.mouth_open[speaking].mean() > 0.35
        assert motion.mouth_open[~speaking].mean() < 0.05
        listening = np.array(
            [any(s.start_ms <= t < s.end_ms for s in dialogue.speech(other(participant))) for t in frame_ms]
        )
        assert motion.pitch[listening & ~speaking].mean() > motion.pitch[~listening & ~speaking].mean()
        for backchannel in dialogue.of(participant, "backchannel"):
            nod = motion.pitch[(frame_ms > backchannel.start_ms - 150) & (frame_ms < backchannel.start_ms + 500)]
            assert nod.max() - nod.min() > 0.08
        assert (motion.lid > 0.8).any()


def test_a_thing_can_be_seen_while_it_is_up_and_told_by_its_colour() -> None:
    dialogue = next(dialogue for dialogue in map(written_dialogue, range(10)) if dialogue.showings)
    showing = dialogue.showings[0]
    voices = {participant: dialogue.samples(participant) for participant in "ab"}
    times_ms = np.array([showing.start_ms - 40, showing.comment_start_ms, showing.end_ms + 40])
    motion = make_motion(dialogue, showing.participant, voices, times_ms, np.random.default_rng(0))
    assert motion.held_up.tolist() == [0, 1, 0] and motion.things[1] == (showing.thing, showing.colour)
    partner = make_motion(dialogue, other(showing.participant), voices, times_ms, np.random.default_rng(0))
    assert partner.things == (None, None, None)
    look = make_look(1, [0, 1], may_have_beard=False)
    seen = {}
    for thing in grammar.WORLD:
        motion = Motion(**vars(still_face(held_up=[0.0, 1.0])) | {"things": (None, (thing.name, thing.colour))})
        without, shown = (
            frame.reshape(48, 5, 64, 5, 3).mean(axis=(1, 3)) for frame in draw_frames(look, motion, 320, 240)
        )
        changed = np.abs(without - shown).max(axis=-1) > 20
        assert changed.sum() >= 80  # of 3072
        seen[thing.name] = shown[changed]
    blue, green, red = seen["boat"].mean(axis=0) - seen["hat"].mean(axis=0)
    assert red > 30 and green < -10
