"""Windows -> a trained duplex model: text cross-entropy plus joint flow matching, resumable to the exact step.

Every step draws its randomness from the seed and its own number, and one file holds weights, optimiser and history, so
a run that was killed and continued ends with the same bytes as one that was not.

Loss: `L = w_text CE + w_audio FM_audio + w_video FM_video` (Wan-Streamer v0.1, arXiv 2606.25041; the weights are ours).
"""

import copy
import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from wanstreamer.checkpoint import resume_training, save_training
from wanstreamer.flow import add_noise, draw_tau, velocity_weight
from wanstreamer.model import DuplexModel
from wanstreamer.prior import past_of
from wanstreamer.sequence import MISSING

if TYPE_CHECKING:
    from wanstreamer.data import Batch

PARTS = ("text", "audio", "video")
# Of the latent just before, in the prior. Some still elements fit best above 1: alone for a minute, they run away. The
# clip costs a held-out error of 0.03 %.
MAX_LAST_GAIN = 0.95
Row = dict[str, float]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One run; equal values, data and thread count give equal bytes."""

    steps: int
    batch_size: int = 4  # windows
    learning_rate: float = 2e-3  # peak, after warm-up; falls to zero along a cosine
    warmup_steps: int = 100
    weight_decay: float = 0.05  # of matrices
    grad_clip: float = 1.0
    ema_decay: float = 0.998  # of the averaged weights, which are what is saved and validated
    text_weight: float = 1.0
    audio_weight: float = 3.0
    video_weight: float = 3.0
    identity_jitter: float = 1.0  # how far faces are moved towards others; without, the few people are learnt by heart
    user_text_drop: float = 0.5  # share of windows that train without the user's words; live use has none
    agent_text_drop: float = 0.5  # and without the agent's: sound and face then follow from the conversation alone
    prior_batches: int = 32  # from which the prior of a unit given the one before it is fitted
    log_every: int = 100  # steps between rows of history and validations
    checkpoint_s: float = 30.0  # wall-clock seconds between states for resuming; changes no result
    seed: int = 0
    threads: int = 2  # of torch; part of the result, as sums change with it


def duplex_loss(
    model: DuplexModel, batch: "Batch", generator: torch.Generator, *, config: TrainConfig | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """The training loss of one batch and its unweighted parts `text`, `audio`, `video` (scalars).

    Text that is MISSING and agent latents that are unknown carry no loss.
    """
    config = config or TrainConfig(steps=0)
    tau_BK = draw_tau(batch.agent_text_BKS.shape[0], batch.agent_text_BKS.shape[1], generator)
    output = model(batch, add_noise(batch, tau_BK, generator))
    spoken_BKS = batch.agent_text_known_BK[..., None] & (batch.agent_text_BKS != MISSING)
    targets = torch.where(spoken_BKS, batch.agent_text_BKS, -100).flatten()
    text = functional.cross_entropy(output.text_logits_BKSV.flatten(0, 2), targets, ignore_index=-100, reduction="sum")
    past = past_of(batch)
    audio_BK = (output.audio_x0_BKNC - batch.agent_audio_BKNC).square().mean((2, 3))
    video_BK = (output.video_x0_BKCHW - batch.agent_video_BKCHW).square().mean((2, 3, 4))
    audio_BK = audio_BK * _flow_weight(tau_BK, model.audio_std, past.audio_known_BK)
    video_BK = video_BK * _flow_weight(tau_BK, model.video_std, past.video_known_BK)
    parts = {
        "text": text / spoken_BKS.sum().clamp(min=1),
        "audio": _mean_where(audio_BK, batch.agent_audio_known_BK),
        "video": _mean_where(video_BK, batch.agent_video_known_BK),
    }
    weights = _weights(config)
    return torch.stack([weights[name] * parts[name] for name in PARTS]).sum(), parts


def drop_text(batch: "Batch", party: str, share: float, generator: torch.Generator) -> "Batch":
    """The batch with the words of `party` (user or agent) unknown in at least `share` of its windows, at random."""
    name = f"{party}_text_known_BK"
    num_windows = len(batch.window_id)
    dropped = torch.randperm(num_windows, generator=generator)[: math.ceil(share * num_windows)]
    known_BK = getattr(batch, name).clone()
    known_BK[dropped] = False
    return dataclasses.replace(batch, **{name: known_BK})


def move_identities(batch: "Batch", amount: float, generator: torch.Generator) -> "Batch":
    """Both parties' video latents shifted, whole windows at a time, by random differences between two windows' faces.

    A face's motion hardly depends on whose face it is, and there are few people to learn it from. The difference is of
    other windows, so a window's own future is not in it.
    """
    num_windows = len(batch.window_id)
    if num_windows < 3:
        return batch
    moved = {}
    for party in ("user", "agent"):
        video_BKCHW, known_BK = getattr(batch, f"{party}_video_BKCHW"), getattr(batch, f"{party}_video_known_BK")
        weight_BK111 = known_BK.float()[..., None, None, None]
        face_B1CHW = (video_BKCHW * weight_BK111).sum(1, keepdim=True) / weight_BK111.sum(1, keepdim=True).clamp(min=1)
        start = int(
            torch.randint(1, num_windows - 1, (), generator=generator)
        )  # neither roll brings a window to itself
        share = amount * torch.rand(num_windows, 1, 1, 1, 1, generator=generator)
        shift = share * (face_B1CHW.roll(start + 1, 0) - face_B1CHW.roll(start, 0))
        moved[f"{party}_video_BKCHW"] = video_BKCHW + shift * weight_BK111
    return dataclasses.replace(batch, **moved)


@torch.no_grad()
def fit_prior(model: DuplexModel, batches: Sequence["Batch"]) -> None:
    """Least-squares gains and residual deviation of each latent, given the one before the unit and the mean so far."""
    pasts = [past_of(batch) for batch in batches]
    known = [past.audio_known_BK & batch.agent_audio_known_BK for past, batch in zip(pasts, batches, strict=True)]
    audio = torch.cat([batch.agent_audio_BKNC[on] for batch, on in zip(batches, known, strict=True)])
    last = torch.cat([past.audio_last_BKC[on] for past, on in zip(pasts, known, strict=True)])
    mean = torch.cat([past.audio_mean_BKC[on] for past, on in zip(pasts, known, strict=True)])
    fitted = _regress(audio, last[:, None].expand_as(audio), mean[:, None].expand_as(audio))
    for buffer, value in zip((model.audio_last_gain, model.audio_mean_gain, model.audio_std), fitted, strict=False):
        buffer.copy_(value)
    known = [past.video_known_BK & batch.agent_video_known_BK for past, batch in zip(pasts, batches, strict=True)]
    video = torch.cat([batch.agent_video_BKCHW[on] for batch, on in zip(batches, known, strict=True)])
    last = torch.cat([past.video_last_BKCHW[on] for past, on in zip(pasts, known, strict=True)])
    mean = torch.cat([past.video_mean_BKCHW[on] for past, on in zip(pasts, known, strict=True)])
    fitted = _regress(video, last, mean)
    for buffer, value in zip((model.video_last_gain, model.video_mean_gain, model.video_std), fitted, strict=False):
        buffer.copy_(value)


def _regress(target: Tensor, one: Tensor, two: Tensor) -> tuple[Tensor, ...]:
    """Per element over the first dimension: gains of `one` and `two`, residual deviation; nothing for no examples."""
    if len(target) < 2:
        return ()  # this stream is nowhere known; it is not trained either
    features = torch.stack([one, two], dim=-1).double()
    gram = torch.einsum("n...f,n...g->...fg", features, features) / len(target)
    gram += 1e-4 * torch.eye(2, dtype=torch.float64)  # in a window's second unit the two are the same
    moment = torch.einsum("n...f,n...->...f", features, target.double()) / len(target)
    first = torch.linalg.solve(gram, moment)[..., 0].clamp(0, MAX_LAST_GAIN)
    second = (moment[..., 1] - first * gram[..., 0, 1]) / gram[..., 1, 1]  # the best one beside the first
    second = torch.minimum(second, 1 - first)
    residual = target - first * one - second * two
    return first, second, residual.square().mean(0).clamp(min=1e-4).sqrt()


def train(
    model: DuplexModel,
    config: TrainConfig,
    *,
    batches: Callable[[int], Iterator["Batch"]],
    valid: Sequence["Batch"],
    state_path: Path,
    fingerprint: str,
    on_step: Callable[[int, Row], None] = lambda step, parts: None,
) -> tuple[DuplexModel, list[Row]]:
    """Train from `state_path` if it holds a state with this fingerprint, else from the start.

    Args:
        model: Initialised as the seed says; its weights are changed.
        batches: Start step -> endless batches from there; batch n must not depend on the start.
        valid: Batches of the validation curve.
        state_path: Where states for resuming go; the caller removes it once the result is safe.
        fingerprint: Of everything the result depends on.
        on_step: Called with the step just done and its loss parts.

    Returns:
        The averaged weights in eval mode, and the history: a row every `log_every` steps and at the end.
    """
    with _determinism(config.threads):
        averaged = copy.deepcopy(model).eval()
        optimizer = _optimizer(model, config)
        modules = {"model": model, "averaged": averaged}
        resumed = resume_training(state_path, fingerprint, modules, optimizer) or {}
        step, history = resumed.get("step", 0), resumed.get("history", [])
        sums: dict[str, tuple[float, int]] = resumed.get("sums", {})
        source = batches(step)
        if step == 0:
            fit_prior(model, list(islice(batches(0), config.prior_batches)))
            averaged.load_state_dict(model.state_dict())
        saved_s = time.monotonic()
        while step < config.steps:
            parts, norms = _step(model, optimizer, next(source), step, config)
            _average(averaged, model, min(config.ema_decay, (1 + step) / (10 + step)))
            step += 1
            for name, value in (parts | norms).items():
                total, count = sums.get(name, (0.0, 0))
                sums[name] = (total + value, count + 1)
            if step % config.log_every == 0 or step == config.steps:
                row = {"step": step} | {name: total / count for name, (total, count) in sums.items()}
                history.append(
                    row | {f"valid_{name}": value for name, value in evaluate(averaged, valid, config).items()}
                )
                sums = {}
            if time.monotonic() - saved_s > config.checkpoint_s:
                progress = {"step": step, "history": history, "sums": sums}
                save_training(state_path, fingerprint, modules, optimizer, progress)
                saved_s = time.monotonic()
            on_step(step, parts)
    return averaged, history


@torch.no_grad()
def evaluate(model: DuplexModel, batches: Sequence["Batch"], config: TrainConfig) -> Row:
    """Mean loss and parts with fixed noise and without the user's words."""
    generator = torch.Generator().manual_seed(config.seed)
    total: Row = {}
    for batch in batches:
        batch = drop_text(batch, "user", 1.0, generator)
        loss, parts = duplex_loss(model, batch, generator, config=config)
        for name, value in {"loss": loss, **parts}.items():
            total[name] = total.get(name, 0.0) + float(value) / len(batches)
    return total


