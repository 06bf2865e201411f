"""Copies of finished work in a store, `run.store: s3://bucket/prefix`, so that other machines can use them.

    parts/<stage>/<key>/<16 digits of the fingerprint>/part.zip     a part, as the worker left it (parts.py)
    parts/<stage>/<key>/<16 digits of the fingerprint>/0.segment    its samples
    parts/<stage>/<key>/<16 digits of the fingerprint>/files/...    its other files, by their names in the data folder
    inputs/..., attempts/...                                        for workers without the data folder (away.py)
    tables/..., state/...                                           those of the data folder, after the last run

`part.zip` is written last and removed first: if it exists, all of the part exists. Other work on the key has another
fingerprint, and therefore another folder; the old one is removed after the new one is complete. A folder without
`part.zip` is left over from a kill and is removed. So one listing per stage tells which parts the store has.
"""

import io
import json
import os
import zipfile
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import fsspec
import pyarrow.parquet as pq

from pipelines.engine.buckets import bucket_of
from pipelines.engine.files import file_sha256, hash_of_blocks
from pipelines.engine.forgotten import KIND as SPEAKERS
from pipelines.engine.forgotten import NAME as FORGOTTEN
from pipelines.engine.forgotten import forgotten
from pipelines.engine.kept_lists import copies_of, joined, read_list, sealed, write_list
from pipelines.engine.parts import Part, part_path, read_content, read_part, segment_path
from pipelines.engine.remote import PARALLEL_REQUESTS, folder_at, is_remote_uri, reachable, settings, use_settings
from pipelines.engine.state import num_state_buckets, read_about, state_file, state_sha256
from pipelines.engine.tables import bucket_file
from wanstreamer.errors import InputError

STORES_NOTE = "parts/stores.json"  # below the data folder: the stores with copies of its parts; tools.forget reads it
PART = "part.zip"
MIRROR = ".mirror.json"  # state/<stage>.mirror.json has the hashes of the tables and the state that were copied
DIGITS = 16  # of a fingerprint, in names
BLOCK_BYTES = 4 << 20


@dataclass(frozen=True, kw_only=True)
class Store:
    """Address and access of a store; it is sent to the workers."""

    uri: str
    reach: dict[str, dict[str, Any]] = field(repr=False)  # contains secrets


class Copy(NamedTuple):
    """What the listing of a store tells about one fingerprint of a key."""

    whole: bool  # whether part.zip is there
    num_files: int  # besides part.zip
    num_bytes: int


Copies = Mapping[str, Copy]  # by the digits of the fingerprint


class Taken(NamedTuple):
    """A part that was copied from a store and checked; its files are in a local folder."""

    part: Part
    content: dict[str, bytes]  # rows by table
    files: dict[str, Path]
    segments: list[Path]


def open_store(uri: str, data: Path) -> Store:
    """The store, after writing one small object to it, so that a wrong name does not cost hours of work.

    The data folder remembers the store, and both exchange their lists of people to be forgotten.

    Raises InputError if the store cannot be reached or written, or is inside the data folder.
    """
    store = store_at(uri)
    if not is_remote_uri(store.uri) and Path(store.uri).is_relative_to(data.resolve()):
        raise InputError(f"run.store {store.uri}: is inside the data folder {data}; name a folder outside it")
    files, root = _files(store)
    with reachable(uri):
        try:
            theirs = _forgotten_there(files, root, store.uri)
            together = theirs | forgotten(data)
            _put_forgotten(files, root, together)
        except FileNotFoundError as error:
            raise InputError(f"{uri}: no such bucket; create it, or correct run.store") from error
    if theirs - forgotten(data):
        write_list(data / FORGOTTEN, SPEAKERS, together)
    write_list(data / STORES_NOTE, "stores", {*stores_of(data), store.uri})
    return store


def _put_forgotten(files: Any, root: str, speakers: set[str] | frozenset[str]) -> None:
    for name in copies_of(FORGOTTEN):
        files.pipe_file(f"{root}/{name}", sealed(SPEAKERS, speakers))


