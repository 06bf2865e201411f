"""params.yaml and `--set section.key=value` -> one section as a frozen dataclass; every mistake is one clear line.

The allowed values are declared next to each parameter and checked when its dataclass is made (wanstreamer/bounds.py).
This module converts plain values to their types, and adds the place of a wrong value to the message: the file and key,
or the override. A text parameter takes its text as it stands: `2024-11-03` is no date, `no` is a language, and the
value of an override goes to the end of the argument, whatever YAML would make of a `#` or a bracket in it.
"""

import argparse
import dataclasses
import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import yaml

from pipelines.engine.plain_yaml import read_yaml
from wanstreamer.bounds import BadValue, field_types, shown
from wanstreamer.errors import InputError

# Only the command line reads `run`: nothing in it may change an output.
SECTIONS = (
    "run", "sample", "people", "ingest", "quality", "annotate", "vae", "encode", "pack", "pretrain", "duplex",
    "evaluate", "behaviour",
)  # fmt: skip

Params = TypeVar("Params")


class Section(dict[str, Any]):
    """The values of a section. `texts`: a key, such as `audio.steps` -> the text of its value, for text parameters."""

    texts: dict[str, str]

    def __init__(self, values: Mapping[str, Any], texts: Mapping[str, str]) -> None:
        super().__init__(values)
        self.texts = dict(texts)


def add_params_options(parser: argparse.ArgumentParser) -> None:
    """Adds `--params FILE` and `--set SECTION.KEY=VALUE`, the arguments of `read_sections`."""
    parser.add_argument(
        "--params", type=Path, default=Path("params.yaml"), help="parameter file (default: params.yaml)"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="override one parameter; may be repeated",
    )


def read_sections(path: Path | None, overrides: Sequence[str] = ()) -> dict[str, Section]:
    """All sections of a parameter file with the overrides applied; without a file, the overrides alone.

    Raises InputError for a missing or unreadable file, an unknown section, or an override that is not
    `section.key=value`.
    """
    sections = _read_file(path) if path else {}
    for override in overrides:
        name, equals, value = override.partition("=")
        section, dot, key = name.partition(".")
        if not equals or not dot or not key:
            raise InputError(f"--set {override}: expected section.key=value, for example annotate.ipu_gap_ms=180")
        _known(section, SECTIONS, f"--set {override}", "section")
        whole = sections.setdefault(section, Section({}, {}))
        target: dict[str, Any] = whole
        *parents, leaf = key.split(".")
        for parent in parents:
            target = target.setdefault(parent, {})
            if not isinstance(target, dict):
                raise InputError(f"--set {override}: `{parent}` is {target!r} and has no keys")
        try:
            target[leaf], inner = read_yaml(value)
        except yaml.YAMLError:
            target[leaf], inner = value, {}  # for all but a text parameter, a value of the wrong type
        before = {other: text for other, text in whole.texts.items() if not other.startswith((f"{key}.", f"{key}["))}
        nested = {f"{key}{below}" if below.startswith("[") else f"{key}.{below}": text for below, text in inner.items()}
        whole.texts = before | nested | {key: value}
    return sections


def _read_file(path: Path) -> dict[str, Section]:
    if not path.is_file():
        raise InputError(f"{path}: no such parameter file; run in the project root or pass --params FILE")
    try:
        loaded, texts = read_yaml(path.read_bytes())
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        where = f" line {place.line + 1}" if place else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
        raise InputError(f"{path}{where}: not valid YAML: {problem}; correct the file") from error
    loaded = {} if loaded is None else loaded
    if not isinstance(loaded, dict):
        raise InputError(f"{path}: expected sections ({', '.join(SECTIONS)}), found {type(loaded).__name__}")
    sections = {}
    for section, values in loaded.items():
        _known(section, SECTIONS, f"{path}: {section}", "section")
        if values is not None and not isinstance(values, dict):
            raise InputError(f"{path}: {section}: expected `key: value` lines, found {values!r}")
        within = f"{section}."
        own = {key.removeprefix(within): text for key, text in texts.items() if key.startswith(within)}
        sections[section] = Section(values or {}, own)
    return sections


def build_params(
    cls: type[Params],
    values: Mapping[str, Any],
    section: str,
    *,
    path: Path | None = None,
    overrides: Sequence[str] = (),
) -> Params:
    """A params dataclass from plain values of a section.

    Raises InputError for a wrong key or value, with the override that set it, or else with the file `path` and the key.
    """
    place = partial(_place, section, path, overrides)
    check_keys(cls, values, place)
    try:
        return _build(cls, values, texts=values.texts if isinstance(values, Section) else {})
    except _Refused as refused:
        raise InputError(refused.line(section, place)) from refused.error


