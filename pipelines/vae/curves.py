"""Training curves, as `dvc plots` reads them.

`plots/vae_<kind>.csv`: losses by step. `plots/vae_<kind>_unseen.csv`: figures on held-out clips, at fewer steps.
"""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from pipelines.engine.files import write_bytes_atomic
from wanstreamer.train.steps import Scalars

HELD_OUT = "valid_"  # prefix of figures on held-out clips
FIGURES = {"audio": ["log_mel_l1"], "video": ["psnr_db", "ssim"]}


def curve_paths(data: Path, kind: str) -> tuple[Path, Path]:
    folder = data.resolve().parent / "plots"
    return folder / f"vae_{kind}.csv", folder / f"vae_{kind}_unseen.csv"


def write_curves(data: Path, kind: str, curve: Sequence[Scalars]) -> None:
    """Writes only the header if there is no curve."""
    losses = [{name: value for name, value in row.items() if not name.startswith(HELD_OUT)} for row in curve]
    looks = [
        {
            name.removeprefix(HELD_OUT): value
            for name, value in row.items()
            if name == "step" or name.startswith(HELD_OUT)
        }
        for row in curve
        if any(name.startswith(HELD_OUT) for name in row)
    ]
    for path, rows, first in zip(curve_paths(data, kind), (losses, looks), (["loss"], FIGURES[kind]), strict=True):
        write_bytes_atomic(path, _csv(rows, ["step", *first]))


def _csv(rows: Sequence[Scalars], first: Sequence[str]) -> bytes:
    """A line per row: the columns named `first`, then the others by name."""
    others = sorted({name for row in rows for name in row} - set(first))
    text = io.StringIO()
    writer = csv.DictWriter(text, [*first, *others])
    writer.writeheader()
    for row in rows:
        writer.writerow({name: f"{value:.6g}" for name, value in row.items()})
    return text.getvalue().encode()
