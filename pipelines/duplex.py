"""Windows -> a duplex model: text cross-entropy and joint flow matching on the train split, resumable, same bytes.

Reads `windows/`, `models/tokenizer.json`; writes `models/duplex/model.safetensors` and `<data>/../plots/duplex.csv`.
While it runs, `models/duplex/state.safetensors` holds what a killed run continues from.
"""

import csv
import dataclasses
import hashlib
import io
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

import wanstreamer
from pipelines.files import file_sha256, write_bytes_atomic, write_json_atomic
from pipelines.stage import stage_main
from pipelines.tokenizer import load_tokenizer
from wanstreamer.data import Batch, Manifest, batches, batches_once, open_windows, read_manifest
from wanstreamer.errors import InputError
from wanstreamer.language_model import LanguageModel, load_language_model, read_language_model
from wanstreamer.model import DuplexModel, ModelConfig, save_model
from wanstreamer.sequence import BEGIN, BLANK, FIRST_WORD, MISSING
from wanstreamer.train.duplex import Row, TrainConfig, train

# The files whose code decides the result: a state made by other code is not continued.
CODE = (
    "attention", "batch", "blocks", "cache", "checkpoint", "data", "flow", "language_model", "model", "model_config",
    "perception", "prior", "sequence", "shards", "train/duplex", "windows",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class DuplexParams:
    """The model's size and its training; together with windows and seed they fix the weights' bytes."""

    steps: int = 1400  # four to five minutes on one core; the sample is 20 minutes of dialogue
    batch_size: int = 4  # windows; more steps beat larger batches at this size
    learning_rate: float = 2e-3  # peak
    warmup_steps: int = 100
    weight_decay: float = 0.05
    dropout: float = 0.1  # of what a block adds
    token_dropout: float = 0.05  # share of clean tokens that lose their content
    identity_jitter: float = 1.0  # how far faces are moved towards other faces
    ema_decay: float = 0.998  # of the averaged weights, which are what is saved
    text_weight: float = 1.0  # loss weights; the paper gives none. Text alone asks most of the shared blocks
    audio_weight: float = 5.0
    video_weight: float = 3.0
    user_text_drop: float = 0.5  # share of windows without the user's words; live use has none
    agent_text_drop: float = 0.5  # and without the agent's: sound and face then follow from the conversation alone
    # Folder of a Qwen3 language model to start from: its shape replaces d_model to d_ff, and pack.tokenizer must name
    # it too. '' starts at random.
    init_from: str = ""
    d_model: int = 128
    num_layers: int = 4
    num_heads: int = 4  # of 32 dimensions
    d_ff: int = 352
    valid_windows: int = 32  # of the validation curve, spread over the split
    log_every: int = 100  # steps between points of the curves
    checkpoint_s: float = 30.0  # wall-clock seconds between states; changes no result
    threads: int = 1  # of torch: two are slower at this size. Sums depend on it, so it is part of the result
    seed: int = 0

    def check(self) -> None:
        """Raises InputError when there is no such language model: known before any stage runs."""
        if self.init_from:
            read_language_model(Path(self.init_from))


def run(data: Path, params: DuplexParams, *, workers: int) -> dict[str, object]:
    """Train (or finish a killed training) and write the model; returns sizes and final losses.

    `workers` changes nothing: one model trains in one process, on `params.threads` threads.
    """
    _check(params)
    data = data.resolve()
    windows, home = data / "windows", data / "models" / "duplex"
    manifest = read_manifest(windows)
    tokenizer = data / "models" / "tokenizer.json"
    config = model_config(manifest, tokenizer, params)
    language_model = _language_model(params, tokenizer)
    if language_model:
        config = dataclasses.replace(config, **language_model.trunk)
    torch.manual_seed(params.seed)
    model = DuplexModel(config)
    if language_model:
        load_language_model(model, language_model)
    training = _train_config(params)
    num_train = len(open_windows(windows, "train").rows)
    valid: list[Batch] = []  # a corpus of few people may have no valid split; the curve is then empty
    if "valid" in {shard["split"] for shard in manifest.shards}:
        held_out = open_windows(windows, "valid")
        stride = -(-len(held_out.rows) // params.valid_windows)
        valid = list(batches_once(dataclasses.replace(held_out, rows=held_out.rows[::stride]), params.batch_size))
    state_path = home / "state.safetensors"
    began_s = time.monotonic()
    done: list[int] = []
    with _progress(params.steps) as advance:

        def on_step(step: int, parts: Row) -> None:
            done.append(step)
            advance(step, parts)

        trained, history = train(
            model,
            training,
            batches=lambda start: batches(
                windows, "train", batch_size=params.batch_size, seed=params.seed, position=start * params.batch_size
            ),
            valid=valid,
            state_path=state_path,
            fingerprint=_fingerprint(windows, config, training, language_model),
            on_step=on_step,
        )
    train_s = time.monotonic() - began_s
    save_model(trained, home / "model.safetensors")
    write_bytes_atomic(data.parent / "plots" / "duplex.csv", _curves(history))
    state_path.unlink(missing_ok=True)
    timings = {"train_s": round(train_s, 1), "step_ms": round(1000 * train_s / max(1, len(done)), 1)}
    write_json_atomic(data / "timings" / "duplex.json", timings)
    final = {name: float(f"{value:.5g}") for name, value in history[-1].items() if name != "step"}
    return {
        "steps": params.steps,
        "parameters": sum(p.numel() for p in trained.parameters()),
        "train_windows": num_train,
        "valid_windows": sum(len(batch.window_id) for batch in valid),
        "train": {name: final[name] for name in ("loss", "text", "audio", "video")},
        "valid": {name: final.get(f"valid_{name}") for name in ("loss", "text", "audio", "video")},
    }


def model_config(manifest: Manifest, tokenizer: Path, params: DuplexParams) -> ModelConfig:
    """The model that fits these windows. Raises InputError when they were packed with other text ids than ours."""
    ids = (manifest.blank_id, manifest.missing_id, manifest.begin_id)
    if ids != (BLANK, MISSING, BEGIN):
        raise InputError(
            f"{manifest.folder / 'manifest.json'}: blank, missing and begin ids are {ids}, expected "
            f"{(BLANK, MISSING, BEGIN)}; pack the windows again"
        )
    if not tokenizer.is_file():
        raise InputError(f"{tokenizer}: no such file; run the pack stage")
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
        audio_codec=manifest.audio_codec or "",
        video_codec=manifest.video_codec or "",
        tokenizer=file_sha256(tokenizer),
    )


def _language_model(params: DuplexParams, tokenizer: Path) -> LanguageModel | None:
    """The one to start from. Raises InputError when the windows' text ids are not its own, shifted behind ours."""
    if not params.init_from:
        return None
    language_model = read_language_model(Path(params.init_from))
    packed, own = load_tokenizer(tokenizer), load_tokenizer(Path(params.init_from))
    if packed.offset != FIRST_WORD or packed.tokenizer.get_vocab() != own.tokenizer.get_vocab():
        raise InputError(
            f"{tokenizer}: {packed.vocab_size} ids that are not those of {params.init_from}; set pack.tokenizer to "
            "duplex.init_from and run the pack stage again"
        )
    return language_model


def _train_config(params: DuplexParams) -> TrainConfig:
    shared = {field.name for field in dataclasses.fields(TrainConfig)}
    return TrainConfig(**{name: value for name, value in asdict(params).items() if name in shared})


def _check(params: DuplexParams) -> None:
    for name in (
        "steps",
        "batch_size",
        "threads",
        "log_every",
        "valid_windows",
        "d_model",
        "num_layers",
        "num_heads",
        "d_ff",
    ):
        if getattr(params, name) < 1:
            raise InputError(f"duplex.{name}: {getattr(params, name)}; expected 1 or more")
    for name in ("user_text_drop", "agent_text_drop", "dropout", "token_dropout", "ema_decay"):
        if not 0 <= getattr(params, name) <= 1:
            raise InputError(f"duplex.{name}: {getattr(params, name)}; expected a share between 0 and 1")


def _fingerprint(
    windows: Path, config: ModelConfig, training: TrainConfig, language_model: LanguageModel | None
) -> str:
    """Of everything the weights depend on: a state with another one belongs to another run."""
    home = Path(wanstreamer.__file__).parent
    settings = {name: value for name, value in asdict(training).items() if name != "checkpoint_s"}
    parts = [file_sha256(windows / "manifest.json"), file_sha256(windows / "index.parquet"), torch.__version__]
    parts += [file_sha256(home / f"{name}.py") for name in CODE]
    if language_model:
        parts += [file_sha256(path) for path in sorted(set(language_model.files.values()))]
    return hashlib.sha256(json.dumps([parts, asdict(config), settings], sort_keys=True).encode()).hexdigest()


def _curves(history: list[Row]) -> bytes:
    losses = ["loss", "text", "audio", "video"]
    columns = ["step", *losses, *(f"valid_{name}" for name in losses)]
    columns += ["grad_norm", "grad_text", "grad_audio", "grad_video"]
    held = io.StringIO()
    writer = csv.DictWriter(held, columns, lineterminator="\n")
    writer.writeheader()
    for row in history:
        writer.writerow({name: f"{row[name]:.6g}" if name in row else "" for name in columns})
    return held.getvalue().encode()


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int, Row], None]]:
    """A bar with the running loss on a terminal, a line about every twenty seconds elsewhere."""
    console = Console(stderr=True)
    columns = (
        TextColumn("duplex"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    smooth: Row = {}
    said_s = time.monotonic()
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        task = bars.add_task("", total=total)

        def advance(step: int, parts: Row) -> None:
            nonlocal said_s
            for name, value in parts.items():
                smooth[name] = 0.98 * smooth.get(name, value) + 0.02 * value
            described = " ".join(f"{name} {value:.3f}" for name, value in smooth.items())
            bars.update(task, completed=step, description=described)
            if not console.is_terminal and (time.monotonic() - said_s > 20 or step == total):
                said_s = time.monotonic()
                print(f"duplex: {step}/{total} {described}", file=sys.stderr, flush=True)

        yield advance


def main() -> None:
    stage_main("duplex", DuplexParams, run)


if __name__ == "__main__":
    main()
