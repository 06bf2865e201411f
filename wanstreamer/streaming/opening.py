"""A conversation that begins with a face.

    state = agent.start(seed=0)
    face = open_with_face(agent, state, picture)       # uint8 (H, W, 3), of the size of the agent's frames
    unit, state = agent.step(state, frames, samples)

Without any history, each part of the picture is drawn on its own, and the parts are of different people. One unit of
history, made of a still picture and silence, is enough for a face of one person. Nothing is trained for this: to the
model it is the unit before, in which no user was there, and the agent said nothing.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from wanstreamer.clock import FRAMES_PER_UNIT
from wanstreamer.devices import to_device
from wanstreamer.errors import InputError
from wanstreamer.model.sequence import BLANK
from wanstreamer.streaming.agent import Agent, AgentUnit, to_video
from wanstreamer.streaming.state import ConversationState
from wanstreamer.streaming.thinker import commit, think


@torch.inference_mode()
def open_with_face(agent: Agent, state: ConversationState, picture_HWC: NDArray[np.uint8]) -> AgentUnit:
    """Put one unit of a still picture and silence into the history of a conversation that has none. Changes `state`.

    Returns:
        The unit as it looks and sounds once decoded; text BLANK.

    Raises:
        InputError: The picture does not have the size and type of the agent's frames, or the conversation has begun.
    """
    if state.unit:
        raise InputError(f"opening: the conversation has {state.unit} units already; open it before its first unit")
    shape = agent.frame_shape[1:]
    if picture_HWC.shape != shape or picture_HWC.dtype != np.uint8:
        raise InputError(
            f"opening: the picture is {picture_HWC.dtype} {list(picture_HWC.shape)}, expected uint8 {list(shape)}; "
            "resize it first"
        )
    frames = np.repeat(picture_HWC[None], FRAMES_PER_UNIT, axis=0)
    silence_BT = to_device(torch.zeros(1, agent.num_samples), agent.model.device)
    tokens = [BLANK] * agent.model.config.text_slots
    with agent.machine.computing():
        video_BKCHW, _ = agent.video_vae.encode(to_video(frames, agent.model.device), None)
        audio_BNC, _ = agent.audio_vae.encode(silence_BT, None)
        think(agent.model, state, None, None, None, temperature=0, forced_text=[tokens])
        commit(agent.model, state, audio_BNC, video_BKCHW[:, 0])
        return agent.decode(state, audio_BNC[0], video_BKCHW[0, 0], tokens, {})
