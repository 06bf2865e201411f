"""What the training stages cost: per step, and apart from steps; part of `tools.bench cost`."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from pipelines.engine.spent import cpu_s
from pipelines.engine.tables import read_rows
from pipelines.media.tracks import read_frames
from pipelines.train.params import DuplexParams
from pipelines.vae.params import VaeParams
from tools.bench.resources import threads
from tools.bench.stage_costs import LARGE, RATES_HZ, SMALL, Setting, run_stage
from tools.plan.amounts import track_mpx
from tools.plan.slopes import fit
from tools.plan.training import KINDS, UNIT_S, duplex_config, duplex_flops, vae_factors
from wanstreamer.clock import FRAMES_PER_UNIT, samples_per_unit
from wanstreamer.errors import InputError
from wanstreamer.train.vae import train_vae
from wanstreamer.train.vae_config import VaeTrainConfig
from wanstreamer.vae import AudioVAE, AudioVAEConfig, VideoVAE, VideoVAEConfig
from wanstreamer.windows.manifest import read_manifest

# Of the trainings that are timed: the media of a clip, clips per step, units per clip, and two numbers of steps. Their
# difference takes seconds, so that it stands out from how much a start differs.
TRAININGS: dict[str, tuple[tuple[tuple[int, int], int, int, tuple[int, int]], ...]] = {
    "audio": ((SMALL, 4, 8, (10, 110)), (SMALL, 2, 4, (10, 110))),
    "video": ((SMALL, 8, 4, (5, 55)), (LARGE, 1, 2, (2, 22))),
}
DUPLEX_STEPS = (10, 50)
TRACK_UNITS = 100  # of the media that a VAE is trained on


def vae_slopes(settings: Sequence[Setting]) -> dict[str, float]:
    """CPU seconds of the factors of `vae_factors`. `settings`: with tracks and VAEs."""
    slopes: dict[str, float] = {}
    for kind, trainings in TRAININGS.items():
        taken = [_training_s(kind, *training) for training in trainings]
        rows = [{"step": 1.0, "amount": amount} for _, _, amount in taken]
        fitted, _ = fit(rows, ("step", "amount"), [step_s for step_s, _, _ in taken])
        slopes |= {f"{kind}_steps": fitted["step"], f"{kind}_step_amount": fitted["amount"]}
        slopes[f"{kind}_training"] = taken[0][1]
    return slopes | _judging_slopes(settings)


def _training_s(
    kind: str, size: tuple[int, int], batch: int, clip_units: int, steps: tuple[int, int]
) -> tuple[float, float, float]:
    """CPU seconds of a step, those of a training apart from its steps, and how much media a step reads."""
    rate_hz, (width, height) = RATES_HZ[size], size
    torch.manual_seed(0)
    if kind == "audio":
        track: Tensor = torch.rand(TRACK_UNITS * samples_per_unit(rate_hz)) - 0.5
        amount = batch * clip_units * UNIT_S
    else:
        track = torch.randint(0, 256, (TRACK_UNITS * FRAMES_PER_UNIT, height, width, 3), dtype=torch.uint8)
        amount = track_mpx(batch * clip_units * UNIT_S, width, height)
    taken_s = []
    for count in (1, *steps):  # the first prepares the kernels
        model = (
            AudioVAE(AudioVAEConfig(rate_hz=rate_hz))
            if kind == "audio"
            else VideoVAE(VideoVAEConfig(width=width, height=height))
        )
        config = VaeTrainConfig(steps=count, batch=batch, clip_units=clip_units)
        with tempfile.TemporaryDirectory() as folder, threads(1):
            before_s = cpu_s()
            train_vae(model, [track], [], config, state_path=Path(folder) / "state.safetensors", fingerprint="")
            taken_s.append(cpu_s() - before_s)
    few_s, many_s = taken_s[1:]
    step_s = (many_s - few_s) / (steps[1] - steps[0])
    if step_s <= 0:
        raise InputError(
            f"bench cost: {steps[1]} steps of the {kind} VAE took {many_s:.1f} CPU seconds, and {steps[0]} took "
            f"{few_s:.1f}: this machine is too busy to measure; run it again when it is idle"
        )
    return step_s, max(0.0, few_s - steps[0] * step_s), amount


def _judging_slopes(settings: Sequence[Setting]) -> dict[str, float]:
    """Of reading tracks, and of comparing a VAE with its baseline, which the stage does for finished weights too."""
    rows, costs = [], []
    read_s_per_mpx = 0.0
    for setting in settings:
        tracks = read_rows(setting.data, "tracks")
        by_kind = {kind: [(row["split"], row["num_units"]) for row in tracks if row[f"{kind}_path"]] for kind in KINDS}
        params = VaeParams(weights=str(setting.data / "models" / "vae"))
        factors = vae_factors(params, by_kind, *setting.track_size)
        rows.append({"vae": 1.0, **{name: value for values in factors.values() for name, value in values.items()}})
        videos = [setting.data / row["video_path"] for row in tracks if row["video_path"]]
        if videos:
            before_s = cpu_s()
            frames_THWC = read_frames(videos[0])
            read_s_per_mpx = (cpu_s() - before_s) / (frames_THWC[..., 0].size / 1e6)
        cost = run_stage(setting, "vae", f"vae.weights={setting.data / 'models' / 'vae'}")
        costs.append(cost["cpu_s"] - read_s_per_mpx * rows[-1].get("video_read", 0.0))
    names = ("vae", "audio_judged", "video_judged")
    fitted, _ = fit([{name: row.get(name, 0.0) for name in names} for row in rows], names, costs)
    return fitted | {"audio_read": 0.0, "video_read": read_s_per_mpx}


def duplex_slopes(setting: Setting) -> dict[str, float]:
    """Operations per second of the steps of `duplex`, and the seconds apart from steps: CPU time, or time of a GPU."""
    figure = "train_s" if torch.cuda.is_available() else "cpu_s"
    taken_s = []
    for steps in DUPLEX_STEPS:
        shutil.rmtree(setting.data / "models" / "duplex", ignore_errors=True)
        cost = run_stage(setting, "duplex", f"duplex.steps={steps}", module="pipelines.train.duplex")
        taken_s.append(cost[figure])
    manifest = read_manifest(setting.data / "windows")
    audio, video = (manifest.field_shapes[f"agent_{kind}"] for kind in KINDS)
    config = duplex_config(
        DuplexParams(), audio_channels=audio[2], video_shape=(video[1], video[2], video[3]),
        vocab_size=manifest.vocab_size, text_slots=manifest.text_slots,
    )  # fmt: skip
    params = DuplexParams(steps=DUPLEX_STEPS[1] - DUPLEX_STEPS[0])
    flops_per_s = duplex_flops(params, config, manifest.window_units) / (taken_s[1] - taken_s[0])
    of_steps_s = DUPLEX_STEPS[0] * (taken_s[1] - taken_s[0]) / (DUPLEX_STEPS[1] - DUPLEX_STEPS[0])
    return {"flops_per_s": flops_per_s, "const_s": max(0.0, taken_s[0] - of_steps_s)}
