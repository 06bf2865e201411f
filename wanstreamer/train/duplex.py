"""Windows -> a trained duplex model: text cross-entropy plus joint flow matching, resumable to the exact step.

Every step draws its random numbers from the seed and its own number. One file contains weights, optimiser, average,
place in the stream and history. A killed and continued run therefore ends with the same bytes as an uninterrupted one:
on the CPU, alone or with two ranks (with more, gloo may add in another order after a start). The number of ranks that
share a step's windows, and the number of windows per pass, change only the last digits of sums.

On a GPU, the passes run compiled and in bfloat16 if the config says so; weights, losses and optimiser stay float32.
"""

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils import deterministic

from wanstreamer.checkpoint import resume_training, save_training
from wanstreamer.model.dropout import draw_dropped
from wanstreamer.model.duplex import DuplexModel
from wanstreamer.train.config import TrainConfig
from wanstreamer.train.draws import StepInputs, drop_text, make_noisy, move_identities
from wanstreamer.train.fit_prior import fit_prior
from wanstreamer.train.loss import PARTS, event_units, interrupting_units, part_counts, part_sums, silent_units
from wanstreamer.train.parallel import ALONE, Ranks
from wanstreamer.train.steps import Scalars, average_weights, step_generator
from wanstreamer.train.tasks import Mix

if TYPE_CHECKING:
    from wanstreamer.windows.loader import Batch


class Source(Protocol):
    """This rank's windows, step by step; `wanstreamer.windows.loader.Loader` is one."""

    def __iter__(self) -> Iterator["Batch"]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


def train(
    model: DuplexModel,
    config: TrainConfig,
    *,
    source: Source,
    prior: Callable[[], Sequence["Batch"]],
    valid: Sequence["Batch"],
    state_path: Path,
    fingerprint: str,
    mix: Mix | None = None,
    ranks: Ranks = ALONE,
    on_step: Callable[[int, Scalars], None] = lambda step, parts: None,
    on_row: Callable[[Scalars], None] = lambda row: None,
) -> tuple[DuplexModel, list[Scalars]]:
    """Train from `state_path` if it holds a state with this fingerprint, else from the start.

    Args:
        model: Initialised from the seed, equally on every rank; its weights are changed.
        source: This rank's `batch_size / num_ranks` windows of each step.
        prior: Windows that the prior is fitted on, the same on every rank; called when training starts.
        valid: Batches of the validation curve; only the first rank uses them.
        state_path: File of the states for resuming; the caller removes it once the result is safe. All ranks read the
            state of the first.
        fingerprint: Of everything that the result depends on.
        mix: The tasks that are learnt, if not duplex conversation (wanstreamer/train/tasks.py).
        ranks: This process among those that train together.
        on_step: Called with the step just done and its loss parts.
        on_row: Called with each row of the history; a continued run starts with its earlier rows.

    Returns:
        The averaged weights in eval mode on the CPU, and the history: a row every `log_every` steps and at the end.
    """
    with _determinism(config.threads, ranks.device):
        model.to(ranks.device)
        averaged = copy.deepcopy(model).eval()
        optimizer = make_optimizer(model, config)
        modules = {"model": model, "averaged": averaged}
        resumed = resume_training(state_path, fingerprint, modules, optimizer) or {}
        step, history = resumed.get("step", 0), resumed.get("history", [])
        sums: dict[str, tuple[float, int]] = resumed.get("sums", {})
        ranks.check_equal("the step to go on from", step)
        if resumed:
            source.load_state_dict(resumed["source"])
        else:
            fit_prior(model, prior())
            averaged.load_state_dict(model.state_dict())
        for row in history:
            on_row(row)
        passes = Passes(model, config, ranks)
        batches = iter(source)
        saved_s = time.monotonic()
        while step < config.steps:
            inputs = draw_inputs(next(batches), model, config, step, mix=mix, ranks=ranks)
            parts, norms = train_step(passes, optimizer, inputs, step)
            average_weights(averaged, model, decay=config.ema_decay, step=step)
            step += 1
            for name, value in (parts | norms).items():
                total, count = sums.get(name, (0.0, 0))
                sums[name] = (total + value, count + 1)
            if step % config.log_every == 0 or step == config.steps:
                row = {"step": step} | {name: total / count for name, (total, count) in sums.items()}
                figures = evaluate(averaged, valid, config) if ranks.first else {}
                history.append(row | {f"valid_{name}": value for name, value in figures.items()})
                on_row(history[-1])
                sums = {}
            if ranks.first and time.monotonic() - saved_s > config.checkpoint_s:
                progress = {"step": step, "history": history, "sums": sums, "source": source.state_dict()}
                save_training(state_path, fingerprint, modules, optimizer, progress)
                saved_s = time.monotonic()
            on_step(step, parts)
    return averaged.to("cpu"), history


