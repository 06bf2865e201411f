"""The duplex Transformer: user latents and both parties' text and latents -> text logits and clean-latent estimates.

One network serves three uses: `forward` over whole windows (training, evaluation), `extend` for the thinker (clean
tokens into the cache) and `denoise` for the performer (noisy tokens against the cache). They share embeddings, trunk
and mask.

What is stated by Wan-Streamer v0.1 (arXiv 2606.25041): one Transformer, discrete text, audio and video latents denoised
jointly under one flow time, clean history. Ours: RMSNorm, QK-norm, SwiGLU, adaptive norm on noisy tokens only (clean
tokens pass an ordinary language-model block), and `prior`: the network adds to a linear estimate of the clean latents.

Shape letters: B batch, K units, N tokens or audio latents of a unit, M noisy tokens, C channels, H W latent rows and
columns, S text slots, V vocabulary, D model width, P tokens of a unit.
"""

from dataclasses import asdict, dataclass, fields
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from wanstreamer.checkpoint import load_tensors, save_tensors
from wanstreamer.clock import AUDIO_LATENTS_PER_UNIT
from wanstreamer.errors import InputError
from wanstreamer.perception import AudioPerception, VideoPerception, pack_audio, pack_video, unpack_video
from wanstreamer.prior import Gaussian, Past, Preconditioned, past_of, precondition
from wanstreamer.sequence import (
    BEGIN,
    KINDS,
    MISSING,
    Tokens,
    UnitLayout,
    clean_tokens,
    join,
    noisy_tokens,
    rotary_angles,
    take,
    visible,
)

if TYPE_CHECKING:
    from wanstreamer.data import Batch

FORMAT = "wanstreamer-duplex-1"


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Everything a checkpoint must say to be used; the defaults are the scale `tiny`."""

    audio_channels: int
    video_channels: int
    video_height: int  # rows of one video latent
    video_width: int
    vocab_size: int
    text_slots: int = 2  # text tokens per unit and party
    user_audio_tokens: int = 1  # the unit's 4 audio latents are packed into this many tokens
    agent_audio_tokens: int = 1
    user_video_tokens: tuple[int, int] = (1, 1)  # rows, columns of tokens that a video latent is packed into
    agent_video_tokens: tuple[int, int] = (1, 1)
    d_model: int = 128
    num_layers: int = 4
    num_heads: int = 4
    num_kv_heads: int = 4  # fewer than num_heads: grouped-query attention
    head_dim: int = 32
    d_ff: int = 352
    d_perception: int = 96  # width of the causal encoder of user latents
    rope_theta: float = 10000.0
    dropout: float = 0.2  # of what a block adds
    token_dropout: float = 0.1  # share of clean tokens that lose their content in training
    self_lag: int = 0  # units by which the language path trails the agent's own latents; 0 is the paper's equation
    audio_codec: str = ""  # sha256 of the audio VAE whose latents the model speaks; empty: none
    video_codec: str = ""
    tokenizer: str = ""  # sha256 of tokenizer.json

    @property
    def layout(self) -> UnitLayout:
        return UnitLayout(
            user_audio=self.user_audio_tokens,
            user_video=self.user_video_tokens,
            text_slots=self.text_slots,
            agent_audio=self.agent_audio_tokens,
            agent_video=self.agent_video_tokens,
        )

    @property
    def audio_shape(self) -> tuple[int, int]:
        """One unit of audio latents: (N, C)."""
        return AUDIO_LATENTS_PER_UNIT, self.audio_channels

    @property
    def video_shape(self) -> tuple[int, int, int]:
        """One unit of video latents: (C, H, W)."""
        return self.video_channels, self.video_height, self.video_width


class Noisy(NamedTuple):
    """Noisy agent latents under one flow time per unit."""

    audio_BKNC: Tensor
    video_BKCHW: Tensor
    tau_BK: Tensor


class KeysValues(NamedTuple):
    """Of one layer: (B, heads, N, head_dim) each."""

    key_BHND: Tensor
    value_BHND: Tensor


class Slot(NamedTuple):
    """One layer's buffers in a cache and where the next keys and values go."""

    key_BHND: Tensor
    value_BHND: Tensor
    start: int


class Output(NamedTuple):
    text_logits_BKSV: Tensor
    audio_x0_BKNC: Tensor | None  # estimated clean latents; None when no noisy latents were given
    video_x0_BKCHW: Tensor | None