def _step(
    model: DuplexModel, optimizer: torch.optim.Optimizer, batch: "Batch", step: int, config: TrainConfig
) -> tuple[Row, Row]:
    seed = config.seed * 1_000_003 + step
    torch.manual_seed(seed)  # dropout; the caller restores the global generator
    model.train()
    for group in optimizer.param_groups:
        group["lr"] = config.learning_rate * _schedule(step, config)
    generator = torch.Generator().manual_seed(seed)
    batch = move_identities(batch, config.identity_jitter, generator)
    batch = drop_text(batch, "user", config.user_text_drop, generator)
    batch = drop_text(batch, "agent", config.agent_text_drop, generator)
    loss, parts = duplex_loss(model, batch, generator, config=config)
    norms = _modality_norms(model, parts, config) if (step + 1) % config.log_every == 0 else {}
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    norms["grad_norm"] = nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip).item()
    optimizer.step()
    return {"loss": loss.item()} | {name: part.item() for name, part in parts.items()}, norms


def _modality_norms(model: DuplexModel, parts: dict[str, Tensor], config: TrainConfig) -> Row:
    """What each weighted part alone asks of the shared blocks: a few audio tokens beside many video ones can drown."""
    shared = list(model.blocks.parameters())
    norms = {}
    for name, weight in _weights(config).items():
        if parts[name].requires_grad:
            gradients = torch.autograd.grad(weight * parts[name], shared, retain_graph=True)
            norms[f"grad_{name}"] = float(torch.stack([g.norm() for g in gradients]).norm())
    return norms


