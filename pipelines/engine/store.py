"""Copies of finished parts in a store, `run.store: s3://bucket/prefix`, so that other machines can use them.

The store has the layout of the data folder: bulk files, `parts/<stage>/<key>/`, `tables/`. Each object is written whole
under its final name, and a part's `part.json` last: if it exists, the part's files exist. While a part is written or
removed, `pending.json` lists the files that no `part.json` lists, so that after a kill the next run finishes or removes
them.
"""

import hashlib
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec
import pyarrow.parquet as pq

from pipelines.engine.files import write_json_atomic
from pipelines.engine.forgotten import forgotten
from pipelines.engine.remote import CHECKSUMS, folder_at, is_remote_uri, reachable, settings, use_settings
from wanstreamer.errors import InputError

STORES_NOTE = "parts/stores.json"  # below the data folder: the stores with copies of its parts; tools.forget reads it
INDEX, PENDING = "part.json", "pending.json"


@dataclass(frozen=True, kw_only=True)
class Store:
    """Address and access of a store; it is sent to the workers."""

    uri: str
    reach: dict[str, dict[str, Any]] = field(repr=False)  # contains secrets


def open_store(uri: str, data: Path) -> Store:
    """The store, after writing one small object to it, so that a wrong name does not cost hours of work.

    The data folder remembers the store, and both exchange their lists of people to be forgotten.

    Raises InputError if the store cannot be reached or written, or is inside the data folder.
    """
    if not is_remote_uri(uri):
        uri = str(folder_at(uri).resolve())
        if Path(uri).is_relative_to(data.resolve()):
            raise InputError(f"run.store {uri}: is inside the data folder {data}; name a folder outside it")
    store = Store(uri=uri.rstrip("/"), reach=settings())
    files, root = _files(store)
    with reachable(uri):
        try:
            theirs = set(_read_json(files, f"{root}/forgotten.json").get("speakers", []))
            together = sorted(theirs | forgotten(data))
            _put_json(files, f"{root}/forgotten.json", {"speakers": together})
        except FileNotFoundError as error:
            raise InputError(f"{uri}: no such bucket; create it, or correct run.store") from error
    if theirs - forgotten(data):
        write_json_atomic(data / "forgotten.json", {"speakers": together})
    if store.uri not in stores_of(data):
        write_json_atomic(data / STORES_NOTE, {"stores": sorted({*stores_of(data), store.uri})})
    return store


def stores_of(data: Path) -> list[str]:
    """URIs of the stores with copies of parts of this data folder."""
    note = data / STORES_NOTE
    return list(json.loads(note.read_text())["stores"]) if note.is_file() else []


def stored_parts(store: Store, stage: str) -> dict[str, dict[str, Any]]:
    """The files below `parts/<stage>`: key -> file name -> the store's description of it. Needs one listing."""
    files, root = _files(store)
    with reachable(store.uri):
        return _listed(files, f"{root}/parts/{stage}")


def is_stored(store: Store, there: dict[str, Any], folder: Path) -> bool:
    """Whether the store has this local part; `there` is the part's entry in `stored_parts`."""
    index = there.get(INDEX)
    content = (folder / INDEX).read_bytes()
    if index is None or PENDING in there or index["size"] != len(content):
        return False
    if _has_md5(index, content):
        return True
    files, root = _files(store)
    with reachable(store.uri):
        return bool(files.cat_file(f"{root}/parts/{folder.parent.name}/{folder.name}/{INDEX}") == content)


def keep_part(store: Store, data: Path, folder: Path) -> None:
    """Write a local part and its bulk files to the store, in place of an older part of this key."""
    files, root = _files(store)
    home = f"{root}/parts/{folder.parent.name}/{folder.name}"
    part = json.loads((folder / INDEX).read_text())
    tables = [f"{table}.parquet" for table in part["tables"]]
    with reachable(store.uri):
        there = _listed(files, home).get("", {})
        old = _named(files, home, there)
        _put_json(files, f"{home}/{PENDING}", {"files": sorted(old | set(part["files"]))})
        leftover = set(there) - {INDEX, PENDING, *tables}
        _remove(files, [f"{home}/{INDEX}"] if INDEX in there else [])
        _remove(files, [f"{root}/{name}" for name in sorted(old - set(part["files"]))])
        _remove(files, [f"{home}/{name}" for name in sorted(leftover)])
        for name in sorted(part["files"]):
            files.put_file(str(data / name), f"{root}/{name}")
        for name in (*tables, INDEX):
            files.put_file(str(folder / name), f"{home}/{name}")
        _remove(files, [f"{home}/{PENDING}"])


def take_part(store: Store, stage: str, key: str, fingerprint: str, folder: Path) -> dict[str, Any] | None:
    """Copy a part of this fingerprint into a local folder: tables, and bulk files by their names below `bulk/`.

    Returns the content of its `part.json`; None if the store does not have the whole part with the right sizes.
    """
    files, root = _files(store)
    home = f"{root}/parts/{stage}/{key}"
    with reachable(store.uri):
        part = _read_json(files, f"{home}/{INDEX}")
        if part.get("fingerprint") != fingerprint or not all(_is_below(name) for name in part["files"]):
            return None
        there = _listed(files, home).get("", {})
        tables = [f"{table}.parquet" for table in part["tables"]]
        if not {INDEX, *tables} <= set(there):
            return None
        wanted = [(f"{home}/{name}", folder / name, there[name]["size"]) for name in tables]
        wanted += [(f"{root}/{name}", folder / "bulk" / name, size) for name, size in sorted(part["files"].items())]
        for address, local, size in wanted:
            local.parent.mkdir(parents=True, exist_ok=True)
            try:
                files.get_file(address, str(local))
            except FileNotFoundError:
                return None
            if local.stat().st_size != size:
                return None
        # The part is complete, so the pending list is left over from a write that had finished or had not started.
        _remove(files, [f"{home}/{PENDING}"] if PENDING in there else [])
    return part


