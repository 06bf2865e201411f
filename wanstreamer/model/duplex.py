"""The duplex Transformer: user latents and both parties' text and latents -> text logits and clean-latent estimates.

One network serves three uses: `forward` over whole windows (training, evaluation), `extend` for the thinker (clean
tokens into the cache) and `denoise` for the performer (noisy tokens against the cache). They share embeddings, trunk
and mask.

From Wan-Streamer v0.1 (arXiv 2606.25041): one Transformer, discrete text, audio and video latents denoised jointly
under one flow time, clean history. Our own: RMSNorm, QK-norm, SwiGLU, adaptive norm on noisy tokens only (clean tokens
pass an ordinary language-model block), and `prior`: the network adds to a linear estimate of the clean latents.

Shape letters: B batch, K units, N tokens or audio latents of a unit, M noisy tokens, C channels, H W latent rows and
columns, S text slots, V vocabulary, D model width, P tokens of a unit.
"""

from dataclasses import asdict, fields
from functools import partial
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from wanstreamer.checkpoint import load_tensors, save_tensors
from wanstreamer.clock import AUDIO_LATENTS_PER_UNIT
from wanstreamer.devices import HOST, to_device
from wanstreamer.errors import InputError
from wanstreamer.model.attention import NO_PREFIX, Attention, Mask, window_mask
from wanstreamer.model.blocks import Block, FlowTime
from wanstreamer.model.cache import KeysValues, KVCache, LayerCache
from wanstreamer.model.config import ModelConfig
from wanstreamer.model.dropout import Dropped
from wanstreamer.model.perception import (
    AudioPerception,
    VideoPerception,
    pack_audio,
    pack_video,
    unpack_video,
)
from wanstreamer.model.prior import Gaussian, Past, Preconditioned, expected, past_of, precondition
from wanstreamer.model.sequence import (
    BEGIN,
    KINDS,
    MISSING,
    HistoryLimit,
    PrefixLayout,
    Tokens,
    clean_tokens,
    join,
    noisy_tokens,
    prefix_tokens,
    rotary_angles,
    served_tokens,
    visible,
    visible_rows,
)

if TYPE_CHECKING:
    from wanstreamer.windows.loader import Batch

FORMAT = "wanstreamer-duplex-1"
# Config fields that older files of this format lack, and the values that those files were trained with.
ADDED = {"norm_eps": 1e-6, "prediction": "clean"}
EMBEDDING_STD = 0.1  # of freshly initialised embeddings


class Noisy(NamedTuple):
    """Noisy agent latents under one flow time per unit."""

    audio_BKNC: Tensor
    video_BKCHW: Tensor
    tau_BK: Tensor


class Prefix(NamedTuple):
    """The beginning of a conversation, as unit -1: the agent's looks and voice, and its instructions.

    No model has been trained with a prefix: at present it changes what the agent says, but not in the intended way.
    """

    image_BCHW: Tensor | None = None  # video latents of one unit
    voice_BKNC: Tensor | None = None  # audio latents of any number of units
    text_BN: Tensor | None = None  # int64 ids of words

    @property
    def layout(self) -> PrefixLayout:
        return PrefixLayout(
            image=self.image_BCHW is not None,
            voice_units=0 if self.voice_BKNC is None else self.voice_BKNC.shape[1],
            num_text=0 if self.text_BN is None else self.text_BN.shape[1],
        )


class Output(NamedTuple):
    text_logits_BKSV: Tensor
    audio_x0_BKNC: Tensor | None  # estimated clean latents; None without noisy latents
    video_x0_BKCHW: Tensor | None


