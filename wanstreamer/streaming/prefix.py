"""Instructions, and the agent's looks and voice -> the prefix of a conversation.

    prefix = read_prefix(agent, text="You are a patient teacher.", image=face, voice=samples)
    state = agent.start(seed=0, prefix=prefix)                # or open_pipeline, open_workers

The prefix stays for the whole conversation, with any history limit. No model has been trained with one yet: see
`Prefix`.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from wanstreamer.clock import FRAMES_PER_UNIT, UNIT_MS
from wanstreamer.devices import to_device
from wanstreamer.errors import InputError
from wanstreamer.model.duplex import Prefix
from wanstreamer.model.sequence import FIRST_WORD
from wanstreamer.streaming.agent import Agent, first_word, to_video


@torch.inference_mode()
def read_prefix(
    agent: Agent,
    *,
    text: str | Sequence[int] = "",
    image: NDArray[np.uint8] | None = None,
    voice: NDArray[np.float32] | None = None,
) -> Prefix | None:
    """None if there is no text, image or voice.

    Args:
        text: Words, or their ids in the model's vocabulary.
        image: (H, W, 3) RGB, of the size of the agent's frames: shown as a still for one unit.
        voice: Samples in [-1, 1] at the agent's rate; whole units.

    Raises:
        InputError: Media of a wrong shape or type, words without a tokenizer, ids that are not words.
    """
    ids = _ids(agent, text)
    image_BCHW = voice_BKNC = None
    if image is not None:
        _check("image", image, image.shape == agent.frame_shape[1:], np.uint8, list(agent.frame_shape[1:]))
        frames = np.repeat(image[None], FRAMES_PER_UNIT, axis=0)
        video_BKCHW, _ = agent.video_vae.encode(to_video(frames, agent.model.device), None)
        image_BCHW = video_BKCHW[:, 0]
    if voice is not None:
        whole = voice.ndim == 1 and len(voice) > 0 and len(voice) % agent.num_samples == 0
        _check("voice", voice, whole, np.float32, f"a multiple of {agent.num_samples} samples ({UNIT_MS} ms)")
        samples_BT = to_device(torch.from_numpy(voice), agent.model.device)[None]
        audio_BTC, _ = agent.audio_vae.encode(samples_BT, None)
        voice_BKNC = audio_BTC.unflatten(1, (len(voice) // agent.num_samples, -1))
    if not ids and image_BCHW is None and voice_BKNC is None:
        return None
    return Prefix(image_BCHW, voice_BKNC, to_device(torch.tensor([ids]), agent.model.device) if ids else None)


def _ids(agent: Agent, text: str | Sequence[int]) -> list[int]:
    if isinstance(text, str):
        if not text:
            return []
        if agent.tokenizer is None:
            raise InputError(
                "prefix: text is words, but the agent has no tokenizer; load the agent with one, or pass ids"
            )
        text = [i + first_word(agent.tokenizer) for i in agent.tokenizer.encode(text, add_special_tokens=False).ids]
    vocab_size = agent.model.config.vocab_size
    odd = [i for i in text if not FIRST_WORD <= i < vocab_size]
    if odd:
        raise InputError(f"prefix: text id {odd[0]}, expected words: {FIRST_WORD} to {vocab_size - 1}")
    return list(text)


def _check(name: str, array: NDArray[np.generic], fits: bool, dtype: type[np.generic], expected: object) -> None:
    if not fits or array.dtype != dtype:
        raise InputError(
            f"prefix: {name} is {array.dtype} {list(array.shape)}, expected {np.dtype(dtype)} {expected}; resize, "
            "resample or cut it first"
        )
