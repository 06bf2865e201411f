"""A data folder of the sample as it lies after annotate, made by the real stages in this process, for the viewer."""

import importlib
import sys
from pathlib import Path

import pytest
import yaml

from tests.helpers.paths import ROOT
from tests.helpers.small_corpus import keep_in_process

STAGES = ("sample", "ingest", "annotate")


def make_shown(folder: Path, *, seconds: int, sessions: int = 1, width: int = 64, height: int = 48) -> Path:
    """`folder/data` with `sessions` sample conversations of `seconds` each; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["sample"] |= {"sessions": sessions, "scenes": 0, "seconds": seconds}
    params["ingest"] |= {"width": width, "height": height}
    params["sample"] |= {"width": width, "height": height}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for stage in STAGES:
            run_stage(patch, stage)
    return folder / "data"


def annotate_again(folder: Path) -> list[str]:
    """Runs annotate in `folder` as `python -m pipelines.annotate` does; returns the keys that it did again."""
    done: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run_stage(patch, "annotate", done)
    return done


def run_stage(patch: pytest.MonkeyPatch, stage: str, done: list[str] | None = None) -> None:
    keep_in_process(patch, done)
    patch.setattr(sys, "argv", [f"pipelines.{stage}"])
    module = importlib.import_module(f"pipelines.{stage}")
    (module if hasattr(module, "main") else importlib.import_module(f"pipelines.{stage}.__main__")).main()
