"""Write scenes with known truth, as recordings lie in a user's folder: `python -m tools.sample --scene two_shot,cuts`.

A scene is one file with one sound and at most one picture, without sidecars: two people at a table, an interview with
cuts, a call in one window, and recordings that are no conversation of two. `--scene all` makes every kind. For sessions
with a file per person, run `python -m pipelines.sample`.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from pipelines.conversation.scene_kinds import BROKEN, DYADS, KINDS, NON_DYADS
from pipelines.conversation.scenes import Scene, plan_scenes
from pipelines.engine.errors import exit_on_input_error
from pipelines.engine.progress import progress
from pipelines.engine.renamed import run_as
from pipelines.sample.scenes import make_scene
from pipelines.sample.truth import Rows, add_rows, write_truth
from wanstreamer.errors import InputError

GROUPS = {"all": tuple(KINDS), "dyads": DYADS, "non_dyads": NON_DYADS, "broken": BROKEN}


def kinds_of(text: str) -> list[str]:
    """Kinds of scenes, from names of kinds and groups that are separated by commas; each once."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    return list(dict.fromkeys(kind for name in names for kind in GROUPS.get(name, (name,))))


def write_scenes(
    scenes: Sequence[Scene], folder: Path, *, workers: int, truth: Path | None = None, separate: Path | None = None
) -> Rows:  # fmt: skip
    """Write the files of all scenes into `folder`, and tables with their truth into `truth`; returns the truth.

    With `separate`, conversations of two are written there too, as with a microphone per person.
    """
    for path in (folder, separate):
        if path is not None:
            path.mkdir(parents=True, exist_ok=True)
    make = partial(make_scene, folder=folder, separate=separate)
    rows: list[Rows] = []
    with (
        ProcessPoolExecutor(min(workers, len(scenes)), mp_context=get_context("spawn")) as pool,
        progress(len(scenes), "scenes") as advance,
    ):
        for own in pool.map(make, scenes):
            rows.append(own)
            advance()
    total = add_rows({}, rows)
    if truth is not None:
        write_truth(truth, total)
    return total


def main(arguments: Sequence[str] | None = None) -> None:
    arguments = sys.argv[1:] if arguments is None else arguments
    if not any(argument.partition("=")[0] in ("--scene", "-h", "--help") for argument in arguments):
        run_as("pipelines.sample")  # what this command did before it made scenes
        return
    parser = argparse.ArgumentParser(
        prog="python -m tools.sample", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="kinds:\n" + "\n".join(f"  {name:18} {kind.about}" for name, kind in KINDS.items())
        + f"\ngroups: {', '.join(GROUPS)}",
    )  # fmt: skip
    parser.add_argument("--scene", required=True, metavar="KIND[,KIND]", help="kinds of scenes, or groups of kinds")
    parser.add_argument("--sessions", type=int, default=1, help="scenes of each kind (default: 1)")
    parser.add_argument("--seconds", type=int, default=60, help="length of each scene (default: 60)")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives other people and words (default: 0)")
    parser.add_argument("--out", type=Path, default=Path("scenes"), help="folder for the files (default: scenes)")
    parser.add_argument("--truth", type=Path, metavar="DIR", help="also write tables with the truth, into DIR")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count(), help="scenes made in parallel (default: one per core)"
    )
    args = parser.parse_args(arguments)
    with exit_on_input_error():
        if min(args.sessions, args.workers) < 1 or args.seed < 0:
            raise InputError("tools.sample: expected --sessions and --workers of 1 or more, --seed of 0 or more")
        kinds = kinds_of(args.scene)
        if not kinds:
            raise InputError(f"--scene: no kind; expected some of {', '.join([*KINDS, *GROUPS])}")
        scenes = plan_scenes(kinds, len(kinds) * args.sessions, seed=args.seed, seconds=args.seconds)
        clash = next((path for scene in scenes for path in args.out.glob(f"{scene.session_id}.*")), None)
        if clash is not None:
            raise InputError(f"{clash}: exists already; pass another --out, or remove it")
        write_scenes(scenes, args.out, workers=args.workers, truth=args.truth)
    print(f"{args.out}: {len(scenes)} scenes of {args.seconds} s")


if __name__ == "__main__":
    main()
