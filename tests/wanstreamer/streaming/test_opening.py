"""A conversation that begins with a still picture and silence."""

import numpy as np
import pytest
import torch

from tests.helpers.live_fixtures import media, small_agent
from wanstreamer.errors import InputError
from wanstreamer.model.sequence import BLANK
from wanstreamer.streaming.agent import to_frames, to_video
from wanstreamer.streaming.opening import open_with_face

FACE = np.random.default_rng(1).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def test_the_history_begins_with_the_picture_and_silence() -> None:
    agent = small_agent()
    state = agent.start(seed=0)
    unit = open_with_face(agent, state, FACE)
    assert state.unit == 1
    assert set(unit.text_tokens) == {BLANK}
    with torch.inference_mode():
        video_BKCHW, _ = agent.video_vae.encode(to_video(np.repeat(FACE[None], 4, axis=0)), None)
        decoded, _ = agent.video_vae.decode(video_BKCHW, None)
        audio_BNC, _ = agent.audio_vae.encode(torch.zeros(1, agent.num_samples), None)
        sound, _ = agent.audio_vae.decode(audio_BNC, None)
    np.testing.assert_array_equal(unit.frames, to_frames(decoded))
    np.testing.assert_array_equal(unit.samples, sound[0].clamp(-1, 1).numpy())


def test_what_follows_depends_on_the_picture_and_repeats() -> None:
    frames, samples = media(1)[0]
    answers = []
    for face in (FACE, FACE, 255 - FACE):
        agent = small_agent()
        state = agent.start(seed=0)
        open_with_face(agent, state, face)
        answers.append(agent.step(state, frames, samples)[0].frames)
    np.testing.assert_array_equal(answers[0], answers[1])
    assert not np.array_equal(answers[0], answers[2])


def test_it_opens_only_a_new_conversation_with_a_fitting_picture() -> None:
    agent = small_agent()
    state = agent.start(seed=0)
    with pytest.raises(InputError, match=r"uint8 \[24, 64, 3\], expected uint8 \[48, 64, 3\]"):
        open_with_face(agent, state, FACE[:24])
    with pytest.raises(InputError, match=r"float64"):
        open_with_face(agent, state, FACE / 255)
    open_with_face(agent, state, FACE)
    with pytest.raises(InputError, match="1 units already"):
        open_with_face(agent, state, FACE)