def _weights(config: TrainConfig) -> dict[str, float]:
    return dict(zip(PARTS, (config.text_weight, config.audio_weight, config.video_weight), strict=True))


def _schedule(step: int, config: TrainConfig) -> float:
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    return 0.5 + 0.5 * math.cos(math.pi * (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps))


def _optimizer(model: DuplexModel, config: TrainConfig) -> torch.optim.AdamW:
    matrices = [p for name, p in model.named_parameters() if p.dim() == 2 and "embedding" not in name]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98), fused=True)


@torch.no_grad()
def _average(averaged: DuplexModel, model: DuplexModel, decay: float) -> None:
    torch._foreach_lerp_(list(averaged.parameters()), list(model.parameters()), 1 - decay)


def _flow_weight(tau_BK: Tensor, std: Tensor, known_BK: Tensor) -> Tensor:
    """The velocity's weight in units of what the linear estimate leaves open at this tau.

    A nearly still picture leaves little: without the units its velocity is learnt at small tau only, and drowns beside
    audio. This is the weight of Karras et al. 2022 (1 / c_out^2) with the stream's mean prior variance.
    """
    variance_BK = torch.where(known_BK, std.square().mean(), 1.0)
    left_open_BK = variance_BK / ((1 - tau_BK).square() * variance_BK + tau_BK.square())
    return velocity_weight(tau_BK) / left_open_BK


def _mean_where(x_BK: Tensor, known_BK: Tensor) -> Tensor:
    return (x_BK * known_BK).sum() / known_BK.sum().clamp(min=1)


@contextmanager
def _determinism(threads: int) -> Iterator[None]:
    """Fixed thread count, deterministic kernels, and the global generator left as it was."""
    before, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(before)
        torch.use_deterministic_algorithms(strict)