class DuplexModel(nn.Module):
    """See the module docstring. `tiny` has about a million weights."""

    audio_last_gain: Tensor  # (N, C)
    audio_mean_gain: Tensor
    audio_std: Tensor
    video_last_gain: Tensor  # (C, H, W)
    video_mean_gain: Tensor
    video_std: Tensor
    clean_kind_P: Tensor  # int64, of a unit's clean tokens
    noisy_kind_A: Tensor  # int64, of a unit's noisy agent tokens

    def __init__(self, config: ModelConfig, attention: Attention | None = None) -> None:
        super().__init__()
        self.config = config
        self.attention = attention or Attention()
        self.layout = config.layout
        d = config.d_model
        audio_dim = AUDIO_LATENTS_PER_UNIT * config.audio_channels // config.agent_audio_tokens
        video_dim = prod(config.video_shape) // prod(config.agent_video_tokens)
        self.text_embedding = nn.Embedding(config.vocab_size, d)
        self.kind_embedding = nn.Embedding(len(KINDS), d)
        self.perceive_audio = AudioPerception(
            channels=config.audio_channels, num_tokens=config.user_audio_tokens, width=config.d_perception, d_model=d
        )
        self.perceive_video = VideoPerception(
            numbers=prod(config.video_shape), tokens=config.user_video_tokens, width=config.d_perception, d_model=d
        )
        self.audio_in, self.noisy_audio_in = nn.Linear(audio_dim, d), nn.Linear(audio_dim, d)
        self.video_in, self.noisy_video_in = nn.Linear(video_dim, d), nn.Linear(video_dim, d)
        self.missing_audio, self.missing_video = nn.Parameter(torch.empty(d)), nn.Parameter(torch.empty(d))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.flow_time = FlowTime(config)
        self.text_norm, self.flow_norm = nn.RMSNorm(d, eps=config.norm_eps), nn.RMSNorm(d, eps=1e-6)
        self.audio_out, self.video_out = nn.Linear(d, audio_dim), nn.Linear(d, video_dim)
        # Prior of a unit: mean `last_gain * last + mean_gain * mean`, standard deviation `std`. These are statistics of
        # the train split, not weights: trained ones would fit its people only.
        for kind, shape in (("audio", config.audio_shape), ("video", config.video_shape)):
            self.register_buffer(f"{kind}_last_gain", torch.zeros(shape))
            self.register_buffer(f"{kind}_mean_gain", torch.zeros(shape))
            self.register_buffer(f"{kind}_std", torch.ones(shape))
        # Fixed by the layout, so not stored.
        self.register_buffer("clean_kind_P", clean_tokens(self.layout, 1).kind_N, persistent=False)
        self.register_buffer("noisy_kind_A", noisy_tokens(self.layout, 1).kind_N, persistent=False)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=module.in_features**-0.5)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=EMBEDDING_STD)
        # Random, not zero: under RMSNorm, a zero vector has gradients too large for float32.
        for missing in (self.missing_audio, self.missing_video):
            nn.init.normal_(missing, std=EMBEDDING_STD)
        # The untrained heads output zero, and noisy tokens pass unmodulated blocks.
        for output in (self.audio_out, self.video_out, self.flow_time.out):
            nn.init.zeros_(output.weight)
        depth_scale = (2 * self.config.num_layers) ** -0.5
        with torch.no_grad():
            for block in self.blocks:
                assert isinstance(block, Block)
                block.attention_out.weight.mul_(depth_scale)
                block.feed_out.weight.mul_(depth_scale)

    def forward(
        self,
        batch: "Batch",
        noisy: Noisy | None = None,
        dropped: Dropped | None = None,
        *,
        prefix: Prefix | None = None,
        history_limit: HistoryLimit | None = None,
    ) -> Output:
        """Whole windows at once, teacher forced: unit k's outputs see only what `visible` allows, never the future.

        Args:
            dropped: What training drops; without it nothing is dropped, not even in `train` mode.
            prefix: What precedes the windows, one for each.
            history_limit: What remains visible of old units, as in a cache with that limit; None: everything.

        Returns:
            Logits of every agent text slot and, with `noisy`, the clean latents estimated from it.
        """
        num_units = batch.agent_text_BKS.shape[1]
        device, backend = self.device, self.attention.windows
        before = NO_PREFIX if prefix is None else prefix.layout
        shape = self.layout, num_units, self.config.self_lag, before, history_limit
        mask = partial(window_mask, *shape, backend=backend, device=device)
        clean_BND = self.embed_clean(batch, dropped.kept_BKP if dropped else None).flatten(1, 2)
        tokens = clean_tokens(self.layout, num_units, device=device)
        if prefix is not None:
            clean_BND = torch.cat([self.embed_prefix(prefix), clean_BND], dim=1)
            tokens = join(prefix_tokens(self.layout, before, device), tokens)
        clean_BND, history = self.trunk(
            clean_BND, tokens, mask(noisy=False), backend=backend, dropped_BL2D=dropped.clean_BL2D if dropped else None
        )
        clean_BKPD = clean_BND[:, -num_units * self.layout.num_clean :].unflatten(1, (num_units, -1))
        logits = self.text_head(clean_BKPD[:, :, self.layout.num_user : self.layout.num_user + self.config.text_slots])
        if noisy is None:
            return Output(logits, None, None)
        past = past_of(batch)
        noisy_BMD = self.embed_noisy(noisy, past).flatten(1, 2)
        tokens = noisy_tokens(self.layout, num_units, device=device)
        modulation, left_out = self.flow_time(noisy.tau_BK), dropped.noisy_BL2D if dropped else None
        noisy_BMD, _ = self.trunk(noisy_BMD, tokens, mask(noisy=True), modulation, history, backend, left_out)
        return Output(logits, *self.flow_head(noisy_BMD.unflatten(1, (num_units, -1)), noisy, past))

    def trunk(
        self,
        x_BND: Tensor,
        tokens: Tokens,
        mask: Mask,
        modulation: list[Tensor] | None = None,
        history: list[KeysValues] | KVCache | None = None,
        backend: str = "sdpa",
        dropped_BL2D: Tensor | None = None,
    ) -> tuple[Tensor, list[KeysValues]]:
        """All blocks, over clean tokens or (with `modulation`, one (B, K, A, 6, D) per layer) over noisy ones.

        No token sees a noisy token except those of the same unit. A pass over clean tokens therefore comes first, and
        noisy tokens attend to its keys and values, `history`. A cache is a history in fixed buffers: new keys and
        values are written behind its valid part. The mask's columns are the history, then the tokens themselves; None:
        all is visible.

        Returns:
            The last block's output (B, N, D) and each layer's keys and values, history included.
        """
        angles = rotary_angles(tokens.position_N3, self.config.head_dim, self.config.rope_theta)
        rotary = to_device(angles[0], self.device), to_device(angles[1], self.device)
        input_dtype = x_BND.dtype
        x_BND = x_BND.to(self.trunk_dtype)
        seen = []
        for layer, block in enumerate(self.blocks):
            before: KeysValues | LayerCache | None = None
            if isinstance(history, KVCache):
                before = LayerCache(history.key_LBHND[layer], history.value_LBHND[layer], history.start, history.stop)
            elif history is not None:
                before = history[layer]
            left_out = None if dropped_BL2D is None else dropped_BL2D[:, layer]
            x_BND, keys_values = block(
                x_BND, rotary, mask, modulation[layer] if modulation else None, before, backend, left_out
            )
            seen.append(keys_values)
        return x_BND.to(input_dtype), seen

    def embed_clean(self, batch: "Batch", kept_BKP: Tensor | None = None) -> Tensor:
        """All clean tokens of all units: (B, K, num_clean, D); tokens that are not `kept` have no content."""
        user_audio, _ = self.perceive_audio(batch.user_audio_BKNC, batch.user_audio_known_BK)
        user_video, _ = self.perceive_video(batch.user_video_BKCHW, batch.user_video_known_BK)
        user_text_BKS = batch.user_text_BKS.masked_fill(~batch.user_text_known_BK[..., None], MISSING)
        agent_text_BKS = batch.agent_text_BKS.masked_fill(~batch.agent_text_known_BK[..., None], MISSING)
        begin_BK1 = torch.full_like(agent_text_BKS[..., :1], BEGIN)
        parts = [
            user_audio,
            user_video,
            self.text_embedding(torch.cat([user_text_BKS, begin_BK1, agent_text_BKS], dim=-1)),
            *self.agent_content(
                batch.agent_audio_BKNC,
                batch.agent_video_BKCHW,
                batch.agent_audio_known_BK,
                batch.agent_video_known_BK,
            ),
        ]
        content_BKPD = torch.cat(parts, dim=2)
        if kept_BKP is not None:
            content_BKPD = content_BKPD * kept_BKP[..., None]
        return content_BKPD + self.kind_embedding(self.clean_kind_P)

    def embed_prefix(self, prefix: Prefix) -> Tensor:
        """Tokens (B, N, D) of unit -1. Text has no type embedding, as in a language model."""
        config, parts = self.config, []
        audio_kind, video_kind = self.kind_embedding.weight[[KINDS.index("agent_audio"), KINDS.index("agent_video")]]
        if prefix.image_BCHW is not None:
            video_B1PX = pack_video(prefix.image_BCHW[:, None], config.agent_video_tokens)
            parts.append(self.video_in(video_B1PX).flatten(1, 2) + video_kind)
        if prefix.voice_BKNC is not None:
            audio_BKPX = pack_audio(prefix.voice_BKNC, config.agent_audio_tokens)
            parts.append(self.audio_in(audio_BKPX).flatten(1, 2) + audio_kind)
        if prefix.text_BN is not None:
            parts.append(self.text_embedding(prefix.text_BN))
        return torch.cat(parts, dim=1)

    def agent_content(
        self, audio_BKNC: Tensor, video_BKCHW: Tensor, audio_known_BK: Tensor, video_known_BK: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Clean agent latents as token contents (B, K, tokens, D); unknown units become the learned missing vectors."""
        audio = self.audio_in(pack_audio(audio_BKNC, self.config.agent_audio_tokens))
        video = self.video_in(pack_video(video_BKCHW, self.config.agent_video_tokens))
        audio = torch.where(audio_known_BK[..., None, None], audio, self.missing_audio)
        return audio, torch.where(video_known_BK[..., None, None], video, self.missing_video)

    def embed_noisy(self, noisy: Noisy, past: Past) -> Tensor:
        """Noisy tokens (B, K, num_agent, D) from the innovations: what the noisy latents add to the prior."""
        audio, video = self._preconditioning(noisy, past)
        contents = [
            self.noisy_audio_in(pack_audio(audio.innovation, self.config.agent_audio_tokens)),
            self.noisy_video_in(pack_video(video.innovation, self.config.agent_video_tokens)),
        ]
        return torch.cat(contents, dim=2) + self.kind_embedding(self.noisy_kind_A)

    def flow_head(self, x_BKPD: Tensor, noisy: Noisy, past: Past) -> tuple[Tensor, Tensor]:
        """Trunk outputs at the noisy tokens -> estimated clean latents (B, K, N, C) and (B, K, C, H, W).

        With prediction "clean", the heads add to the linear estimate, in units of its remaining error. With "velocity",
        they predict the paper's target eps - z_0, and z_0 = z_tau - tau v.
        """
        h_BKPD = self.flow_norm(x_BKPD)
        split = self.config.agent_audio_tokens
        audio_BKNC = self.audio_out(h_BKPD[:, :, :split]).reshape(noisy.audio_BKNC.shape)
        video_BKCHW = unpack_video(
            self.video_out(h_BKPD[:, :, split:]), self.config.agent_video_tokens, self.config.video_shape
        )
        if self.config.prediction == "velocity":
            tau = noisy.tau_BK[..., None, None]
            return noisy.audio_BKNC - tau * audio_BKNC, noisy.video_BKCHW - tau[..., None] * video_BKCHW
        audio, video = self._preconditioning(noisy, past)
        return audio.estimate + audio.scale * audio_BKNC, video.estimate + video.scale * video_BKCHW

    def text_head(self, x_BKSD: Tensor) -> Tensor:
        """Logits (..., V), tied to the embedding; MISSING and BEGIN are never predicted."""
        logits = functional.linear(self.text_norm(x_BKSD), self.text_embedding.weight)
        id_V = torch.arange(self.config.vocab_size, device=self.device)
        return logits.masked_fill((id_V == MISSING) | (id_V == BEGIN), float("-inf"))

    def prior(self, past: Past) -> tuple[Gaussian, Gaussian]:
        """The expected audio (B, K, N, C) and video (B, K, C, H, W) of the agent, from its previous latents."""
        audio = expected(
            past.audio_last_BKC[:, :, None] * self.audio_last_gain
            + past.audio_mean_BKC[:, :, None] * self.audio_mean_gain,
            self.audio_std,
            past.audio_known_BK,
        )
        video = expected(
            past.video_last_BKCHW * self.video_last_gain + past.video_mean_BKCHW * self.video_mean_gain,
            self.video_std,
            past.video_known_BK,
        )
        return audio, video

    def _preconditioning(self, noisy: Noisy, past: Past) -> tuple[Preconditioned, Preconditioned]:
        audio, video = self.prior(past)
        return (
            precondition(noisy.audio_BKNC, noisy.tau_BK[..., None, None], audio),
            precondition(noisy.video_BKCHW, noisy.tau_BK[..., None, None, None], video),
        )

    @property
    def device(self) -> torch.device:
        return self.text_embedding.weight.device

    @property
    def trunk_dtype(self) -> torch.dtype:
        """Type of the blocks' weights, and of keys and values."""
        block = self.blocks[0]
        assert isinstance(block, Block)
        return block.qkv.weight.dtype

    def new_cache(
        self,
        batch_size: int,
        max_units: int,
        *,
        history_limit: HistoryLimit | None = None,
        lag: int = 0,
        num_prefix: int = 0,
    ) -> KVCache:
        """An empty history, allocated once: for at most `max_units` units, or for any number with a `history_limit`.

        `lag` is the lag of the agent's tokens in the order of serving; `num_prefix` tokens may precede it. Raises
        InputError for a limit with which a unit would not see itself.
        """
        config, layout = self.config, self.layout
        units = max_units
        if history_limit is not None:
            history_limit.check(config.self_lag)
            # One place for the unit that arrives before the oldest is dropped, and a quarter for dropped units.
            units = history_limit.sink_units + history_limit.units + 1 + (history_limit.units + 3) // 4
        num_tokens = num_prefix + units * layout.num_clean
        shape = (config.num_layers, batch_size, config.num_kv_heads, num_tokens, config.head_dim)
        return KVCache(
            key_LBHND=torch.zeros(shape, dtype=self.trunk_dtype, device=self.device),
            value_LBHND=torch.zeros(shape, dtype=self.trunk_dtype, device=self.device),
            tokens=served_tokens(layout, lag, 0, num_tokens, HOST),
            layout=layout,
            lag=lag,
            max_units=max_units if history_limit is None else None,
            history_limit=history_limit,
        )

    def write_prefix(self, prefix: Prefix, cache: KVCache) -> Tensor:
        """Write unit -1 into an empty cache with places for it; returns the trunk's output for it (B, N, D)."""
        assert cache.length == 0, "the prefix comes first"
        tokens = prefix_tokens(self.layout, prefix.layout, HOST)
        cache.describe(tokens)
        seen = to_device(visible(tokens, tokens, self.config.self_lag), self.device)
        x_BND, _ = self.trunk(self.embed_prefix(prefix), tokens, seen, history=cache)
        cache.stop = len(tokens.unit_N)
        return x_BND

    def extend(self, content_BND: Tensor, cache: KVCache) -> Tensor:
        """Append the next N clean tokens, given as contents (without type embedding); returns the trunk's output.

        The tokens follow the cache's last token in the order of serving. They may end inside a unit. Raises ValueError
        beyond the cache's capacity.
        """
        count = content_BND.shape[1]
        query = cache.next_tokens(count)
        x_BND = content_BND + self.kind_embedding(to_device(query.kind_N, self.device))
        seen_RK, row_N = visible_rows(query, cache.with_next(count), self.config.self_lag, cache.history_limit)
        if seen_RK.all():
            x_BND, _ = self.trunk(x_BND, query, None, history=cache, backend=self.attention.cached)
        else:
            seen_NK = to_device(seen_RK, self.device)[to_device(row_N, self.device)]
            x_BND, _ = self.trunk(x_BND, query, seen_NK, history=cache)
        cache.advance(count)
        return x_BND

    def denoise(
        self, noisy: Noisy, past: Past, modulation: list[Tensor], unit: int, cache: KVCache
    ) -> tuple[Tensor, Tensor]:
        """One performer pass for one unit (K = 1) with users and slots in the cache; the cache does not change.

        The noisy keys and values go to the scratch behind the valid part, where the clean ones will be written later.
        """
        x_BND = self.embed_noisy(noisy, past).flatten(1, 2)
        # If STATE is the last token, `visible` lets noisy tokens see everything: no mask is needed at any self_lag.
        tokens = noisy_tokens(self.layout, 1, unit, HOST)
        cache.reserve(self.layout.num_agent)
        x_BND, _ = self.trunk(x_BND, tokens, None, modulation, cache, self.attention.cached)
        return self.flow_head(x_BND[:, None], noisy, past)


@torch.no_grad()
def text_logits(model: DuplexModel, batch: "Batch") -> Tensor:
    """Logits of every agent text slot with true history: (B, K, S, V)."""
    return model(batch).text_logits_BKSV


def save_model(model: DuplexModel, path: Path) -> None:
    """Weights as safetensors, atomically; the config is JSON in the file's metadata."""
    save_tensors(path, model.state_dict(), {"format": FORMAT, "config": asdict(model.config)})


def load_model(path: Path, attention: Attention | None = None) -> DuplexModel:
    """A model in eval mode. Raises InputError if the file is missing or was not written by `save_model`."""
    tensors, meta = load_tensors(path)
    if meta.get("format") != FORMAT:
        raise InputError(f"{path}: format {meta.get('format')!r}, expected {FORMAT!r}; train with the duplex stage")
    known = {field.name for field in fields(ModelConfig)}
    settings: dict[str, Any] = ADDED | meta["config"]
    if set(settings) != known:
        odd = ", ".join(sorted(set(settings) ^ known))
        raise InputError(f"{path}: config differs from this version in {odd}; train again with the duplex stage")
    settings = {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
    model = DuplexModel(ModelConfig(**settings), attention)
    model.load_state_dict(tensors)
    return model.eval()
