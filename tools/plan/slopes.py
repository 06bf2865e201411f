"""Slopes: what a unit of each factor costs, and on which machine it was measured.

`tools.bench cost` measures them and writes a file; slopes.json next to this module is such a file.
"""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from tools.plan.amounts import BULK_FACTORS, FACTORS
from wanstreamer.errors import InputError

SHIPPED = Path(__file__).with_name("slopes.json")
VERSION = 1
BENCH = "python -m tools.bench cost --out FILE"
# The part of a machine's speed that decides the cost of a stage: of decoding and encoding media, of neural networks on
# one thread, or of Python itself.
SPEEDS = {
    "ingest": "media", "quality": "media", "annotate": "networks", "vae": "networks", "encode": "networks",
    "pack": "python", "duplex": "networks",
}  # fmt: skip

OF_BULK = ("driver_s", "tables_mb")  # what has slopes for BULK_FACTORS

Costs = dict[str, dict[str, float]]  # stage -> factor -> cost of one unit of the factor


@dataclass(frozen=True, kw_only=True)
class Start:
    """Wall-clock seconds of a stage besides its sessions, however large the corpus."""

    ray_s: float
    plain_s: float  # without Ray


@dataclass(frozen=True, kw_only=True)
class Slopes:
    """A measurement; see the module's docstring."""

    version: int
    date: str
    machine: dict[str, Any]  # processor, cores, GPU, versions
    speeds: dict[str, float]  # CPU seconds of the tasks of calibrate.py
    start: dict[str, Start]
    cpu_s: Costs  # of the work on sessions
    driver_s: Costs  # of the one process that leads a stage, per session
    gpu_s: Costs  # empty if there was no GPU
    tables_mb: Costs  # Parquet on disk
    bytes_per_frame: tuple[float, float]  # a, b: a frame of a track takes a * pixels ** b bytes
    codecs: dict[str, float]  # CPU time to decode a pixel, compared with H.264
    vae: dict[str, float]  # training.py
    duplex: dict[str, float]  # training.py
    errors: dict[str, float]  # largest relative error of the fit, by stage
    measured: list[dict[str, Any]]  # each recording and stage: what the slopes were fitted to
    scaled_to: dict[str, float] | None = None  # speeds of another machine that the CPU times were scaled to

    def machine_text(self) -> str:
        gpu = f", {self.machine['gpu']}" if self.machine.get("gpu") else ""
        return f"{self.machine['processor']}, {self.machine['cores']} cores{gpu}"


def this_machine() -> dict[str, Any]:
    """What decides speed, in words."""
    import torch

    return {
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else "",
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def read_slopes(path: Path | None) -> Slopes:
    """The slopes of a file; without one, those that are shipped. Raises InputError."""
    path = path or SHIPPED
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"--slopes {path}: no such file; `{BENCH}` measures this machine and writes one") from error
    except (OSError, ValueError) as error:
        raise InputError(f"--slopes {path}: not readable as JSON; measure again with `{BENCH}`") from error
    names = {field.name for field in fields(Slopes)}
    if not isinstance(content, dict) or content.get("version") != VERSION or set(content) != names:
        raise InputError(f"--slopes {path}: not slopes of this version; measure again with `{BENCH}`")
    for kind in ("cpu_s", *OF_BULK):
        for stage, factors in FACTORS.items():
            for factor in BULK_FACTORS if kind in OF_BULK else factors:
                if factor not in content[kind].get(stage, {}):
                    raise InputError(
                        f"--slopes {path}: {kind} of {stage} has no slope for {factor}; measure again with `{BENCH}`"
                    )
    start = {stage: Start(**values) for stage, values in content["start"].items()}
    a, b = content["bytes_per_frame"]
    return Slopes(**content | {"start": start, "bytes_per_frame": (a, b)})


def slopes_json(slopes: Slopes) -> dict[str, Any]:
    """As `read_slopes` reads it, with four digits."""
    rounded: dict[str, Any] = _rounded(asdict(slopes))
    return rounded


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(inner) for inner in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def scaled(slopes: Slopes, speeds: Mapping[str, float]) -> Slopes:
    """The slopes with their CPU times scaled to a machine of other speeds."""
    ratios = {name: speeds[name] / slopes.speeds[name] for name in speeds}

    def of(costs: Costs) -> Costs:
        return {
            stage: {name: cost * ratios[SPEEDS[stage]] for name, cost in values.items()}
            for stage, values in costs.items()
        }

    start = {
        stage: Start(ray_s=start.ray_s * ratios["python"], plain_s=start.plain_s * ratios["python"])
        for stage, start in slopes.start.items()
    }
    seconds = {name: value * ratios["networks"] for name, value in slopes.vae.items()}
    duplex = dict(slopes.duplex)
    duplex["const_s"] *= ratios["networks"]
    duplex["flops_per_s"] /= ratios["networks"]
    return replace(
        slopes, cpu_s=of(slopes.cpu_s), driver_s=of(slopes.driver_s), start=start, vae=seconds, duplex=duplex,
        scaled_to=dict(speeds),
    )  # fmt: skip


def fit(
    rows: Sequence[Mapping[str, float]], names: Sequence[str], costs: Sequence[float], least: float = 1e-3
) -> tuple[dict[str, float], float]:
    """Slopes of zero or more whose sums are closest to the costs, in relative terms; and their largest relative error.

    Args:
        rows: The factors of each measurement; those with these names count.
        costs: What each measurement has cost.
        least: Smaller costs count as this much, so that noise near zero decides nothing.
    """
    from scipy.optimize import nnls

    weights_N = 1 / np.maximum(costs, least)
    factors_NF = np.array([[row[name] for name in names] for row in rows])
    scale_F = np.maximum(np.abs(factors_NF).max(0), 1e-12)  # of the same size, so that the solver is exact
    slopes_F, _ = nnls(factors_NF / scale_F * weights_N[:, None], np.asarray(costs) * weights_N)
    slopes_F = slopes_F / scale_F
    errors_N = np.abs(factors_NF @ slopes_F - costs) * weights_N
    return dict(zip(names, map(float, slopes_F), strict=True)), float(errors_N.max())


def apply(slopes: Mapping[str, float], factors: Mapping[str, float]) -> float:
    """The cost of these factors."""
    return sum(slope * factors[name] for name, slope in slopes.items())
