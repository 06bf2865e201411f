"""The models of others that a setting can name: `python -m tools.models` lists, fetches and checks them.

python -m tools.models                          what there is: for which setting, licence, size, whether it is there
python -m tools.models fetch whisper-large-v3   into models/whisper-large-v3
python -m tools.models check                    compare every file of every model that is there with its sha256
python -m tools.models list pyannote            one model: where it comes from, its files, where they go
"""

import argparse
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.engine.errors import check_writable, exit_on_input_error
from pipelines.engine.models import BY_NAME, HOME, MODELS, USES, Model
from pipelines.engine.params import build_params, read_sections
from pipelines.params import section_classes
from tools.models.fetch import fetch
from tools.models.show import describe, show_json, show_list
from tools.models.state import State, state_of, state_of_setting
from wanstreamer.errors import InputError

BAD = ("incomplete", "damaged")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.models", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="?", choices=("list", "fetch", "check"), default="list", help="(default: list)")
    parser.add_argument("names", nargs="*", metavar="NAME", help="models (default of list and check: all)")
    parser.add_argument("--models", type=Path, default=HOME, help=f"folder of the models (default: {HOME})")
    parser.add_argument(
        "--params", type=Path, default=Path("params.yaml"), help="parameters whose folders are looked at"
    )
    parser.add_argument(
        "--accept-licence", action="store_true", help="you have accepted the conditions of the publisher"
    )
    parser.add_argument("--json", action="store_true", help="everything as JSON")
    args = parser.parse_args(arguments)
    with exit_on_input_error():
        models = named(args.names)
        if args.what == "fetch":
            fetch_all(models if args.names else (), args.models, agreed=args.accept_licence)
            return
        states = [(model, state_of(model, args.models, hashes=args.what == "check")) for model in models]
        settings = {} if args.names else named_by_settings(args.params)
        if args.json:
            show_json(states, settings, args.models)
        elif args.names and args.what == "list":
            for model, state in states:
                print("\n".join([*describe(model, args.models), f"  {state.name}{_and(state.detail)}"]))
        else:
            present = [pair for pair in states if args.what == "list" or args.names or pair[1].name != "missing"]
            show_list(present, settings, args.models)
        wrong = [f"{model.name} is {state.name}{_and(state.detail)}" for model, state in states if state.name in BAD]
        if args.what == "check" and wrong:
            raise InputError(f"{'; '.join(wrong)}; `python -m tools.models fetch NAME` fetches what is wrong")


def named(names: Sequence[str]) -> tuple[Model, ...]:
    """The models of these names; all without names. Raises InputError for a name that the table does not have."""
    for name in names:
        if name not in BY_NAME:
            raise InputError(f"{name}: no such model; there are {', '.join(BY_NAME)}")
    return tuple(BY_NAME[name] for name in names) or MODELS


def fetch_all(models: Sequence[Model], home: Path, *, agreed: bool) -> None:
    """Fetch models one after another; prints a line for each."""
    if not models:
        raise InputError("fetch: no model named; `python -m tools.models` lists them")
    check_writable(home, "--models")
    for model in models:
        state = fetch(model, home, agreed=agreed)
        places = [f"{setting} to {_place(setting, model, home)}" for setting in model.settings]
        then = f"; set {', or '.join(places)}" if places else ""
        print(f"{home / model.name}: {state.name}, {model.licence}{then}")


def named_by_settings(params: Path) -> dict[str, tuple[str, State]]:
    """The parameters that name a model, with their values and the states of what they name."""
    sections, classes = read_sections(params), section_classes()
    states: dict[str, tuple[str, State]] = {}
    for setting, use in USES.items():
        section, *names = setting.split(".")
        own: Any = build_params(classes[section], sections.get(section, {}), section, path=params)
        if value := str(functools.reduce(getattr, names, own)):
            states[setting] = (value, state_of_setting(Path(value), use))
    return states


def _place(setting: str, model: Model, home: Path) -> str:
    use = USES.get(setting)
    return (home / model.name / (use.part if use else "")).as_posix()


def _and(detail: str) -> str:
    return f", {detail}" if detail else ""


if __name__ == "__main__":
    main()
