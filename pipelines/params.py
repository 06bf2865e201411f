"""Check every section of params.yaml before any stage runs: `python -m pipelines.params`.

This is the only module that knows all stages; none of them imports it.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.annotate.params import AnnotateParams
from pipelines.behaviour.params import BehaviourParams
from pipelines.encode.params import EncodeParams
from pipelines.engine.errors import exit_on_input_error
from pipelines.engine.jobs import RunParams, with_workers
from pipelines.engine.params import add_params_options, build_params, read_sections
from pipelines.evaluate.params import EvaluateParams
from pipelines.ingest.params import IngestParams
from pipelines.pack.params import PackParams
from pipelines.people.params import PeopleParams
from pipelines.quality.params import QualityParams
from pipelines.sample.params import SampleParams
from pipelines.train.params import DuplexParams, PretrainParams
from pipelines.vae.params import VaeParams


def section_classes() -> dict[str, type]:
    """The dataclass of each section, in the order of params.yaml."""
    return {
        "run": RunParams,
        "sample": SampleParams,
        "people": PeopleParams,
        "ingest": IngestParams,
        "quality": QualityParams,
        "annotate": AnnotateParams,
        "vae": VaeParams,
        "encode": EncodeParams,
        "pack": PackParams,
        "pretrain": PretrainParams,
        "duplex": DuplexParams,
        "evaluate": EvaluateParams,
        "behaviour": BehaviourParams,
    }


def check_sections(sections: Mapping[str, Mapping[str, Any]], *, path: Path, overrides: Sequence[str] = ()) -> None:
    """Raises InputError for the first value that is not allowed, then for the first file that is missing.

    A section that is not in the file is checked too: a stage would run with its defaults.
    """
    built: list[Any] = [
        build_params(cls, sections.get(section, {}), section, path=path, overrides=overrides)
        for section, cls in section_classes().items()
    ]
    for params in built:
        if check := getattr(params, "check", None):
            check()


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.params", description="Check every section of a parameter file, and the overrides."
    )
    add_params_options(parser)
    # Options of stages: the same arguments may be passed to both.
    parser.add_argument("--workers", type=int, help=argparse.SUPPRESS)
    for name in ("--ray-address", "--retry-rejected"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    args = parser.parse_args()
    with exit_on_input_error():
        with_workers(RunParams(), args.workers)
        check_sections(read_sections(args.params, args.set), path=args.params, overrides=args.set)


if __name__ == "__main__":
    main()