def _forgotten_there(files: Any, root: str, uri: str) -> set[str]:
    copies = []
    for name in copies_of(FORGOTTEN):
        with suppress(FileNotFoundError):
            copies.append(bytes(files.cat_file(f"{root}/{name}")))
    return joined(SPEAKERS, copies, f"{uri}/{FORGOTTEN}")


def store_at(uri: str) -> Store:
    """A store, without a look at it."""
    uri = uri if is_remote_uri(uri) else str(folder_at(uri).resolve())
    return Store(uri=uri.rstrip("/"), reach=settings())


def stores_of(data: Path) -> list[str]:
    """URIs of the stores with copies of parts of this data folder. Raises InputError if the list is damaged."""
    return sorted(read_list(data / STORES_NOTE, "stores"))


def digits_of(fingerprint: str) -> str:
    return fingerprint[:DIGITS]


def stored_parts(store: Store, stage: str) -> dict[str, dict[str, Copy]]:
    """The parts of a stage in the store: key -> copies. Needs one listing."""
    files, root = _files(store)
    home = f"{root}/parts/{stage}"
    stored: dict[str, dict[str, Copy]] = {}
    with reachable(store.uri):
        for address, description in files.find(home, detail=True).items():
            key, _, rest = address[len(home) + 1 :].partition("/")
            digits, _, name = rest.partition("/")
            copy = stored.setdefault(key, {}).get(digits, Copy(False, 0, 0))
            if name == PART:  # a store writes an object whole or not at all; a folder does not
                copy = copy._replace(whole=is_remote_uri(store.uri) or zipfile.is_zipfile(address))
            else:
                copy = copy._replace(num_files=copy.num_files + 1, num_bytes=copy.num_bytes + description["size"])
            stored[key][digits] = copy
    return stored


def is_stored(copies: Copies, fingerprint: str, sizes: Sequence[int]) -> bool:
    """Whether a part is in the store, with segments and files of these sizes."""
    return copies.get(digits_of(fingerprint)) == Copy(True, len(sizes), sum(sizes))


def put_part(
    store: Store, stage: str, part: Part, zipped: Path, files: Mapping[str, Path], segments: Sequence[Path],
    copies: Copies,
) -> None:  # fmt: skip
    """Write a part to the store, in place of the copies that it has of this key."""
    remote, root = _files(store)
    home, digits = f"{root}/parts/{stage}/{part.key}", digits_of(part.fingerprint)
    with reachable(store.uri):
        if digits in copies:  # left over from a kill, or damaged
            _remove_copy(store, remote, f"{home}/{digits}")
        for number, segment in enumerate(segments):
            remote.put_file(str(segment), f"{home}/{digits}/{number}.segment")
        for name, path in sorted(files.items()):
            remote.put_file(str(path), f"{home}/{digits}/files/{name}")
        remote.put_file(str(zipped), f"{home}/{digits}/{PART}")
    drop_others(store, stage, part.key, part.fingerprint, copies)


def put_local(store: Store, data: Path, stage: str, key: str, copies: Copies) -> None:
    """Write a local part that is not merged yet to the store."""
    home = data / "parts" / stage
    part = read_part(part_path(home, key))
    if part is not None and part.fingerprint:
        segments = [segment_path(home, key, number) for number in range(len(part.segments))]
        put_part(store, stage, part, part_path(home, key), {name: data / name for name in part.files}, segments, copies)


def has_part(store: Store, stage: str, key: str, fingerprint: str) -> bool:
    return has_object(store, f"parts/{stage}/{key}/{digits_of(fingerprint)}/{PART}")