class _Refused(Exception):
    """A dataclass does not allow a value. `key` is the key in the section, such as `audio.steps`, or empty."""

    def __init__(self, key: str, error: InputError) -> None:
        super().__init__(key, error)
        self.key, self.error = key, error

    def line(self, section: str, place: Callable[[str], str]) -> str:
        where, full = place(self.key), f"{section}.{self.key}".rstrip(".")
        if isinstance(self.error, BadValue) and not where.startswith("--set "):
            parent = self.key.removesuffix(self.error.key)
            places = [place(f"{parent}{other}") for other in self.error.others]
            where = next((other for other in places if other.startswith("--set ")), where)
        by_itself = where.startswith(f"--set {full}=")  # the override shows the value already
        if where.startswith("--set ") and not by_itself:
            where += f": {full}"
        if not isinstance(self.error, BadValue):
            return f"{where}: {self.error}"
        value = "" if by_itself else f"{shown(self.error.value)}; "
        return f"{where}: {value}expected {self.error.expected}"


def _build(
    cls: Any, values: Mapping[str, Any], within: str = "", default: Any = None, *, texts: Mapping[str, str]
) -> Any:
    """The dataclass, or `default` with these values. Unset values of a nested dataclass keep its default."""
    kinds = field_types(cls)
    typed = {}
    for name, value in values.items():
        if dataclasses.is_dataclass(kinds[name]) and isinstance(value, Mapping):
            inner = _default(cls, name) if default is None else getattr(default, name)
            value = _build(kinds[name], value, f"{within}{name}.", inner, texts=texts)
        elif (item := _item_class(kinds[name])) and isinstance(value, list):
            value = [
                _build(item, entry, f"{within}{name}[{place}].", texts=texts) if isinstance(entry, Mapping) else entry
                for place, entry in enumerate(value)
            ]
        elif _is_text(kinds[name]):
            value = texts.get(f"{within}{name}", value)
        typed[name] = _as_type(kinds[name], value)
    try:
        return cls(**typed) if default is None else dataclasses.replace(default, **typed)
    except BadValue as error:
        raise _Refused(within + error.key, error) from error
    except InputError as error:
        raise _Refused(within.rstrip("."), error) from error


def _item_class(kind: Any) -> Any:
    """The dataclass of a list's items, None for any other parameter."""
    item = get_args(kind)[0] if get_origin(kind) is tuple else None
    return item if dataclasses.is_dataclass(item) else None


def _default(cls: Any, name: str) -> Any:
    """The default of a nested dataclass, which may differ from the defaults of its class; None if it has none."""
    [field] = [field for field in dataclasses.fields(cls) if field.name == name]
    return None if field.default_factory is dataclasses.MISSING else field.default_factory()


def _is_text(kind: Any) -> bool:
    return kind is str or (get_origin(kind) is Literal and all(isinstance(choice, str) for choice in get_args(kind)))


def _as_type(kind: Any, value: Any) -> Any:
    """Converts what YAML cannot express: a list becomes a tuple, and 3 may be a float."""
    if get_origin(kind) is tuple and isinstance(value, list):
        return tuple(_as_type(get_args(kind)[0], item) for item in value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53:
        return float(value)
    return value


def _place(section: str, path: Path | None, overrides: Sequence[str], key: str) -> str:
    """Where a key was set: the last override of the key, of a key above it or of one below it; else the file."""
    full = f"{section}.{key}".rstrip(".")
    for override in reversed(overrides):
        name = override.partition("=")[0]
        if f"{full}.".startswith((f"{name}.", f"{name}[")) or name.startswith(f"{full}."):
            return f"--set {override}"
    return f"{path}: {full}" if path else full


def check_keys(cls: type, values: Mapping[str, Any], place: Callable[[str], str], within: str = "") -> None:
    """Raises InputError for keys that are not fields of `cls` or of a dataclass in it. `place`: where a key was set."""
    fields = {field.name: field.type for field in dataclasses.fields(cls)}
    for key, value in values.items():
        _known(key, fields, place(f"{within}{key}"), "key")
        kind = fields[key]
        if isinstance(kind, type) and dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
            check_keys(kind, value, place, f"{within}{key}.")
        elif isinstance(value, list) and (item := _item_class(field_types(cls)[key])):
            for number, entry in enumerate(value):
                if isinstance(entry, Mapping):
                    check_keys(item, entry, place, f"{within}{key}[{number}].")


def _known(name: object, known: Iterable[str], where: str, what: str) -> None:
    known = tuple(known)
    if name in known:
        return
    near = difflib.get_close_matches(str(name), known, n=1)
    hint = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(known)}"
    raise InputError(f"{where}: unknown {what}; {hint}")
