"""Lists that no run could make again, of forgotten people and of stores: written twice, each with a checksum."""

import json
from collections.abc import Iterable
from pathlib import Path

from pipelines.engine.files import hash_of, write_bytes_atomic
from wanstreamer.errors import InputError


def copies_of(name: str) -> tuple[str, str]:
    """The names of both copies.

    >>> copies_of("parts/stores.json")
    ('parts/stores.json', 'parts/stores.copy.json')
    """
    return name, f"{name.removesuffix('.json')}.copy.json"


def sealed(kind: str, values: Iterable[str]) -> bytes:
    """A list as a JSON object with its checksum."""
    listed = sorted(set(values))
    content = {kind: listed, "sha256": hash_of([kind, listed])}
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()


def unsealed(kind: str, content: bytes) -> set[str] | None:
    """The list; None if it is damaged. Older versions wrote it without a checksum."""
    try:
        read = json.loads(content)
        values = set(read[kind])
        if set(read) == {kind} or read == json.loads(sealed(kind, values)):
            return values
    except (ValueError, KeyError, TypeError):
        pass
    return None


def joined(kind: str, copies: Iterable[bytes], where: str) -> set[str]:
    """What the intact copies of a list have together; empty if there is none.

    Raises InputError if all copies that there are are damaged.
    """
    read = [unsealed(kind, content) for content in copies]
    intact = [values for values in read if values is not None]
    if read and not intact:
        raise InputError(
            f"{where}: damaged, and its copy beside it too or gone; restore it from a backup, or delete both to start "
            f"a new list of {kind}"
        )
    return set().union(*intact)


def read_list(path: Path, kind: str) -> set[str]:
    """A list that `write_list` wrote; empty if there is none. Raises InputError if both copies are damaged."""
    places = [path.with_name(name) for name in copies_of(path.name)]
    return joined(kind, [place.read_bytes() for place in places if place.is_file()], str(path))


def write_list(path: Path, kind: str, values: Iterable[str]) -> None:
    """Write both copies, as far as they are not right already."""
    content = sealed(kind, values)
    for name in copies_of(path.name):
        place = path.with_name(name)
        if not place.is_file() or place.read_bytes() != content:
            write_bytes_atomic(place, content)
