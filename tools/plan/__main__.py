"""What will a corpus cost? `python -m tools.plan SOURCE`, and after the run `python -m tools.plan --spent`.

Reads the headers of all recordings (nothing is decoded) and predicts, per stage: hours kept and rejected, CPU and GPU
time, wall-clock time on a given machine, disk, files and money. The parameters are those of the stages. The prediction
is kept in a file; `--spent` prints it next to what the run has spent.
"""

import argparse
import json
import os
import sys
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import Any

from pipelines.engine.errors import check_writable, exit_on_input_error
from pipelines.engine.files import write_json_atomic
from pipelines.engine.params import build_params, read_sections
from pipelines.engine.progress import progress
from pipelines.params import section_classes
from tools.plan.corpus import look_at
from tools.plan.predict import Machine, Prices, cost_json, predict
from tools.plan.show import show_comparison, show_plan
from tools.plan.slopes import SHIPPED, Slopes, read_slopes, scaled
from tools.plan.spent import compare, read_plan, spent
from wanstreamer.errors import InputError

SECTIONS = ("run", "ingest", "annotate", "vae", "pack", "duplex")


def main() -> None:
    args = _parser().parse_args()
    with exit_on_input_error():
        _check(args)
        if args.spent:
            plan = read_plan(args.out or args.data / "plan.json")
            compared = compare(plan, spent(args.data))
            if args.json:
                _print_json({"plan": plan, "spent": compared})
            else:
                show_comparison(plan, compared)
            return
        check_writable((args.out or args.data / "plan.json").parent, "--out" if args.out else "--data")
        plan = make_plan(args)
        write_json_atomic(args.out or args.data / "plan.json", plan)
        if args.json:
            _print_json(plan)
        else:
            show_plan(plan, args.out or args.data / "plan.json")


def make_plan(args: argparse.Namespace) -> dict[str, Any]:
    """What plan.json has."""
    overrides = list(args.set)
    if args.source:
        overrides.append(f"ingest.source={args.source}")
    sections = read_sections(args.params, overrides)
    params: dict[str, Any] = {
        name: build_params(section_classes()[name], sections.get(name, {}), name, path=args.params, overrides=overrides)
        for name in SECTIONS
    }
    slopes = read_slopes(args.slopes)
    if args.calibrate:
        from tools.plan.calibrate import measure_speeds

        print("plan: measuring the speed of this machine", file=sys.stderr)
        slopes = scaled(slopes, measure_speeds())
    with ExitStack() as bars:

        def advance(total: int) -> Any:
            return bars.enter_context(progress(total, "headers"))

        corpus = look_at(
            args.data, params["ingest"], params["pack"], codecs=slopes.codecs, most=args.sample, advance=advance
        )
    corrections, like = {}, None
    if args.like:
        earlier = compare(read_plan(args.like / "plan.json"), spent(args.like))
        corrections = {
            stage: {name: figures[name]["ratio"] for name in ("cpu_s", "gb") if figures[name]["ratio"]}
            for stage, figures in earlier.items()
        }
        kept = earlier.get("pack", {}).get("kept_hours", {}).get("ratio")
        like = {"data": str(args.like), "corrections": corrections, "kept_share": kept}
    machine = Machine(cores=args.cores * args.nodes, gpus=args.gpus * args.nodes, gpu_tflops=args.gpu_tflops)
    prices = Prices(cpu_hour=args.cpu_hour, gpu_hour=args.gpu_hour, gb_month=args.gb_month)
    costs = predict(corpus, params, slopes, machine, prices, corrections)
    summary = corpus.summary()
    gb = sum(cost.disk.gb for cost in costs.values())
    return {
        "version": 1,
        "made": date.today().isoformat(),
        "source": corpus.source,
        "tracks": {name: getattr(params["ingest"], name) for name in ("width", "height", "rate_hz")},
        "windows": {name: getattr(params["pack"], name) for name in ("window_units", "stride_units")},
        "machine": {"nodes": args.nodes, "cores": args.cores, "gpus": args.gpus},
        "prices": {"cpu_hour": args.cpu_hour, "gpu_hour": args.gpu_hour, "gb_month": args.gb_month},
        "slopes": _about(slopes, args.slopes),
        "like": like,
        "corpus": summary,
        "stages": {stage: cost_json(cost) for stage, cost in costs.items()},
        "storage_money_per_month": gb * args.gb_month,
    }


def _about(slopes: Slopes, path: Path | None) -> dict[str, Any]:
    return {
        "file": str(path or SHIPPED.name),
        "shipped": path is None,
        "date": slopes.date,
        "machine": slopes.machine_text(),
        "scaled_by": None
        if slopes.scaled_to is None
        else {name: speed / slopes.speeds[name] for name, speed in slopes.scaled_to.items()},
    }


def _check(args: argparse.Namespace) -> None:
    for name in ("cores", "nodes"):
        if getattr(args, name) < 1:
            raise InputError(f"--{name} {getattr(args, name)}: expected 1 or more")
    for name in ("gpus", "gpu_tflops", "cpu_hour", "gpu_hour", "gb_month", "sample"):
        if getattr(args, name) < 0:
            raise InputError(f"--{name.replace('_', '-')} {getattr(args, name)}: expected 0 or more")


def _print_json(content: Any) -> None:
    json.dump(content, sys.stdout, indent=2)
    print()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.plan", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("source", nargs="?", help="folder or manifest of recordings (default: ingest.source of the parameters)")
    add("--spent", action="store_true", help="print the prediction next to what the run in --data has spent")
    add("--data", type=Path, default=Path("data"), help="data folder of the run (default: data)")
    add("--out", type=Path, help="file of the prediction (default: plan.json in the data folder)")
    add("--params", type=Path, default=Path("params.yaml"), help="parameter file (default: params.yaml)")
    add("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="override one parameter; repeatable")
    add("--sample", type=int, default=0, metavar="N", help="read the headers of N random sessions only; 0: of all")
    machine = parser.add_argument_group("machine")
    machine.add_argument(
        "--cores", type=int, default=os.cpu_count() or 1, help="cores of a node (default: of this one)"
    )
    machine.add_argument("--nodes", type=int, default=1, help="equal nodes (default: 1)")
    machine.add_argument("--gpus", type=int, default=0, help="GPUs of a node (default: 0)")
    machine.add_argument(
        "--gpu-tflops", type=float, default=0.0, help="TFLOP/s that a GPU sustains in training, for `duplex`"
    )
    prices = parser.add_argument_group("prices, in any currency")
    prices.add_argument("--cpu-hour", type=float, default=0.0, help="a core for an hour")
    prices.add_argument("--gpu-hour", type=float, default=0.0, help="a GPU for an hour")
    prices.add_argument("--gb-month", type=float, default=0.0, help="a GB of disk for a month")
    basis = parser.add_argument_group("what the prediction rests on")
    basis.add_argument(
        "--slopes", type=Path, help="file written by `python -m tools.bench cost --out FILE` (default: shipped slopes)"
    )
    basis.add_argument(
        "--calibrate", action="store_true", help="scale the slopes to the speed of this machine, measured in seconds"
    )
    basis.add_argument(
        "--like", type=Path, metavar="DATA", help="correct by what an earlier run with a plan has spent, per stage"
    )
    add("--json", action="store_true", help="print everything as JSON")
    return parser


if __name__ == "__main__":
    main()
