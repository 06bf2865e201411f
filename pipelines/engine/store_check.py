"""Checks what a store has against the checksums that were written with it, and removes what is damaged."""

import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from pipelines.engine.parts import read_content, read_part
from pipelines.engine.state import read_state_of, state_sha256
from pipelines.engine.store import (
    PART,
    Store,
    digits_of,
    drop_part,
    list_objects,
    mirror_note,
    object_sha256,
    put_object,
    read_object,
    remove_objects,
)


class Stored(NamedTuple):
    """An object that a stage has put into a store: of a part, the `part.zip`, which names the others."""

    stage: str
    name: str  # below the store
    key: str = ""  # of a part
    sha256: str = ""  # that the note of the stage has for a table or a state


def stored_objects(store: Store, stage: str) -> list[Stored]:
    """What can be checked: the parts of a stage, the copies of its tables and its state, and the note of these."""
    homes = sorted({tuple(name.split("/")[2:4]) for name in list_objects(store, f"parts/{stage}")})
    found = [Stored(stage, f"parts/{stage}/{key}/{digits}/{PART}", key) for key, digits in homes]
    noted = _noted(store, stage)
    names = sorted({*noted, *list_objects(store, f"state/{stage}")})
    found += [Stored(stage, name, sha256=noted.get(name, "")) for name in names]
    return found + ([Stored(stage, mirror_note(stage))] if names else [])


def fault_of(store: Store, stored: Stored) -> str:
    """What is wrong with an object; empty: nothing."""
    content = read_object(store, stored.name) if _is_small(stored) else b""
    if content is None:
        return "is missing"
    if stored.key:
        return _fault_of_part(store, stored, content)
    if stored.name == mirror_note(stored.stage):
        listed = _noted(store, stored.stage)
        return "" if any(name.startswith(f"state/{stored.stage}/") for name in listed) else "is damaged"
    if stored.name.startswith("state/"):
        return "" if _is_state(content, stored) else "its checksum differs"
    found = object_sha256(store, stored.name)
    return "" if found == stored.sha256 else "its checksum differs" if found else "is missing"


def remove_faulty(store: Store, faulty: Iterable[Stored]) -> None:
    """Remove damaged objects, so that the next run of their stages puts them there again."""
    for stored in faulty:
        if stored.key:
            drop_part(store, stored.stage, stored.key)
            continue
        left = {name: sha256 for name, sha256 in _noted(store, stored.stage).items() if name != stored.name}
        put_object(store, mirror_note(stored.stage), json.dumps(left, sort_keys=True).encode())
        if stored.name != mirror_note(stored.stage):
            remove_objects(store, [stored.name])


def _is_small(stored: Stored) -> bool:
    return bool(stored.key) or stored.name.startswith("state/")


def _fault_of_part(store: Store, stored: Stored, content: bytes) -> str:
    part = read_part(io.BytesIO(content))
    digits = stored.name.split("/")[-2]
    if part is None or (part.key, digits_of(part.fingerprint)) != (stored.key, digits):
        return "is damaged, or that of another session"
    if read_content(io.BytesIO(content), part) is None:
        return "its rows are damaged"
    home = stored.name.removesuffix(PART)
    wanted = {f"files/{name}": sha256 for name, (_, sha256) in part.files.items()}
    wanted |= {f"{number}.segment": segment["sha256"] for number, segment in enumerate(part.segments)}
    for name, sha256 in wanted.items():
        if (found := object_sha256(store, home + name)) != sha256:
            return f"{name}: its checksum differs" if found else f"{name}: is missing"
    return ""


def _is_state(content: bytes, stored: Stored) -> bool:
    try:
        return state_sha256(io.BytesIO(content)) == stored.sha256 and bool(
            read_state_of(io.BytesIO(content), Path(stored.name)).tables
        )
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
        return False


def _noted(store: Store, stage: str) -> dict[str, str]:
    """Name -> hash of the copied tables and state; empty if the note is missing or damaged."""
    try:
        noted = json.loads(read_object(store, mirror_note(stage)) or b"{}")
    except ValueError:
        return {}
    return noted if isinstance(noted, dict) else {}
