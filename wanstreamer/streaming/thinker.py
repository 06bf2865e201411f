"""The thinker: user latents into the history, the agent's text sampled from it, the agent's finished latents committed.

One unit is three kinds of passes over the cache: users and BEGIN together, then each text token, then (after the
performer) the agent's clean latents. With a performer of its own cache (`pipeline`), these come back later and are a
prefix of the next unit's first pass instead.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from wanstreamer.model import DuplexModel
from wanstreamer.prior import past_after
from wanstreamer.sequence import BEGIN, MISSING
from wanstreamer.streaming.state import StreamState


@torch.inference_mode()
def think(
    model: DuplexModel,
    state: StreamState,
    audio_NC: Tensor | None,
    video_CHW: Tensor | None,
    text: Sequence[int] | None,
    *,
    temperature: float,
    given: Sequence[int] | None = None,
    returned: tuple[Tensor, Tensor] | None = None,
) -> tuple[list[int], Tensor]:
    """Perceive one user unit and sample the agent's text of that unit.

    Args:
        audio_NC, video_CHW: User latents; None where the stream is missing.
        text: User text ids of the unit, one per slot; None without a transcript.
        temperature: Of the text; 0 takes the likeliest.
        given: The agent's text ids where they are known (a recorded history); nothing is sampled then.
        returned: The agent's clean latents that follow in the cache, where they were not committed on their own.

    Returns:
        The sampled ids and the logits (S, V) they were drawn from. The cache then ends with STATE.
    """
    config, cache = model.config, state.cache
    present, absent = torch.ones(1, 1, dtype=torch.bool), torch.zeros(1, 1, dtype=torch.bool)
    audio_B1NC = torch.zeros(1, 1, *config.audio_shape) if audio_NC is None else audio_NC[None, None]
    video_B1CHW = torch.zeros(1, 1, *config.video_shape) if video_CHW is None else video_CHW[None, None]
    heard, state.hearing = model.perceive_audio(audio_B1NC, absent if audio_NC is None else present, state.hearing)
    seen, state.seeing = model.perceive_video(video_B1CHW, absent if video_CHW is None else present, state.seeing)
    ids = [MISSING] * config.text_slots if text is None else list(text)
    words = model.text_embedding(torch.tensor([[*ids, BEGIN]]))
    contents = [heard[:, 0], seen[:, 0], words]
    if returned is not None:
        contents.insert(0, clean_content(model, *returned))
    hidden_BND = model.extend(torch.cat(contents, dim=1), cache)
    tokens: list[int] = []
    logits = []
    for slot in range(config.text_slots):
        logits.append(model.text_head(hidden_BND[0, -1]))
        tokens.append(_sample(logits[-1], temperature, state.generator) if given is None else given[slot])
        hidden_BND = model.extend(model.text_embedding(torch.tensor([tokens[-1:]])), cache)  # the last one is STATE
    return tokens, torch.stack(logits)


@torch.inference_mode()
def commit(model: DuplexModel, state: StreamState, audio_NC: Tensor, video_CHW: Tensor) -> None:
    """Append the agent's clean latents of the unit to the history; the unit is then complete."""
    model.extend(clean_content(model, audio_NC, video_CHW), state.cache)
    state.past = past_after(state.past, state.unit, audio_NC[None, None], video_CHW[None, None])
    state.unit += 1


def clean_content(model: DuplexModel, audio_NC: Tensor, video_CHW: Tensor) -> Tensor:
    """Contents (1, num_agent, D) of the clean tokens of one unit of the agent's latents."""
    known = torch.ones(1, 1, dtype=torch.bool)
    contents = model.agent_content(audio_NC[None, None], video_CHW[None, None], known, known)
    return torch.cat(contents, dim=2)[:, 0]


def _sample(logits_V: Tensor, temperature: float, generator: torch.Generator) -> int:
    if temperature == 0:
        return int(logits_V.argmax())
    return int(torch.multinomial((logits_V / temperature).softmax(-1), 1, generator=generator))