@dataclass(kw_only=True)
class KVCache:
    """Keys and values of the clean history, one contiguous slice per unit, and how many tokens are valid.

    The buffers are written in place, so a step copies no history. What lies beyond `length` is scratch.
    """

    key_LBHND: Tensor
    value_LBHND: Tensor
    tokens: Tokens  # of the whole capacity
    length: int = 0

    @property
    def capacity_units(self) -> int:
        return int(self.tokens.unit_N[-1]) + 1


class DuplexModel(nn.Module):
    """See the module docstring. `tiny` has about a million weights."""

    audio_last_gain: Tensor  # (N, C)
    audio_mean_gain: Tensor
    audio_std: Tensor
    video_last_gain: Tensor  # (C, H, W)
    video_mean_gain: Tensor
    video_std: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
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
        self.text_norm, self.flow_norm = nn.RMSNorm(d, eps=1e-6), nn.RMSNorm(d, eps=1e-6)
        self.audio_out, self.video_out = nn.Linear(d, audio_dim), nn.Linear(d, video_dim)
        # Prior of a unit: mean `last_gain * last + mean_gain * mean`, standard deviation `std`. Statistics of the train
        # split, not weights: trained, they fit its people and leave the others.
        for kind, shape in (("audio", config.audio_shape), ("video", config.video_shape)):
            self.register_buffer(f"{kind}_last_gain", torch.zeros(shape))
            self.register_buffer(f"{kind}_mean_gain", torch.zeros(shape))
            self.register_buffer(f"{kind}_std", torch.ones(shape))
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=module.in_features**-0.5)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.1)
        # Random, not zero: a zero vector under RMSNorm has gradients beyond float32's use.
        for missing in (self.missing_audio, self.missing_video):
            nn.init.normal_(missing, std=0.1)
        # The untrained network adds nothing to the linear estimate, and noisy tokens pass unmodulated blocks.
        for output in (self.audio_out, self.video_out, self.flow_time.out):
            nn.init.zeros_(output.weight)
        depth_scale = (2 * self.config.num_layers) ** -0.5
        with torch.no_grad():
            for block in self.blocks:
                assert isinstance(block, Block)
                block.attention_out.weight.mul_(depth_scale)
                block.feed_out.weight.mul_(depth_scale)

    def forward(self, batch: "Batch", noisy: Noisy | None = None) -> Output:
        """Whole windows at once, teacher forced: unit k's outputs see what `visible` allows, never the future.

        Returns:
            Logits of every agent text slot and, where `noisy` is given, the clean latents estimated from it.
        """
        num_units = batch.agent_text_BKS.shape[1]
        tokens = clean_tokens(self.layout, num_units)
        clean_BND = self.embed_clean(batch).flatten(1, 2)
        clean_BND, history = self.trunk(clean_BND, tokens, visible(tokens, tokens, self.config.self_lag))
        clean_BKPD = clean_BND.unflatten(1, (num_units, -1))
        logits = self.text_head(clean_BKPD[:, :, self.layout.num_user : self.layout.num_user + self.config.text_slots])
        if noisy is None:
            return Output(logits, None, None)
        past = past_of(batch)
        noisy_BMD = self.embed_noisy(noisy, past).flatten(1, 2)
        query = noisy_tokens(self.layout, num_units)
        mask_NN = visible(query, join(tokens, query), self.config.self_lag)
        noisy_BMD, _ = self.trunk(noisy_BMD, query, mask_NN, self.flow_time(noisy.tau_BK), history)
        return Output(logits, *self.flow_head(noisy_BMD.unflatten(1, (num_units, -1)), noisy, past))

    def trunk(
        self,
        x_BND: Tensor,
        tokens: Tokens,
        mask_NN: Tensor | None,
        modulation: list[Tensor] | None = None,
        history: "list[KeysValues] | KVCache | None" = None,
    ) -> tuple[Tensor, list[KeysValues]]:
        """All blocks, over clean tokens or (with `modulation`, one (B, N, 6, D) per layer) over noisy ones.

        Nobody sees a noisy token but its own unit's, so a pass over clean tokens comes first and noisy ones attend to
        its keys and values, `history`. A cache is a history in fixed buffers: what is new is written behind its
        valid part. The mask's columns are the history, then the tokens themselves; None: all is visible.

        Returns:
            The last block's output (B, N, D) and each layer's keys and values, history included.
        """
        rotary = rotary_angles(tokens.position_N3, self.config.head_dim, self.config.rope_theta)
        seen = []
        for layer, block in enumerate(self.blocks):
            before: KeysValues | Slot | None = None
            if isinstance(history, KVCache):
                before = Slot(history.key_LBHND[layer], history.value_LBHND[layer], history.length)
            elif history is not None:
                before = history[layer]
            x_BND, keys_values = block(x_BND, rotary, mask_NN, modulation[layer] if modulation else None, before)
            seen.append(keys_values)
        return x_BND, seen

    def embed_clean(self, batch: "Batch") -> Tensor:
        """All clean tokens of all units: (B, K, num_clean, D)."""
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
        if self.training:
            kept_BKP = torch.rand(content_BKPD.shape[:-1]) >= self.config.token_dropout
            content_BKPD = content_BKPD * kept_BKP[..., None]
        return content_BKPD + self.kind_embedding(clean_tokens(self.layout, 1).kind_N)

    def agent_content(
        self, audio_BKNC: Tensor, video_BKCHW: Tensor, audio_known_BK: Tensor, video_known_BK: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Clean agent latents as token contents (B, K, tokens, D); unknown units become the learned missing vectors."""
        audio = self.audio_in(pack_audio(audio_BKNC, self.config.agent_audio_tokens))
        video = self.video_in(pack_video(video_BKCHW, self.config.agent_video_tokens))
        audio = torch.where(audio_known_BK[..., None, None], audio, self.missing_audio)
        return audio, torch.where(video_known_BK[..., None, None], video, self.missing_video)

    def embed_noisy(self, noisy: Noisy, past: Past) -> Tensor:
        """Noisy tokens (B, K, num_agent, D) from the innovations: what the noisy latents say beyond the prior."""
        audio, video = self._preconditioning(noisy, past)
        contents = [
            self.noisy_audio_in(pack_audio(audio.innovation, self.config.agent_audio_tokens)),
            self.noisy_video_in(pack_video(video.innovation, self.config.agent_video_tokens)),
        ]
        return torch.cat(contents, dim=2) + self.kind_embedding(noisy_tokens(self.layout, 1).kind_N)

    def flow_head(self, x_BKPD: Tensor, noisy: Noisy, past: Past) -> tuple[Tensor, Tensor]:
        """Trunk outputs at the noisy tokens -> estimated clean latents (B, K, N, C) and (B, K, C, H, W)."""
        h_BKPD = self.flow_norm(x_BKPD)
        audio, video = self._preconditioning(noisy, past)
        split = self.config.agent_audio_tokens
        audio_BKNC = self.audio_out(h_BKPD[:, :, :split]).reshape(noisy.audio_BKNC.shape)
        video_BKCHW = unpack_video(
            self.video_out(h_BKPD[:, :, split:]), self.config.agent_video_tokens, self.config.video_shape
        )
        return audio.estimate + audio.scale * audio_BKNC, video.estimate + video.scale * video_BKCHW

    def text_head(self, x_BKSD: Tensor) -> Tensor:
        """Logits (..., V), tied to the embedding; MISSING and BEGIN are never said."""
        logits = functional.linear(self.text_norm(x_BKSD), self.text_embedding.weight)
        never = torch.zeros(self.config.vocab_size, dtype=torch.bool)
        never[[MISSING, BEGIN]] = True
        return logits.masked_fill(never, float("-inf"))

    def prior(self, past: Past) -> tuple[Gaussian, Gaussian]:
        """What the agent's audio (B, K, N, C) and video (B, K, C, H, W) are expected to be from the latents before."""
        known = past.audio_known_BK[..., None, None]
        last, mean = past.audio_last_BKC[:, :, None], past.audio_mean_BKC[:, :, None]
        audio = Gaussian(
            torch.where(known, last * self.audio_last_gain + mean * self.audio_mean_gain, 0.0),
            torch.where(known, self.audio_std, 1.0),
        )
        known = past.video_known_BK[..., None, None, None]
        video = Gaussian(
            torch.where(
                known,
                past.video_last_BKCHW * self.video_last_gain + past.video_mean_BKCHW * self.video_mean_gain,
                0.0,
            ),
            torch.where(known, self.video_std, 1.0),
        )
        return audio, video

    def _preconditioning(self, noisy: Noisy, past: Past) -> tuple[Preconditioned, Preconditioned]:
        audio, video = self.prior(past)
        return (
            precondition(noisy.audio_BKNC, noisy.tau_BK[..., None, None], audio),
            precondition(noisy.video_BKCHW, noisy.tau_BK[..., None, None, None], video),
        )

    def new_cache(self, batch_size: int, max_units: int) -> KVCache:
        """An empty history of at most `max_units` units, allocated once."""
        config = self.config
        num_tokens = max_units * self.layout.num_clean
        shape = (config.num_layers, batch_size, config.num_kv_heads, num_tokens, config.head_dim)
        dtype = self.text_embedding.weight.dtype
        return KVCache(
            key_LBHND=torch.zeros(shape, dtype=dtype),
            value_LBHND=torch.zeros(shape, dtype=dtype),
            tokens=clean_tokens(self.layout, max_units),
        )

    def extend(self, content_BND: Tensor, cache: KVCache) -> Tensor:
        """Append the next N clean tokens, given as contents (without type embedding); returns the trunk's output there.

        The tokens are those that follow the cache's last one in history order. They may end inside a unit.
        Raises ValueError beyond the cache's capacity.
        """
        start, stop = cache.length, cache.length + content_BND.shape[1]
        if stop > len(cache.tokens.unit_N):
            raise ValueError(f"cache is full: {cache.capacity_units} units")
        keys = take(cache.tokens, 0, stop)
        query = take(cache.tokens, start, stop)
        x_BND = content_BND + self.kind_embedding(query.kind_N)
        x_BND, _ = self.trunk(x_BND, query, visible(query, keys, self.config.self_lag), history=cache)
        cache.length = stop
        return x_BND

    def denoise(
        self, noisy: Noisy, past: Past, modulation: list[Tensor], unit: int, cache: KVCache
    ) -> tuple[Tensor, Tensor]:
        """One performer pass for one unit (K = 1) whose users and slots are in the cache; leaves the cache as it was.

        The noisy keys and values go to the scratch behind the valid part, where the clean ones will be written.
        """
        x_BND = self.embed_noisy(noisy, past).flatten(1, 2)
        # Once STATE is the last token, `visible` lets noisy tokens see all there is: no mask, whatever the self_lag.
        x_BND, _ = self.trunk(x_BND, noisy_tokens(self.layout, 1, unit), None, modulation, cache)
        return self.flow_head(x_BND[:, None], noisy, past)


class Block(nn.Module):
    """Attention and SwiGLU, each behind RMSNorm; noisy tokens are modulated by the flow time."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        d, heads, kv_heads, head_dim = config.d_model, config.num_heads, config.num_kv_heads, config.head_dim
        self.attention_norm, self.feed_norm = nn.RMSNorm(d, eps=1e-6), nn.RMSNorm(d, eps=1e-6)
        self.qkv = nn.Linear(d, (heads + 2 * kv_heads) * head_dim, bias=False)
        self.q_norm, self.k_norm = nn.RMSNorm(head_dim, eps=1e-6), nn.RMSNorm(head_dim, eps=1e-6)
        self.attention_out = nn.Linear(heads * head_dim, d, bias=False)
        self.feed_in = nn.Linear(d, 2 * config.d_ff, bias=False)
        self.feed_out = nn.Linear(config.d_ff, d, bias=False)

    def forward(
        self,
        x_BND: Tensor,
        rotary: tuple[Tensor, Tensor],
        mask_NN: Tensor | None,
        modulation_BN6D: Tensor | None,
        before: KeysValues | Slot | None,
    ) -> tuple[Tensor, KeysValues]:
        shift1, scale1, gate1, shift2, scale2, gate2 = (
            (None,) * 6 if modulation_BN6D is None else modulation_BN6D.unbind(dim=2)
        )
        h_BND = _modulate(self.attention_norm(x_BND), scale1, shift1)
        h_BND, keys_values = self._attend(h_BND, rotary, mask_NN, before)
        x_BND = x_BND + self._drop(_modulate(h_BND, gate1, None))
        h_BND = _modulate(self.feed_norm(x_BND), scale2, shift2)
        gate_BND, up_BND = self.feed_in(h_BND).chunk(2, dim=-1)
        h_BND = self.feed_out(functional.silu(gate_BND) * up_BND)
        return x_BND + self._drop(_modulate(h_BND, gate2, None)), keys_values

    def _attend(
        self, h_BND: Tensor, rotary: tuple[Tensor, Tensor], mask_NN: Tensor | None, before: KeysValues | Slot | None
    ) -> tuple[Tensor, KeysValues]:
        config = self.config
        heads, kv_heads = config.num_heads, config.num_kv_heads
        qkv = self.qkv(h_BND).unflatten(-1, (heads + 2 * kv_heads, config.head_dim)).transpose(1, 2)
        q_BHND, k_BHND, v_BHND = qkv.split([heads, kv_heads, kv_heads], dim=1)
        q_BHND, k_BHND = _rotate(self.q_norm(q_BHND), rotary), _rotate(self.k_norm(k_BHND), rotary)
        if isinstance(before, Slot):
            stop = before.start + k_BHND.shape[2]
            before.key_BHND[:, :, before.start : stop] = k_BHND
            before.value_BHND[:, :, before.start : stop] = v_BHND
            k_BHND, v_BHND = before.key_BHND[:, :, :stop], before.value_BHND[:, :, :stop]
        elif before is not None:
            k_BHND = torch.cat([before.key_BHND, k_BHND], dim=2)
            v_BHND = torch.cat([before.value_BHND, v_BHND], dim=2)
        attended_BHND = functional.scaled_dot_product_attention(
            q_BHND, k_BHND, v_BHND, attn_mask=mask_NN, enable_gqa=kv_heads != heads
        )
        return self.attention_out(attended_BHND.transpose(1, 2).flatten(2)), KeysValues(k_BHND, v_BHND)

    def _drop(self, x_BND: Tensor) -> Tensor:
        """Dropout with one mask for all tokens of a window: as good here, and a tenth of the step's time less."""
        if not self.training:
            return x_BND
        mask_B1D = functional.dropout(torch.ones(len(x_BND), 1, x_BND.shape[2]), self.config.dropout)
        return x_BND * mask_B1D


class FlowTime(nn.Module):
    """Flow time -> shifts, scales and gates of every layer (PixArt-alpha's shared adaptive norm, arXiv 2310.00426)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d = config.d_model
        self.features = 32
        self.num_agent = config.layout.num_agent
        self.hidden = nn.Linear(2 * self.features, d)
        self.out = nn.Linear(d, 6 * d)
        self.layers = nn.Parameter(torch.zeros(config.num_layers, 6, d))

    def forward(self, tau_BK: Tensor) -> list[Tensor]:
        """tau in [0, 1], (B, K) -> per layer (B, K * num_agent, 6, D); the solver calls this once per distinct tau."""
        frequency = torch.pi / 2 * torch.logspace(0, 1.5, self.features)  # a quarter turn to 8 turns over [0, 1]
        angle = tau_BK[..., None] * frequency
        h = functional.silu(self.hidden(torch.cat([angle.cos(), angle.sin()], dim=-1)))
        base = self.out(h).unflatten(-1, (6, -1)).repeat_interleave(self.num_agent, dim=1)
        return [base + layer for layer in self.layers]


@torch.no_grad()
def text_logits(model: DuplexModel, batch: "Batch") -> Tensor:
    """Logits of every agent text slot with true history: (B, K, S, V)."""
    return model(batch).text_logits_BKSV


def save_model(model: DuplexModel, path: Path) -> None:
    """Weights as safetensors, atomically; the config is JSON in the file's metadata."""
    save_tensors(path, model.state_dict(), {"format": FORMAT, "config": asdict(model.config)})


def load_model(path: Path) -> DuplexModel:
    """A model in eval mode. Raises InputError when the file is missing or is not one that `save_model` wrote."""
    tensors, meta = load_tensors(path)
    if meta.get("format") != FORMAT:
        raise InputError(f"{path}: format {meta.get('format')!r}, expected {FORMAT!r}; train with the duplex stage")
    known = {field.name for field in fields(ModelConfig)}
    if set(meta["config"]) != known:
        odd = ", ".join(sorted(set(meta["config"]) ^ known))
        raise InputError(f"{path}: config differs from this version in {odd}; train again with the duplex stage")
    config: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in meta["config"].items()
    }
    model = DuplexModel(ModelConfig(**config))
    model.load_state_dict(tensors)
    return model.eval()


def _modulate(x_BND: Tensor, scale_BND: Tensor | None, shift_BND: Tensor | None) -> Tensor:
    """(1 + scale) x + shift; clean tokens, which have neither, pass."""
    if scale_BND is None:
        return x_BND
    return torch.addcmul(x_BND if shift_BND is None else x_BND + shift_BND, x_BND, scale_BND)


def _rotate(x_BHND: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    cos_NE, sin_NE = rotary
    first, second = x_BHND.chunk(2, dim=-1)
    return torch.cat([first * cos_NE - second * sin_NE, second * cos_NE + first * sin_NE], dim=-1)
