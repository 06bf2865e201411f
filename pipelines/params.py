"""params.yaml + `--set section.key=value` -> one frozen dataclass per stage; every mistake is one clear line.

`python -m pipelines.params` checks the whole file at once, before any stage runs.
"""

import argparse
import dataclasses
import difflib
import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from pipelines.errors import exit_on_input_error
from wanstreamer.errors import InputError

Params = TypeVar("Params")

# Section -> (module, dataclass). `run` is read by the command line alone: nothing in it may change an output.
SECTIONS: dict[str, tuple[str, str]] = {
    "run": ("pipelines.stage", "RunParams"),
    "sample": ("tools.sample.corpus", "SampleParams"),
    "ingest": ("pipelines.ingest", "IngestParams"),
    "quality": ("pipelines.quality", "QualityParams"),
    "annotate": ("pipelines.annotate", "AnnotateParams"),
    "vae": ("pipelines.vae", "VaeParams"),
    "encode": ("pipelines.encode", "EncodeParams"),
    "pack": ("pipelines.pack", "PackParams"),
    "pretrain": ("pipelines.pretrain", "PretrainParams"),
    "duplex": ("pipelines.duplex", "DuplexParams"),
    "evaluate": ("pipelines.evaluate", "EvaluateParams"),
    "behaviour": ("tools.behaviour.run", "BehaviourParams"),
}


def read_sections(path: Path, overrides: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
    """All sections of a parameter file with the overrides applied.

    Raises InputError for a missing or unreadable file, an unknown section, or an override that is not
    `section.key=value`.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such parameter file; run in the project root or pass --params FILE")
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        where = f" line {place.line + 1}" if place else ""
        raise InputError(f"{path}{where}: not valid YAML; mend the file") from error
    if not isinstance(loaded, dict):
        raise InputError(f"{path}: expected sections ({', '.join(SECTIONS)}), found {type(loaded).__name__}")
    for section, values in loaded.items():
        _known(section, SECTIONS, f"{path}: {section}", "section")
        if values is not None and not isinstance(values, dict):
            raise InputError(f"{path}: {section}: expected `key: value` lines, found {values!r}")
    sections = {section: dict(values or {}) for section, values in loaded.items()}
    for override in overrides:
        name, equals, value = override.partition("=")
        section, dot, key = name.partition(".")
        if not equals or not dot or not key:
            raise InputError(f"--set {override}: expected section.key=value, for example annotate.ipu_gap_ms=180")
        _known(section, SECTIONS, f"--set {override}", "section")
        target = sections.setdefault(section, {})
        *parents, leaf = key.split(".")
        for parent in parents:
            target = target.setdefault(parent, {})
        try:
            target[leaf] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise InputError(f"--set {override}: the value is not valid YAML; quote it") from error
    return sections


def build_params(cls: type[Params], values: Mapping[str, Any], where: str) -> Params:
    """A params dataclass from plain values; raises InputError naming `where`.key for a wrong key or type."""
    check_keys(cls, values, where)
    try:
        return TypeAdapter(cls).validate_python(_with_defaults(cls, values))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{where}.{key}: {first['msg']}; found {first['input']!r}") from error


def _with_defaults(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """`values`, those of nested dataclasses completed by their field's default, which need not be their class's."""
    filled = dict(values)
    for one in dataclasses.fields(cls):
        if isinstance(filled.get(one.name), Mapping) and one.default_factory is not dataclasses.MISSING:
            default = one.default_factory()
            if dataclasses.is_dataclass(default) and not isinstance(default, type):
                filled[one.name] = dataclasses.asdict(default) | _with_defaults(type(default), filled[one.name])
    return filled


def check_keys(cls: type, values: Mapping[str, Any], where: str) -> None:
    """Refuse keys that are not fields of `cls`, in nested dataclasses too."""
    fields = {field.name: field.type for field in dataclasses.fields(cls)}
    for key, value in values.items():
        _known(key, fields, f"{where}.{key}", "key")
        kind = fields[key]
        if isinstance(kind, type) and dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
            check_keys(kind, value, f"{where}.{key}")


def section_class(section: str) -> type:
    module, name = SECTIONS[section]
    return getattr(importlib.import_module(module), name)


def _known(name: object, known: Mapping[str, object], where: str, what: str) -> None:
    if name in known:
        return
    near = difflib.get_close_matches(str(name), known, n=1)
    hint = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(known)}"
    raise InputError(f"{where}: unknown {what}; {hint}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Check every section of a parameter file, and the overrides.")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    for name in ("--workers", "--ray-address", "--retry-rejected"):  # a stage's own, when one line of them serves both
        parser.add_argument(name, help=argparse.SUPPRESS)
    args = parser.parse_args()
    with exit_on_input_error():
        for section, values in read_sections(args.params, args.set).items():
            where = f"{args.params}: {section}" if not args.set else f"{args.params} or --set: {section}"
            params: object = build_params(section_class(section), values, where)
            for name in ("weights", "tokenizer"):
                given = getattr(params, name, "")
                if given and not Path(given).exists():
                    raise InputError(f"{section}.{name} {given}: no such file or folder; `make repro` makes some")
            if check := getattr(params, "check", None):
                check()


if __name__ == "__main__":
    main()
