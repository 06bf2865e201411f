"""Shared by the stages that train the duplex model: windows + parameters -> weights and their curves, resumable.

Several processes train together when torchrun starts them (wanstreamer/train/parallel.py):

    torchrun --standalone --nproc-per-node 2 -m pipelines.train.duplex
"""

import csv
import dataclasses
import io
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from pipelines.engine.code import code_hash
from pipelines.engine.files import file_sha256, hash_of, write_bytes_atomic
from pipelines.engine.spent import cpu_s
from pipelines.engine.timings import write_timings
from pipelines.train.blend import TrainingWindows, open_training, record, report
from pipelines.train.initial_weights import init_files, starting_from
from pipelines.train.logs import open_logs
from pipelines.train.params import TrainingParams
from wanstreamer.errors import InputError
from wanstreamer.model.attention import Attention
from wanstreamer.model.duplex import DuplexModel, ModelConfig, save_model
from wanstreamer.model.sequence import BEGIN, BLANK, MISSING
from wanstreamer.train.config import TrainConfig
from wanstreamer.train.duplex import train
from wanstreamer.train.parallel import Ranks, join_ranks
from wanstreamer.train.steps import Scalars
from wanstreamer.train.tasks import mix
from wanstreamer.windows.blend import Blend
from wanstreamer.windows.index import Windows
from wanstreamer.windows.loader import Batch, Loader, Manifest, batches_once

LOOKED_AT = 64  # windows, at most, before a warning that no one speaks
# This code and all it imports decide the result: a state made by other code is not continued.
CODE = ("wanstreamer.train.duplex", "wanstreamer.windows.loader", "pipelines.train.initial_weights")


def run_training(
    section: str, data: Path, params: TrainingParams, tasks: dict[str, float] | None = None
) -> dict[str, object]:
    """Train (or finish a killed training) and write `models/<section>/model.safetensors`; returns sizes and losses.

    `tasks`: the tasks to learn instead of conversation, and the share of each. If there are several processes, the
    first writes for all, and the others end here.
    """
    params.check()
    data = data.resolve()
    home = data / "models" / section
    windows = open_training(section, data / "windows", params.data, params.steps * params.batch_size)
    tokenizer = data / "models" / "tokenizer.json"
    config, start = starting_from(params.init_from, model_config(windows.manifest, tokenizer, params), tokenizer)
    train_windows = windows.train
    state_path = home / "state.safetensors"
    began_s, before_s = time.monotonic(), cpu_s()
    done: list[int] = []
    with join_ranks() as ranks:
        if params.batch_size % ranks.num_ranks:
            raise InputError(
                f"{section}.batch_size: {params.batch_size}; expected a multiple of the {ranks.num_ranks} processes"
            )
        if windows.folders:
            _check_tokenizer(windows.manifest, tokenizer)
            ranks.check_equal(
                "the windows to train on", int(hash_of([part.content_sha256 for part in windows.sets])[:15], 16)
            )
            if ranks.first:
                report(section, windows.folders)
        if ranks.first and params.batch_size > len(train_windows):
            print(
                f"{section}: warning: batch_size {params.batch_size} exceeds the {len(train_windows)} windows "
                "of the train split: a step uses some of them several times",
                file=sys.stderr,
            )
        if ranks.first and (num_silent := _silent_windows(windows.sets)):
            print(
                f"{section}: warning: no one speaks in any of {num_silent} windows, taken evenly from the train split: "
                "what is trained on them is silent; look at the tables `speech` and `rejections`",
                file=sys.stderr,
            )
        torch.manual_seed(params.seed)
        model = DuplexModel(config, _attention(ranks, params))
        start(model)
        source = Loader(
            train_windows, batch_size=params.batch_size // ranks.num_ranks, seed=params.seed,
            rank=ranks.rank, num_ranks=ranks.num_ranks,
        )  # fmt: skip
        of_all_ranks = Loader(train_windows, batch_size=params.batch_size, seed=params.seed, prefetch=0)
        valid = _held_out(windows.valid, params) if ranks.first else []
        logs = params.logs if ranks.first else ()
        with (
            show_progress(section, params.steps, ranks.first) as advance,
            open_logs(logs, data / "logs" / section) as log,
        ):

            def on_step(step: int, parts: Scalars) -> None:
                done.append(step)
                advance(step, parts)

            trained, history = train(
                model,
                params,
                source=source,
                prior=lambda: list(islice(of_all_ranks, params.prior_batches)),
                valid=valid,
                state_path=state_path,
                fingerprint=_fingerprint(windows, config, params, init_files(params.init_from), tasks),
                mix=mix(tasks, params.seed) if tasks else None,
                ranks=ranks,
                on_step=on_step,
                on_row=log,
            )
    if not ranks.first:
        sys.exit(0)
    train_s = time.monotonic() - began_s
    save_model(trained, home / "model.safetensors")
    if windows.folders:
        write_bytes_atomic(home / "trained_on.json", record(windows.folders))
    else:
        (home / "trained_on.json").unlink(missing_ok=True)
    write_bytes_atomic(data.parent / "plots" / f"{section}.csv", _curves(history))
    state_path.unlink(missing_ok=True)
    took = {
        "wall_s": round(train_s, 1),
        "train_s": round(train_s, 1),
        "cpu_s": round(cpu_s() - before_s, 1),
        "steps": len(done),
        "step_ms": round(1000 * train_s / max(1, len(done)), 1),
    }
    write_timings(data, section, took, worked=bool(done))
    final = {name: float(f"{value:.5g}") for name, value in history[-1].items() if name != "step"}
    return {
        "steps": params.steps,
        "parameters": sum(p.numel() for p in trained.parameters()),
        "train_windows": len(train_windows),
        "valid_windows": sum(len(batch.window_id) for batch in valid),
        "train": {name: final[name] for name in ("loss", "text", "audio", "video")},
        "valid": {name: final.get(f"valid_{name}") for name in ("loss", "text", "audio", "video")},
        **({"data": list(windows.folders)} if windows.folders else {}),
    }