def take_part(
    store: Store, stage: str, key: str, fingerprint: str, folder: Path, *, only: Container[str] | None = None
) -> Taken | None:
    """Copy a part into a local folder and check it; None if anything about it is not as it was written.

    `only`: the files to copy, besides rows and segments; None: all.
    """
    remote, root = _files(store)
    home = f"{root}/parts/{stage}/{key}/{digits_of(fingerprint)}"
    with reachable(store.uri):
        if not _fetch(remote, f"{home}/{PART}", folder / PART):
            return None
        part = read_part(folder / PART)
        if part is None or (part.key, part.fingerprint) != (key, fingerprint):
            return None
        if not all(_is_below(name) for name in [*part.files, *(segment["folder"] for segment in part.segments)]):
            return None
        content = read_content(folder / PART, part)
        if content is None:
            return None
        segments = [folder / f"{number}.segment" for number in range(len(part.segments))]
        for segment, about in zip(segments, part.segments, strict=True):
            if not _fetch(remote, f"{home}/{segment.name}", segment, about["num_bytes"], about["sha256"]):
                return None
        files = {name: folder / "files" / name for name in part.files if only is None or name in only}
        for name, path in files.items():
            if not _fetch(remote, f"{home}/files/{name}", path, *part.files[name]):
                return None
    return Taken(part, content, files, segments)


def drop_part(store: Store, stage: str, key: str) -> int:
    """Remove all copies of a part; returns how many objects."""
    files, root = _files(store)
    with reachable(store.uri):
        _remove_copy(store, files, f"{root}/attempts/{stage}/{key}")
        return _remove_copy(store, files, f"{root}/parts/{stage}/{key}")


def drop_others(store: Store, stage: str, key: str, fingerprint: str, copies: Iterable[str]) -> None:
    """Remove all copies of a part but the one with this fingerprint."""
    files, root = _files(store)
    with reachable(store.uri):
        for digits in sorted(set(copies) - {digits_of(fingerprint)}):
            _remove_copy(store, files, f"{root}/parts/{stage}/{key}/{digits}")


def drop_rejected(store: Store, stage: str, reason: str) -> set[str]:
    """Remove the parts of keys that were rejected for this reason (`all`: any); returns these keys."""
    files, root = _files(store)
    with reachable(store.uri):
        known = _reasons(store, files, f"{root}/state/{stage}")

    def reasons(place: tuple[str, str]) -> set[str]:
        if place in known:
            return known[place]
        key, digits = place  # of a run that did not end
        try:
            part = read_part(io.BytesIO(files.cat_file(f"{root}/parts/{stage}/{key}/{digits}/{PART}")))
        except FileNotFoundError:
            return set()
        return {rejection[1] for rejection in part.rejections} if part is not None else set()

    places = [
        (key, digits)
        for key, copies in sorted(stored_parts(store, stage).items())
        for digits, copy in copies.items()
        if copy.whole
    ]
    found: dict[str, set[str]] = {}
    for (key, _), own in zip(places, in_parallel(store, reasons, places), strict=True):
        found[key] = found.get(key, set()) | own
    dropped = {key for key, own in found.items() if own and (reason == "all" or reason in own)}
    in_parallel(store, lambda key: drop_part(store, stage, key), sorted(dropped))
    return dropped


def _reasons(store: Store, files: Any, home: str) -> dict[tuple[str, str], set[str]]:
    """(key, digits of its fingerprint) -> reasons of its rejections, from the copies of a stage's state."""

    def read(address: str) -> list[dict[str, Any]]:
        with files.open(address) as file:
            rows = pq.read_table(file, columns=["key", "fingerprint", "rejections"], partitioning=None)
        return list(rows.to_pylist())

    return {
        (row["key"], digits_of(row["fingerprint"])): {rejection["reason"] for rejection in row["rejections"]}
        for rows in in_parallel(store, read, _buckets(files, home))
        for row in rows
    }