def draw_inputs(
    batch: "Batch",
    model: DuplexModel,
    config: TrainConfig,
    step: int,
    *,
    mix: Mix | None = None,
    ranks: Ranks = ALONE,
) -> StepInputs:
    """The model's input of a rank's windows at a step; all its random numbers are drawn here."""
    batch = batch.to(ranks.device, non_blocking=True)
    num_windows, num_units = len(batch.window_id), batch.agent_text_BKS.shape[1]
    generator = step_generator(config.seed, step)
    batch = move_identities(batch, config.identity_jitter, generator, ranks)
    batch = drop_text(batch, "user", config.user_text_drop, generator, ranks)
    batch = drop_text(batch, "agent", config.agent_text_drop, generator, ranks)
    weight_BK = torch.where(event_units(batch.labels_BKL), config.event_weight, 1.0)
    weight_BK = torch.where(interrupting_units(batch.labels_BKL), config.interrupting_weight, weight_BK)
    text_weight_BK = weight_BK * torch.where(silent_units(batch.labels_BKL), config.silence_weight, 1.0)
    weight_BKW = torch.stack([text_weight_BK, weight_BK, weight_BK], dim=-1)
    if mix:
        first = (step * ranks.num_ranks + ranks.rank) * num_windows
        batch, of_tasks = mix(batch, range(first, first + num_windows))
        weight_BKW = weight_BKW * of_tasks
    noisy = make_noisy(batch, generator, ranks)
    drawn = draw_dropped(model.config, num_windows * ranks.num_ranks, num_units, step_generator(config.seed, step))
    return StepInputs(batch, noisy, weight_BKW, drawn.map(ranks.own))


class Passes:
    """The passes of a training step through a model, and the sums of their losses."""

    def __init__(self, model: DuplexModel, config: TrainConfig, ranks: Ranks = ALONE) -> None:
        self.model, self.config, self.ranks = model, config, ranks
        self.accelerated = accelerated(ranks.device)
        if self.accelerated and config.compile:
            for block in model.blocks:  # one small graph, compiled once for all layers
                block.compile()
        self.shared = ranks.share(model)

    def sums(self, inputs: StepInputs) -> Tensor:
        """The loss's sums (W,) over these windows."""
        device = torch.device(self.ranks.device).type
        with torch.autocast(device, torch.bfloat16, enabled=self.accelerated and self.config.bfloat16):
            output = self.shared(inputs.batch, inputs.noisy, inputs.dropped)
        return part_sums(self.model, output, inputs.batch, inputs.noisy.tau_BK, inputs.weight_BKW)

    def adding_up(self) -> AbstractContextManager[None]:
        """Inside, gradients stay on this rank, as more passes follow."""
        return self.shared.no_sync() if isinstance(self.shared, DistributedDataParallel) else nullcontext()


