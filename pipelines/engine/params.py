"""params.yaml + `--set section.key=value` -> one section as a frozen dataclass; every mistake is one clear line."""

import dataclasses
import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from wanstreamer.errors import InputError

# `run` is read by the command line alone: nothing in it may change an output.
SECTIONS = (
    "run", "sample", "ingest", "quality", "annotate", "vae", "encode", "pack", "pretrain", "duplex", "evaluate",
    "behaviour",
)  # fmt: skip

Params = TypeVar("Params")


def read_sections(path: Path | None, overrides: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
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
        target = sections.setdefault(section, {})
        *parents, leaf = key.split(".")
        for parent in parents:
            target = target.setdefault(parent, {})
            if not isinstance(target, dict):
                raise InputError(f"--set {override}: `{parent}` is {target!r} and has no keys of its own")
        try:
            target[leaf] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise InputError(f"--set {override}: the value is not valid YAML; quote it") from error
    return sections


def _read_file(path: Path) -> dict[str, dict[str, Any]]:
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
    return {section: dict(values or {}) for section, values in loaded.items()}


def build_params(
    cls: type[Params],
    values: Mapping[str, Any],
    section: str,
    *,
    path: Path | None = None,
    overrides: Sequence[str] = (),
) -> Params:
    """A params dataclass from plain values of a section.

    Raises InputError for a wrong key or type, naming the override that gave it, else the key in the file `path`.
    """
    place = partial(_place, section, path, overrides)
    check_keys(cls, values, place)
    try:
        return TypeAdapter(cls).validate_python(_with_defaults(cls, values))
    except ValidationError as error:
        first = error.errors()[0]
        refused = first.get("ctx", {}).get("error")
        if isinstance(refused, InputError):  # of the dataclass's own checks
            raise refused from error
        key = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{place(key)}: {first['msg']}; found {first['input']!r}") from error


def _place(section: str, path: Path | None, overrides: Sequence[str], key: str) -> str:
    """Who gave a key: the last override of it, of what it lies in or of what lies in it; else the file."""
    full = f"{section}.{key}"
    for override in reversed(overrides):
        name = override.partition("=")[0]
        if f"{full}.".startswith(f"{name}.") or name.startswith(f"{full}."):
            return f"--set {override}"
    return f"{path}: {full}" if path else full


def _with_defaults(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """`values`, those of nested dataclasses completed by their field's default, which need not be their class's."""
    filled = dict(values)
    for field in dataclasses.fields(cls):
        if isinstance(filled.get(field.name), Mapping) and field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
            if dataclasses.is_dataclass(default) and not isinstance(default, type):
                filled[field.name] = dataclasses.asdict(default) | _with_defaults(type(default), filled[field.name])
    return filled


def check_keys(cls: type, values: Mapping[str, Any], place: Callable[[str], str], within: str = "") -> None:
    """Refuse keys that are not fields of `cls`, in nested dataclasses too; `place` says where a key was given."""
    fields = {field.name: field.type for field in dataclasses.fields(cls)}
    for key, value in values.items():
        _known(key, fields, place(f"{within}{key}"), "key")
        kind = fields[key]
        if isinstance(kind, type) and dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
            check_keys(kind, value, place, f"{within}{key}.")


def _known(name: object, known: Iterable[str], where: str, what: str) -> None:
    known = tuple(known)
    if name in known:
        return
    near = difflib.get_close_matches(str(name), known, n=1)
    hint = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(known)}"
    raise InputError(f"{where}: unknown {what}; {hint}")