def mirror(store: Store, data: Path, stage: str, tables: Iterable[str]) -> None:
    """Copy the tables and the state of a stage to the store, if they have changed since the last time."""
    files, root = _files(store)
    wanted: dict[str, str] = {}
    for bucket in range(num_state_buckets(data, stage)):
        about = read_about(data, stage, bucket)
        for table in (*tables, f"rejections/{stage}"):
            name = bucket_file(data, table, bucket).relative_to(data).as_posix()
            wanted[name] = about.tables[table.partition("/")[0]]["sha256"]
        path = state_file(data, stage, bucket)
        wanted[path.relative_to(data).as_posix()] = state_sha256(path)
    note = f"{root}/{mirror_note(stage)}"
    with reachable(store.uri):
        there = _read_json(files, note)
        changed = sorted(name for name, sha256 in wanted.items() if there.get(name) != sha256)
        gone = sorted(set(there) - set(wanted))
        if not changed and not gone:
            return
        _put_json(files, note, {name: sha256 for name, sha256 in there.items() if name not in changed})
        in_parallel(store, lambda name: files.put_file(str(data / name), f"{root}/{name}"), changed)
        _remove(files, [f"{root}/{name}" for name in gone])
        _put_json(files, note, wanted)


def mirror_note(stage: str) -> str:
    """The object with the hashes of the copied tables and state."""
    return f"state/{stage}{MIRROR}"


def stages_of(store: Store) -> list[str]:
    """Stages that have parts in the store."""
    files, root = _files(store)
    with reachable(store.uri):
        try:
            return sorted(address.rstrip("/").rpartition("/")[2] for address in files.ls(f"{root}/parts", detail=False))
        except FileNotFoundError:
            return []


def sessions_of(store: Store, speaker_id: str) -> set[str]:
    """Sessions with this person, from the tracks table of the store."""
    files, root = _files(store)

    def own(address: str) -> list[str]:
        with files.open(address) as file:
            rows = pq.read_table(
                file, columns=["session_id"], filters=[("speaker_id", "=", speaker_id)], partitioning=None
            )
        return list(rows["session_id"].to_pylist())

    with reachable(store.uri):
        names = _buckets(files, f"{root}/tables/tracks")
    return {session for sessions in in_parallel(store, own, names) for session in sessions}


def cut_tables(store: Store, sessions: set[str], cut: Callable[[Path], int], folder: Path) -> int:
    """Let `cut` remove rows from the tables of the store that have rows of these sessions; returns how many.

    `cut` gets a local copy, and returns how many rows it removed. The tracks table, which tells who is in a session, is
    the last one. The next run of each stage copies its tables and state of these buckets again.
    """
    files, root = _files(store)
    with reachable(store.uri):
        tables: dict[str, list[str]] = {}
        for address in sorted(files.find(f"{root}/tables")):
            tables.setdefault(address[len(root) + 1 :].rpartition("/")[0], []).append(address)
        concerned = {
            table: [addresses[bucket] for bucket in sorted({bucket_of(key, len(addresses)) for key in sessions})]
            for table, addresses in tables.items()
        }
        for note in sorted(address for address in files.find(f"{root}/state") if address.endswith(MIRROR)):
            stage = note.rpartition("/")[2].removesuffix(MIRROR)
            states = [
                f"state/{stage}/{address.rpartition('/')[2]}"
                for address in concerned.get(f"tables/rejections/{stage}", [])
            ]
            changing = {address[len(root) + 1 :] for addresses in concerned.values() for address in addresses}
            there = _read_json(files, note)
            _put_json(
                files, note, {name: sha for name, sha in there.items() if name not in changing and name not in states}
            )
            _remove(files, [f"{root}/{name}" for name in states])
        removed = 0
        for table in sorted(concerned, key=lambda table: table == "tables/tracks"):
            for address in concerned[table]:
                local = folder / address.rpartition("/")[2]
                files.get_file(address, str(local))
                count = cut(local)
                if count:
                    files.put_file(str(local), address)
                removed += count
    return removed


def has_object(store: Store, name: str) -> bool:
    files, root = _files(store)
    with reachable(store.uri):
        return bool(files.exists(f"{root}/{name}"))


