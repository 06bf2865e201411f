"""`python -m tools.sample --sessions N --seed S`: the sample stage, with short names for what is changed most."""

import argparse

from tools.sample.corpus import main as stage


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.sample", add_help=False, description="Short names; the rest goes to the stage."
    )
    for name in ("sessions", "seed", "seconds"):
        parser.add_argument(f"--{name}", metavar="N", help=f"same as --set sample.{name}=N")
    short, rest = parser.parse_known_args()
    if {"-h", "--help"} & set(rest):
        parser.print_help()
        print()
    given = [(name, value) for name, value in vars(short).items() if value is not None]
    stage([*rest, *(part for name, value in given for part in ("--set", f"sample.{name}={value}"))])


if __name__ == "__main__":
    main()
