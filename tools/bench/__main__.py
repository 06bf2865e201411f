"""Measure this machine.

`python -m tools.bench ingest | annotate | vae | encode | pack | load | train | stream | duplicates | crosstalk |
people | scale | workers | cost`. `python -m tools.bench recordings` makes test recordings, and measures nothing.
"""

import argparse
import json
import sys

from pipelines.engine.errors import exit_on_input_error
from tools.bench import (
    annotate,
    cost,
    crosstalk,
    duplicates,
    encode,
    ingest,
    load,
    pack,
    people,
    recordings,
    scale,
    stream,
    train,
    vae,
    workers,
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.bench", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    modules = (
        ingest,
        annotate,
        vae,
        encode,
        pack,
        load,
        train,
        stream,
        duplicates,
        crosstalk,
        people,
        scale,
        workers,
        cost,
        recordings,
    )
    for module in modules:
        module.add(commands)
    for command in dict.fromkeys(commands.choices.values()):  # an alias is the same parser
        command.add_argument("--json", action="store_true", help="print the figures as JSON")
    args = parser.parse_args()
    with exit_on_input_error():
        results = args.run(args)
    if args.json:
        json.dump(results, sys.stdout, indent=2)
        print()
    else:
        args.show(results)


if __name__ == "__main__":
    main()