def model_config(manifest: Manifest, tokenizer: Path, params: TrainingParams) -> ModelConfig:
    """The model that fits these windows. Raises InputError if their special text ids differ from ours."""
    ids = (manifest.blank_id, manifest.missing_id, manifest.begin_id)
    if ids != (BLANK, MISSING, BEGIN):
        raise InputError(
            f"{manifest.folder / 'manifest.json'}: blank, missing and begin ids are {ids}, expected "
            f"{(BLANK, MISSING, BEGIN)}; run the pack stage again"
        )
    if not tokenizer.is_file():
        raise InputError(f"{tokenizer}: no such file; run the pack stage first")
    channels, height, width = manifest.field_shapes["agent_video"][1:]
    return ModelConfig(
        audio_channels=manifest.field_shapes["agent_audio"][2],
        video_channels=channels,
        video_height=height,
        video_width=width,
        vocab_size=manifest.vocab_size,
        text_slots=manifest.text_slots,
        d_model=params.d_model,
        num_layers=params.num_layers,
        num_heads=params.num_heads,
        num_kv_heads=params.num_heads,
        d_ff=params.d_ff,
        dropout=params.dropout,
        token_dropout=params.token_dropout,
        self_lag=params.self_lag,
        audio_codec=manifest.audio_codec or "",
        video_codec=manifest.video_codec or "",
        tokenizer=file_sha256(tokenizer),
    )


def _attention(ranks: Ranks, params: TrainingParams) -> Attention:
    """FlexAttention, once compiled, skips what the mask hides; it has no backward pass on a CPU."""
    return Attention(windows="flex" if ranks.device != "cpu" and params.compile else "sdpa")


def _check_tokenizer(manifest: Manifest, tokenizer: Path) -> None:
    if (ours := file_sha256(tokenizer)) != manifest.tokenizer_sha256:
        raise InputError(
            f"{tokenizer}: its sha256 is {ours[:12]}, but {manifest.folder} was packed with the tokenizer "
            f"{manifest.tokenizer_sha256[:12]}; copy the models/tokenizer.json of that data folder here"
        )


def _silent_windows(sets: Sequence[Windows]) -> int:
    """How many windows were looked at, if no one speaks in any of them, as far as is known; else 0."""
    looked_at = 0
    for windows in sets:
        stride = -(-len(windows) // LOOKED_AT)
        some = windows.take(slice(None, None, stride))
        if any(bool((batch.labels_BKL[..., :2] > 0).any()) for batch in batches_once(some, 8)):
            return 0
        looked_at += len(some)
    return looked_at


def _held_out(sets: Sequence[tuple[Windows, float]], params: TrainingParams) -> list[Batch]:
    """Batches of the validation curve. If a small corpus has no valid split, the curve is empty."""
    batches: list[Batch] = []
    for held_out, share in sets:
        stride = -(-len(held_out) // max(1, round(params.valid_windows * share)))
        batches += batches_once(held_out.take(slice(None, None, stride)), params.batch_size)
    return batches


def _fingerprint(
    windows: TrainingWindows,
    config: ModelConfig,
    training: TrainConfig,
    init: list[Path],
    tasks: dict[str, float] | None,
) -> str:
    """Fingerprint of everything that the weights depend on, except the number of processes."""
    names = [field.name for field in dataclasses.fields(TrainConfig) if field.name != "checkpoint_s"]
    settings = {name: getattr(training, name) for name in names}
    # Of windows, not of the folders and shards they lie in.
    held_out: list[str | None] = [part.content_sha256 for part, _ in windows.valid]
    train_windows = windows.train
    trained = train_windows.stream() if isinstance(train_windows, Blend) else train_windows.content_sha256
    content = [trained, *(held_out or [None])]
    parts = [torch.__version__, code_hash(*CODE), *(file_sha256(path) for path in init)]
    return hash_of([content, parts, asdict(config), settings, tasks])


def _curves(history: list[Scalars]) -> bytes:
    losses = ["loss", "text", "audio", "video"]
    columns = ["step", *losses, *(f"valid_{name}" for name in losses)]
    columns += ["grad_norm", "grad_text", "grad_audio", "grad_video"]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row in history:
        writer.writerow({name: f"{row[name]:.6g}" if name in row else "" for name in columns})
    return text.getvalue().encode()


@contextmanager
def show_progress(section: str, total: int, shown: bool) -> Iterator[Callable[[int, Scalars], None]]:
    """If `shown`: a bar with the running loss on a terminal, a line about every twenty seconds elsewhere."""
    console = Console(stderr=True)
    columns = (
        TextColumn(section),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    smooth: Scalars = {}
    printed_s = time.monotonic()
    with Progress(*columns, console=console, disable=not (shown and console.is_terminal)) as bars:
        task = bars.add_task("", total=total)

        def advance(step: int, parts: Scalars) -> None:
            nonlocal printed_s
            for name, value in parts.items():
                smooth[name] = 0.98 * smooth.get(name, value) + 0.02 * value
            described = " ".join(f"{name} {value:.3f}" for name, value in smooth.items())
            bars.update(task, completed=step, description=described)
            if shown and not console.is_terminal and (time.monotonic() - printed_s > 20 or step == total):
                printed_s = time.monotonic()
                print(f"{section}: {step}/{total} {described}", file=sys.stderr, flush=True)

        yield advance
