"""The command line of all stages: read params, run, write metrics, print one summary."""

import argparse
import dataclasses
import inspect
import os
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeVar

from pipelines.engine.errors import check_writable, exit_on_input_error
from pipelines.engine.files import write_json_atomic
from pipelines.engine.jobs import PartlyDone, RunParams, with_workers
from pipelines.engine.lock import folder_lock
from pipelines.engine.param_help import help_text
from pipelines.engine.params import Section, add_params_options, build_params, read_sections
from pipelines.engine.retry import retry_rejected
from pipelines.engine.store import open_store
from pipelines.engine.tables import read_rows
from schemas import TABLES_OF
from wanstreamer.errors import InputError

Params = TypeVar("Params")


def stage_main(
    section: str,
    cls: type[Params],
    run: Callable[..., dict[str, Any]],
    arguments: Sequence[str] | None = None,
    *,
    options: argparse.ArgumentParser | None = None,
    shared: Mapping[str, type] | None = None,
) -> None:
    """Run a stage as a command; `run(data, params, how)` returns its metrics.

    Args:
        section: Name of the stage, and of its section of params.yaml.
        cls: The dataclass of the section.
        run: The stage.
        arguments: Of the command; default: those of this process.
        options: Further options, for the help only: the caller that adds them also reads them.
        shared: Other section -> a dataclass with those of its parameters that the stage reads too; `run` gets each as
            a keyword argument with the name of the section.
    """
    shared = shared or {}
    doc = (inspect.getmodule(run).__doc__ or "").strip().splitlines()[0]  # type: ignore[union-attr]
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    name = spec.name.removesuffix(".__main__") if spec else f"pipelines.{section}"
    width = shutil.get_terminal_size().columns - 2  # argparse's own
    parser = argparse.ArgumentParser(
        prog=f"python -m {name}",
        description=textwrap.fill(doc, width),
        epilog="\n\n".join(help_text(*each, width) for each in ((section, cls), *shared.items(), ("run", RunParams))),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[options] if options else [],
    )
    parser.add_argument("--data", type=Path, default=Path("data"), help="data folder (default: data)")
    add_params_options(parser)
    parser.add_argument("--workers", type=int, help="worker processes (default: run.workers, else one per core)")
    parser.add_argument(
        "--buckets",
        metavar="FIRST-LAST",
        help="work on these buckets only, beside drivers that have other ones; at the end, run once without it",
    )
    parser.add_argument(
        "--retry-rejected",
        metavar="REASON",
        help="try the keys again that were rejected for this reason; `all`: for any reason",
    )
    parser.add_argument(
        "--ray-address", help="address of a running Ray cluster (default: RAY_ADDRESS, else a new local Ray)"
    )
    args = parser.parse_args(arguments)
    if args.ray_address:
        os.environ["RAY_ADDRESS"] = args.ray_address
    with exit_on_input_error():
        sections = read_sections(args.params, args.set)
        origin: dict[str, Any] = {"path": args.params, "overrides": args.set}
        params = build_params(cls, sections.get(section, {}), section, **origin)
        others: dict[str, Any] = {
            name: build_params(part, _fields_of(part, sections.get(name)), name, **origin)
            for name, part in shared.items()
        }
        how = build_params(RunParams, sections.get("run", {}), "run", **origin)
        how = with_workers(how, args.workers)
        if args.buckets is not None:
            if section not in TABLES_OF:
                raise InputError(f"--buckets: {section} does not work session by session")
            if args.retry_rejected:
                raise InputError("--buckets: expected without --retry-rejected, which looks at all buckets")
            try:
                how = dataclasses.replace(how, buckets=args.buckets)
            except InputError as error:
                raise InputError(f"--{error}") from error
        metrics_folder = args.data.resolve().parent / "metrics"
        for folder in (args.data, metrics_folder):
            check_writable(folder)
        # Before the stage reads its input: the store may list people who asked to be forgotten.
        store = open_store(how.store, args.data) if how.store else None
        if args.retry_rejected:
            count = retry_rejected(args.data, section, args.retry_rejected, store)
            hint = "" if count else _why_none(args.data, section, args.retry_rejected)
            print(f"{section}: {count} rejected keys are tried again{hint}", file=sys.stderr)
        began_s = time.monotonic()
        try:
            first = os.environ.get("RANK", "0") == "0"  # the other ranks of a training work for the first one
            lock = folder_lock(args.data, buckets=how.bucket_range)
            with lock if first and args.data.is_dir() else nullcontext():
                metrics = run(args.data, params, how, **others)
        except PartlyDone as done:
            wall_s = round(time.monotonic() - began_s, 1)
            print(f"{section}: {_summary(done.counts)} in {wall_s:.1f} s; {done.hint}")
            return
        except KeyboardInterrupt:
            print(
                f"{section}: stopped; finished sessions are kept, and the same command continues from there",
                file=sys.stderr,
            )
            sys.exit(130)
        wall_s = round(time.monotonic() - began_s, 1)
        write_json_atomic(metrics_folder / f"{section}.json", metrics)
        print(f"{section}: {_summary(metrics)} in {wall_s:.1f} s")


def _fields_of(cls: type, values: Section | None) -> Section:
    """Those values of a section that are fields of the dataclass."""
    own = {field.name for field in dataclasses.fields(cls)}
    values = values or Section({}, {})
    return Section(
        {name: value for name, value in values.items() if name in own},
        {name: text for name, text in values.texts.items() if name.partition(".")[0] in own},
    )


def _why_none(data: Path, stage: str, reason: str) -> str:
    """Why no key is tried again. Raises InputError for a reason that the last run did not have."""
    known = any((data / "tables" / "rejections" / stage).glob("*.parquet"))
    reasons = sorted({row["reason"] for row in read_rows(data, f"rejections/{stage}")}) if known else []
    if not reasons:
        return "; the last run rejected no keys"
    if reason not in ("all", *reasons):
        raise InputError(
            f"--retry-rejected {reason}: no such reason; the reasons of {stage} are {', '.join(reasons)}, or all"
        )
    return f"; {stage} decides about these keys on every run"


def _summary(metrics: Mapping[str, Any]) -> str:
    parts = []
    if "keys" in metrics:
        parts.append(f"{metrics['done']} of {metrics['keys']} sessions")
    parts += [f"{count} {table}" for table, count in metrics.get("rows", {}).items()]
    parts += [f"{count} rejected as {reason}" for reason, count in metrics.get("rejected", {}).items()]
    return ", ".join(parts) or "done"