def train_step(
    passes: Passes, optimizer: torch.optim.Optimizer, inputs: StepInputs, step: int
) -> tuple[Scalars, Scalars]:
    """One update of the weights; returns the loss with its parts and gradient norms, the same on all ranks."""
    model, config, ranks = passes.model, passes.config, passes.ranks
    for group in optimizer.param_groups:
        group["lr"] = config.learning_rate * _schedule(step, config)
    weights_W = part_weights(config, ranks.device)
    counts_W = ranks.sum(part_counts(inputs.batch, inputs.weight_BKW)).clamp(min=1)
    num_windows = len(inputs.batch.window_id)
    micro_batch = config.micro_batch or num_windows
    looks = (step + 1) % config.log_every == 0
    parts_W = torch.zeros_like(weights_W)
    gradients = [[torch.zeros_like(p) for p in model.blocks.parameters()] for _ in PARTS] if looks else []
    optimizer.zero_grad(set_to_none=True)
    for start in range(0, num_windows, micro_batch):
        with passes.adding_up() if start + micro_batch < num_windows else nullcontext():
            share_W = passes.sums(inputs.take(start, start + micro_batch)) / counts_W
            for part, sums in enumerate(gradients):
                _add_gradient(weights_W[part] * share_W[part], model, sums)
            # DDP averages over ranks, but their shares must be summed.
            (ranks.num_ranks * (weights_W * share_W).sum()).backward()
        parts_W += share_W.detach()
    norms = {
        f"grad_{name}": float(torch.stack([ranks.sum(g).norm() for g in sums]).norm())
        for name, sums in zip(PARTS, gradients, strict=False)
    }
    norms["grad_norm"] = nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip).item()
    optimizer.step()
    parts_W = ranks.sum(parts_W)
    return {"loss": (weights_W * parts_W).sum().item()} | dict(zip(PARTS, parts_W.tolist(), strict=True)), norms


def _add_gradient(loss: Tensor, model: DuplexModel, sums: list[Tensor]) -> None:
    """Add one weighted part's own gradient of the shared blocks: many video tokens can drown a few audio tokens."""
    gradient = torch.autograd.grad(loss, list(model.blocks.parameters()), retain_graph=True)
    torch._foreach_add_(sums, list(gradient))


@torch.no_grad()
def evaluate(model: DuplexModel, batches: Sequence["Batch"], config: TrainConfig) -> Scalars:
    """Mean loss and parts with fixed noise and without the user's words."""
    generator = torch.Generator().manual_seed(config.seed)
    total: Scalars = {}
    for batch in batches:
        batch = drop_text(batch.to(model.device), "user", 1.0, generator)
        loss, parts_W = duplex_loss(model, batch, generator, config)
        for name, value in zip(("loss", *PARTS), (loss, *parts_W), strict=True):
            total[name] = total.get(name, 0.0) + float(value) / len(batches)
    return total


def duplex_loss(
    model: DuplexModel, batch: "Batch", generator: torch.Generator, config: TrainConfig
) -> tuple[Tensor, Tensor]:
    """The loss of a single batch without dropout, and its unweighted parts (W,)."""
    noisy = make_noisy(batch, generator, Ranks(device=str(model.device)))
    weight_BKW = torch.ones(*batch.agent_text_BKS.shape[:2], len(PARTS), device=model.device)
    sums_W = part_sums(model, model(batch, noisy), batch, noisy.tau_BK, weight_BKW)
    parts_W = sums_W / part_counts(batch, weight_BKW).clamp(min=1)
    return (part_weights(config, str(model.device)) * parts_W).sum(), parts_W


def part_weights(config: TrainConfig, device: str = "cpu") -> Tensor:
    return torch.tensor([config.text_weight, config.audio_weight, config.video_weight], device=device)


def make_optimizer(model: DuplexModel, config: TrainConfig) -> torch.optim.AdamW:
    matrices = [p for name, p in model.named_parameters() if p.dim() == 2 and "embedding" not in name]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98), fused=True)


def accelerated(device: str) -> bool:
    """Whether bfloat16 and compiling are available. On a CPU, neither pays off within minutes."""
    return device.startswith("cuda")


def _schedule(step: int, config: TrainConfig) -> float:
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    return 0.5 + 0.5 * math.cos(math.pi * (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps))


@contextmanager
def _determinism(threads: int, device: str) -> Iterator[None]:
    """Fixed thread count and, on a CPU, deterministic kernels; a GPU lacks them for some of the passes."""
    before, strict = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    filling = deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    torch.set_num_threads(threads)
    # Unlike `use_deterministic_algorithms` it does not import the compiler, which takes seconds and is for a GPU only.
    torch.set_deterministic_debug_mode("error" if device == "cpu" else "default")
    # Nothing here reads uninitialised memory, and filling it takes 4 % of a step.
    deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.set_num_threads(before)
        torch.set_deterministic_debug_mode(strict)
        deterministic.fill_uninitialized_memory = filling  # type: ignore[attr-defined]
