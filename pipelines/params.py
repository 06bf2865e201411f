"""params.yaml -> every section checked at once, before any stage runs: `python -m pipelines.params`.

The only module that knows all stages; none of them imports it.
"""

import argparse
from pathlib import Path

from pipelines.engine.errors import exit_on_input_error
from pipelines.engine.params import build_params, read_sections
from wanstreamer.errors import InputError


def section_classes() -> dict[str, type]:
    """The dataclass of each section, in the order of params.yaml. Imported here, as some bring torch."""
    from pipelines.annotate.stage import AnnotateParams
    from pipelines.behaviour.stage import BehaviourParams
    from pipelines.encode.stage import EncodeParams
    from pipelines.engine.run import RunParams
    from pipelines.evaluate.stage import EvaluateParams
    from pipelines.ingest.stage import IngestParams
    from pipelines.pack.stage import PackParams
    from pipelines.quality.stage import QualityParams
    from pipelines.sample.stage import SampleParams
    from pipelines.train.duplex import DuplexParams
    from pipelines.train.pretrain import PretrainParams
    from pipelines.vae.stage import VaeParams

    return {
        "run": RunParams,
        "sample": SampleParams,
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


def main() -> None:
    parser = argparse.ArgumentParser(description="Check every section of a parameter file, and the overrides.")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    for name in ("--workers", "--ray-address", "--retry-rejected"):  # a stage's own, when one line of them serves both
        parser.add_argument(name, help=argparse.SUPPRESS)
    args = parser.parse_args()
    with exit_on_input_error():
        sections = read_sections(args.params, args.set)
        from pipelines.train.stage import TrainingParams, check_params  # brings torch: after what is told without it

        classes = section_classes()
        for section, values in sections.items():
            params: object = build_params(classes[section], values, section, path=args.params, overrides=args.set)
            for name in ("weights", "tokenizer"):
                given = getattr(params, name, "")
                if given and not Path(given).exists():
                    raise InputError(f"{section}.{name} {given}: no such file or folder; `make repro` makes some")
            if check := getattr(params, "check", None):
                check()
            if isinstance(params, TrainingParams):  # known before the stages that training comes after
                check_params(section, params)


if __name__ == "__main__":
    main()
