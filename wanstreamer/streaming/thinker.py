"""The thinker: user latents into the history, the agent's text sampled from it, the agent's finished latents committed.

One unit needs three kinds of passes over the cache: users and BEGIN together, then each text token, then (after the
performer) the agent's clean latents. If the performer has its own cache (`pipeline`), these latents come back later and
are a prefix of the next unit's first pass instead.

All functions serve B conversations side by side; these share a state and are at the same unit.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from wanstreamer.devices import to_device, to_host
from wanstreamer.model.duplex import DuplexModel
from wanstreamer.model.prior import past_after
from wanstreamer.model.sequence import BEGIN, BLANK, MISSING
from wanstreamer.streaming.state import ConversationState


@torch.inference_mode()
def think(
    model: DuplexModel,
    state: ConversationState,
    audio_BNC: Tensor | None,
    video_BCHW: Tensor | None,
    text: Sequence[Sequence[int]] | None,
    *,
    temperature: float,
    epsilon: float = 0.0,
    forced_text: Sequence[Sequence[int]] | None = None,
    returned: tuple[Tensor, Tensor] | None = None,
) -> tuple[list[list[int]], Tensor]:
    """Perceive one user unit and sample the agent's text of that unit.

    Args:
        audio_BNC, video_BCHW: User latents; None if the stream is missing.
        text: Each user's text ids of the unit, one per slot; None without a transcript.
        temperature, epsilon: For drawing the text, see `sample_token`.
        forced_text: Each agent's text ids if they are known (a recorded history); nothing is sampled then.
        returned: The agent's clean latents that come next in the cache, if they were not committed separately.

    Returns:
        Each agent's sampled ids, and the logits (B, S, V) from which they were drawn. The cache then ends with STATE.
    """
    config, cache = model.config, state.cache
    batch, device = len(state.generators), model.device
    present = torch.ones(batch, 1, dtype=torch.bool, device=device)
    absent = ~present
    audio_B1NC = torch.zeros(batch, 1, *config.audio_shape, device=device) if audio_BNC is None else audio_BNC[:, None]
    video_B1CHW = (
        torch.zeros(batch, 1, *config.video_shape, device=device) if video_BCHW is None else video_BCHW[:, None]
    )
    heard, state.hearing = model.perceive_audio(audio_B1NC, absent if audio_BNC is None else present, state.hearing)
    seen, state.seeing = model.perceive_video(video_B1CHW, absent if video_BCHW is None else present, state.seeing)
    ids = [[MISSING] * config.text_slots] * batch if text is None else text
    words = model.text_embedding(to_device(torch.tensor([[*own, BEGIN] for own in ids]), device))
    contents = [heard[:, 0], seen[:, 0], words]
    if returned is not None:
        contents.insert(0, clean_content(model, *returned))
    hidden_BND = model.extend(torch.cat(contents, dim=1), cache)
    tokens: list[list[int]] = [[] for _ in range(batch)]
    logits = []
    for slot in range(config.text_slots):
        logits.append(model.text_head(hidden_BND[:, -1]))
        if forced_text is None:
            drawn = zip(to_host(logits[-1]), state.generators, strict=True)
            slot_tokens = [sample_token(logits_V, temperature, generator, epsilon) for logits_V, generator in drawn]
        else:
            slot_tokens = [own[slot] for own in forced_text]
        for own, token in zip(tokens, slot_tokens, strict=True):
            own.append(token)
        last = to_device(torch.tensor([[token] for token in slot_tokens]), device)
        hidden_BND = model.extend(model.text_embedding(last), cache)  # the last one is STATE
    return tokens, torch.stack(logits, dim=1)


@torch.inference_mode()
def commit(model: DuplexModel, state: ConversationState, audio_BNC: Tensor, video_BCHW: Tensor) -> None:
    """Append the agents' clean latents of the unit to the history; the unit is then complete."""
    model.extend(clean_content(model, audio_BNC, video_BCHW), state.cache)
    state.past = past_after(state.past, state.unit, audio_BNC[:, None], video_BCHW[:, None])
    state.unit += 1


def clean_content(model: DuplexModel, audio_BNC: Tensor, video_BCHW: Tensor) -> Tensor:
    """Contents (B, num_agent, D) of the clean tokens of one unit of the agents' latents."""
    known = torch.ones(len(audio_BNC), 1, dtype=torch.bool, device=model.device)
    contents = model.agent_content(audio_BNC[:, None], video_BCHW[:, None], known, known)
    return torch.cat(contents, dim=2)[:, 0]


def sample_token(logits_V: Tensor, temperature: float, generator: torch.Generator, epsilon: float = 0.0) -> int:
    """Draws whether to speak with the model's probability, and which word with the temperature.

    With one temperature for both, the many ways to begin would lose against the one way to stay silent: turns would
    begin late.

    Args:
        temperature: 0 takes the likeliest token.
        epsilon: Words less probable than this are never drawn (epsilon sampling, Hewitt et al. 2022, arXiv 2210.15191);
            if all are, the result is BLANK. Six times a second the model decides whether to begin. A sentence during
            the user's turn is unlikely each time, but would otherwise come every minute.
    """
    if temperature == 0:
        return int(logits_V.argmax())
    share_V = logits_V.softmax(-1)
    sayable_V = share_V >= epsilon
    sayable_V[BLANK] = False
    if float(torch.rand((), generator=generator)) < float(share_V[BLANK]) or not bool(sayable_V.any()):
        return BLANK
    words_V = logits_V.masked_fill(~sayable_V, float("-inf"))
    return int(torch.multinomial((words_V / temperature).softmax(-1), 1, generator=generator))