def drop_part(store: Store, stage: str, key: str) -> int:
    """Remove a part and its bulk files; returns how many files. `part.json` is removed first, `pending.json` last."""
    files, root = _files(store)
    home = f"{root}/parts/{stage}/{key}"
    with reachable(store.uri):
        there = _listed(files, home).get("", {})
        if not there:
            return 0
        bulk = _named(files, home, there)
        _put_json(files, f"{home}/{PENDING}", {"files": sorted(bulk)})
        first = [INDEX] if INDEX in there else []
        rest = sorted(set(there) - {INDEX, PENDING})
        removed = _remove(files, [f"{home}/{name}" for name in first])
        removed += _remove(files, [f"{root}/{name}" for name in sorted(bulk)])
        removed += _remove(files, [f"{home}/{name}" for name in rest])
        _remove(files, [f"{home}/{PENDING}"])
        return removed


def drop_rejected(store: Store, stage: str, reason: str) -> set[str]:
    """Remove the parts of keys that were rejected for this reason (`all`: any); returns these keys."""
    files, root = _files(store)
    dropped = set()
    for key, there in stored_parts(store, stage).items():
        if INDEX not in there:
            continue
        with reachable(store.uri):
            part = _read_json(files, f"{root}/parts/{stage}/{key}/{INDEX}")
        reasons = {rejection[1] for rejection in part.get("rejections", [])}
        if reasons and (reason == "all" or reason in reasons):
            drop_part(store, stage, key)
            dropped.add(key)
    return dropped


def keep_files(store: Store, data: Path, names: Iterable[str]) -> None:
    """Copy files of the data folder to the store, if it does not have the same content."""
    files, root = _files(store)
    with reachable(store.uri):
        for name in names:
            content = (data / name).read_bytes()
            try:
                same = _has_md5(files.info(f"{root}/{name}"), content)
            except FileNotFoundError:
                same = False
            if not same:
                files.put_file(str(data / name), f"{root}/{name}")


def stages_of(store: Store) -> list[str]:
    """Stages that have parts in the store."""
    files, root = _files(store)
    with reachable(store.uri):
        return sorted({address[len(f"{root}/parts/") :].partition("/")[0] for address in files.find(f"{root}/parts")})


def sessions_of(store: Store, speaker_id: str) -> set[str]:
    """Sessions with this person, from the tracks table of the store."""
    files, root = _files(store)
    with reachable(store.uri):
        try:
            content = files.cat_file(f"{root}/tables/tracks.parquet")
        except FileNotFoundError:
            return set()
    rows = pq.read_table(io.BytesIO(content), columns=["session_id", "speaker_id"]).to_pylist()
    return {row["session_id"] for row in rows if row["speaker_id"] == speaker_id}


def take_tables(store: Store, folder: Path) -> list[str]:
    """Copy all tables of the store into a local folder; returns their names."""
    files, root = _files(store)
    with reachable(store.uri):
        names = sorted(address[len(root) + 1 :] for address in files.find(f"{root}/tables"))
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            files.get_file(f"{root}/{name}", str(folder / name))
    return names


def _files(store: Store) -> tuple[Any, str]:
    """The file system, and the address of the store in it."""
    use_settings(store.reach)
    options = {} if is_remote_uri(store.uri) else {"auto_mkdir": True}
    with reachable(store.uri):
        files, root = fsspec.url_to_fs(store.uri, use_listings_cache=False, **options)
    return files, root.rstrip("/")


def _listed(files: Any, home: str) -> dict[str, dict[str, Any]]:
    """Files below a folder with their descriptions, grouped by subfolder ("" for the folder itself)."""
    folders: dict[str, dict[str, Any]] = {}
    for address, description in files.find(home, detail=True).items():
        folder, _, name = address[len(home) + 1 :].rpartition("/")
        folders.setdefault(folder, {})[name] = description
    return folders


def _named(files: Any, home: str, there: Iterable[str]) -> set[str]:
    """Bulk files that a part in the store may have, complete or not."""
    notes = [_read_json(files, f"{home}/{name}") for name in (INDEX, PENDING) if name in there]
    return {name for note in notes for name in note.get("files", []) if _is_below(name)}


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
    files.pipe_file(address, json.dumps(content).encode())


def _remove(files: Any, addresses: Iterable[str]) -> int:
    count = 0
    for address in addresses:
        try:
            files.rm_file(address)
            count += 1
        except FileNotFoundError:
            continue
    return count


def _has_md5(description: dict[str, Any], content: bytes) -> bool:
    """Whether the store reports an MD5 for the object, and it is that of `content`."""
    checksum = next((str(description[key]) for key in CHECKSUMS if description.get(key)), "")
    return checksum.strip('"') == hashlib.md5(content, usedforsecurity=False).hexdigest()