def list_objects(store: Store, folder: str) -> set[str]:
    """Names of all objects below a folder of the store."""
    files, root = _files(store)
    with reachable(store.uri):
        return {address[len(root) + 1 :] for address in files.find(f"{root}/{folder}")}


def put_object(store: Store, name: str, content: bytes | Path) -> None:
    files, root = _files(store)
    with reachable(store.uri):
        if isinstance(content, Path):
            files.put_file(str(content), f"{root}/{name}")
        else:
            files.pipe_file(f"{root}/{name}", content)


def fetch_object(store: Store, name: str, path: Path, sha256: str) -> bool:
    """Copy an object to a local file; false if it is not there, or has other content."""
    files, root = _files(store)
    with reachable(store.uri):
        return _fetch(files, f"{root}/{name}", path) and file_sha256(path) == sha256


def read_object(store: Store, name: str) -> bytes | None:
    """A small object; None if it is not there."""
    files, root = _files(store)
    with reachable(store.uri):
        try:
            return bytes(files.cat_file(f"{root}/{name}"))
        except FileNotFoundError:
            return None


def object_sha256(store: Store, name: str) -> str:
    """The hash of an object, read block by block; empty if it is not there."""
    files, root = _files(store)
    with reachable(store.uri):
        try:
            with files.open(f"{root}/{name}") as file:
                return hash_of_blocks(iter(partial(file.read, BLOCK_BYTES), b""))
        except FileNotFoundError:
            return ""


def remove_objects(store: Store, names: Iterable[str]) -> int:
    files, root = _files(store)
    with reachable(store.uri):
        return _remove(files, [f"{root}/{name}" for name in names])


def remove_below(store: Store, folder: str) -> None:
    """Remove a folder of the store with all that is in it."""
    files, root = _files(store)
    with reachable(store.uri):
        _remove_copy(store, files, f"{root}/{folder}")


def in_parallel(store: Store, call: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    """The results of a call that waits for the store, in order."""
    with reachable(store.uri), ThreadPoolExecutor(PARALLEL_REQUESTS) as pool:
        return list(pool.map(call, items))


def _files(store: Store) -> tuple[Any, str]:
    """The file system, and the address of the store in it."""
    use_settings(store.reach)
    options = {} if is_remote_uri(store.uri) else {"auto_mkdir": True}
    with reachable(store.uri):
        files, root = fsspec.url_to_fs(store.uri, use_listings_cache=False, **options)
    return files, root.rstrip("/")


def _buckets(files: Any, home: str) -> list[str]:
    """The files of a table, one per bucket."""
    return sorted(address for address in files.find(home) if address.endswith(".parquet"))


def _fetch(files: Any, address: str, path: Path, num_bytes: int | None = None, sha256: str = "") -> bool:
    """Copy an object; false if it is not there, or not what it should be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        files.get_file(address, str(path))
    except FileNotFoundError:
        return False
    return num_bytes is None or (path.stat().st_size == num_bytes and file_sha256(path) == sha256)


def _is_below(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def _read_json(files: Any, address: str) -> dict[str, Any]:
    """A small object; empty if it is missing or incomplete."""
    try:
        content: dict[str, Any] = json.loads(files.cat_file(address))
    except (FileNotFoundError, ValueError):
        return {}
    return content


def _put_json(files: Any, address: str, content: Any) -> None:
    files.pipe_file(address, json.dumps(content, sort_keys=True).encode())


def _remove_copy(store: Store, files: Any, home: str) -> int:
    """Remove all objects below an address, each part.zip before the rest."""
    addresses = sorted(files.find(home), key=lambda address: not address.endswith(f"/{PART}"))
    count = _remove(files, addresses)
    if not is_remote_uri(store.uri):
        for folder, _, _ in os.walk(home, topdown=False):
            with suppress(OSError):
                Path(folder).rmdir()
    return count


def _remove(files: Any, addresses: Iterable[str]) -> int:
    count = 0
    for address in addresses:
        try:
            files.rm_file(address)
            count += 1
        except FileNotFoundError:
            continue
    return count
