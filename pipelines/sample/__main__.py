"""`python -m pipelines.sample --sessions N --seed S`: the sample stage, with short names for the most common settings.

How ingest assigns people to splits is read from its section of the parameter file, so that groups stay together there.
"""

import argparse
from pathlib import Path

from pipelines.engine.errors import exit_on_input_error
from pipelines.engine.params import Section, read_sections
from pipelines.sample.stage import main as stage

SHORT = ("sessions", "seed", "seconds")
FROM_INGEST = ("split_salt", "valid_fraction", "test_fraction")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.sample", add_help=False, description="Short names; the rest goes to the stage."
    )
    for name in SHORT:
        parser.add_argument(f"--{name}", metavar="N", help=f"same as --set sample.{name}=N")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help=argparse.SUPPRESS)
    parser.add_argument("--set", action="append", default=[], help=argparse.SUPPRESS)
    known, rest = parser.parse_known_args()
    overrides = list(known.set)
    if {"-h", "--help"} & set(rest):
        parser.print_help()
        print("\nand the options of every stage:")
    else:
        with exit_on_input_error():
            sections = read_sections(known.params, overrides)
        sample, ingest = (sections.get(name, Section({}, {})) for name in ("sample", "ingest"))
        overrides += [
            f"sample.{k}={ingest.texts.get(k, ingest[k])}" for k in FROM_INGEST if k in ingest and k not in sample
        ]
    overrides += [f"sample.{name}={value}" for name in SHORT if (value := getattr(known, name)) is not None]
    stage(["--params", str(known.params), *rest, *(part for override in overrides for part in ("--set", override))])


if __name__ == "__main__":
    main()
