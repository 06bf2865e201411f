"""Window shards -> what a reader needs to find a window: an index beside each shard, `runs.arrow`, the manifest.

Any process may write the index of a shard. One process writes runs and manifest, from a few numbers per shard and
session; it never has the rows of all windows in memory. The manifest is written last: without it, no window is read.
wanstreamer/windows/index.py reads all of this.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.engine.files import replace_file, write_json_atomic
from pipelines.formats.tokenizer import BEGIN_ID, BLANK_ID, MISSING_ID
from pipelines.pack.params import PackParams
from schemas.fields import SCHEMA_VERSION
from schemas.windows import RUNS, WINDOW_FIELDS, WINDOW_FORMAT, WINDOW_LABELS, WINDOWS
from wanstreamer.clock import UNIT_MS
from wanstreamer.windows.index import index_path
from wanstreamer.windows.manifest import manifest_hash

NOT_IN_INDEX = ("shard",)  # equal in all rows; the manifest has it
REPEATED = ("session_id", "split", "agent", "user", "agent_speaker_id", "user_speaker_id", "licence")
BEFORE = ".manifest-before.json"  # the last manifest, while the folder is written
ORDER = ("session_id", "agent", "user", "start_unit")


class ShardLine(NamedTuple):
    """A shard as the manifest lists it. `path` is below the folder of windows."""

    path: str
    split: str
    num_windows: int
    num_bytes: int
    sha256: str
    index_sha256: str


class Run(NamedTuple):
    """Consecutive windows of one session in one shard; `agent`, `user` and `start_unit` are those of the first one."""

    split: str
    session_id: str
    agent: str
    user: str
    start_unit: int
    shard: str  # its path below the folder of windows
    first_row: int
    num_windows: int


class SessionDigest(NamedTuple):
    """SHA-256 of a session's windows, one after the other in their order.

    Of a session that is larger than a shard, and so has several segments: of the list of their hashes.
    """

    split: str
    session_id: str
    sha256: str


def write_shard_index(shard: Path, rows: pa.Table) -> str:
    """Write the index beside a shard and return its SHA-256. Equal rows give equal bytes.

    Args:
        rows: The shard's windows in the order of the tar, with at least the columns of the table `windows`; `shard`
            may be missing.

    Raises ValueError if the rows are not in the order of the tar, of more than one split, or if a session's windows are
    not sorted by agent, user and first unit.
    """
    rows = _stored(rows)
    _check_order(shard, rows)
    path = Path(index_path(str(shard)))
    _write_ipc(path, rows)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def shard_runs(path: str, rows: pa.Table) -> list[Run]:
    """The runs of a shard, from its rows in the order of the tar. `path` is below the folder of windows."""
    begin = _session_begins(rows["session_id"])
    lengths = np.diff(begin, append=len(rows)).tolist()
    first = rows.select(["split", "session_id", "agent", "user", "start_unit"]).take(pa.array(begin)).to_pylist()
    return [
        Run(**window, shard=path, first_row=first_row, num_windows=length)
        for window, first_row, length in zip(first, begin.tolist(), lengths, strict=True)
    ]


def read_runs(folder: Path, shards: Sequence[Mapping[str, Any]]) -> list[Run]:
    """The runs of a folder of windows; `shards` as its manifest lists them."""
    with pa.OSFile(str(folder / "runs.arrow")) as file:
        rows = pa.ipc.open_file(file).read_all()
    return [Run(**row | {"shard": shards[row["shard"]]["path"]}) for row in rows.to_pylist()]


def known_runs(folder: Path, shards: Mapping[str, ShardLine]) -> dict[str, list[Run]]:
    """Path -> runs of those of `shards` that the folder's last manifest lists with the same index; {} without one.

    The indexes are not read.
    """
    try:
        manifest = json.loads((folder / BEFORE).read_bytes())
        content = (folder / "runs.arrow").read_bytes()
        if hashlib.sha256(content).hexdigest() != manifest["runs_sha256"]:
            return {}
        same = {
            shard["path"]
            for shard in manifest["shards"]
            if shard["path"] in shards and shards[shard["path"]].index_sha256 == shard["index_sha256"]
        }
        runs = read_runs(folder, manifest["shards"])
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
        return {}  # it is written again from the indexes
    known: dict[str, list[Run]] = {}
    for run in runs:
        if run.shard in same:
            known.setdefault(run.shard, []).append(run)
    return known


def content_sha256(sessions: Iterable[SessionDigest]) -> dict[str, str]:
    """Split -> hash of its windows: of the lines `session_id sha256`, sorted. Shards have no part in it."""
    by_split: dict[str, list[SessionDigest]] = {}
    for session in sessions:
        by_split.setdefault(session.split, []).append(session)
    hashes = {}
    for split, of_split in sorted(by_split.items()):
        content = hashlib.sha256()
        for session in sorted(of_split):
            content.update(f"{session.session_id} {session.sha256}\n".encode())
        hashes[split] = content.hexdigest()
    return hashes


def about_windows(
    params: PackParams,
    shapes: Mapping[str, Sequence[int]],
    vae_hashes: Mapping[str, str | None],
    vocab_size: int,
    tokenizer_sha256: str,
) -> dict[str, Any]:
    """What a manifest says about all windows.

    Args:
        shapes: Of one unit's latents, by `audio` and `video`.
        vae_hashes: Of the VAEs that made the latents, by `audio` and `video`; None if no window has any.
    """
    return {
        "window_units": params.window_units,
        "fields": _fields(params, shapes),
        "vocab_size": vocab_size,
        "text_slots": params.text_slots,
        "text_lead_units": params.text_lead_units,
        "blank_id": BLANK_ID,
        "missing_id": MISSING_ID,
        "begin_id": BEGIN_ID,
        "tokenizer_sha256": tokenizer_sha256,
        "audio_codec": vae_hashes["audio"],
        "video_codec": vae_hashes["video"],
    }


def write_manifest(
    folder: Path,
    shards: Iterable[ShardLine],
    runs: Iterable[Run],
    sessions: Iterable[SessionDigest],
    *,
    params: PackParams,
    shapes: Mapping[str, Sequence[int]],
    vae_hashes: Mapping[str, str | None],
    vocab_size: int,
    tokenizer_sha256: str,
) -> dict[str, float]:
    """As `write_lists`, for a folder that had no manifest before."""
    about = about_windows(params, shapes, vae_hashes, vocab_size, tokenizer_sha256)
    return write_lists(folder, shards, runs, sessions, about)


def write_lists(
    folder: Path,
    shards: Iterable[ShardLine],
    runs: Iterable[Run],
    sessions: Iterable[SessionDigest],
    about: Mapping[str, Any],
) -> dict[str, float]:
    """Write `runs.arrow` and then `manifest.json`, which makes the folder readable without the tables.

    `about`: as of `about_windows`, or an earlier manifest of the folder.

    Returns hours of windows per split; overlapping windows and both views count each.

    Raises ValueError if shards, runs and sessions do not belong together.
    """
    shards, runs, sessions = sorted(shards), sorted(runs), list(sessions)
    _check_together(shards, runs, sessions)
    runs_sha256 = _write_runs(folder, shards, runs)
    windows: Counter[str] = Counter()
    for shard in shards:
        windows[shard.split] += shard.num_windows
    totals = window_totals(windows, about["window_units"])
    manifest = {
        **{name: value for name, value in about.items() if name != "manifest_sha256"},
        "format_version": WINDOW_FORMAT,
        "schema_version": SCHEMA_VERSION,
        **totals,
        "content_sha256": content_sha256(sessions),
        "runs_sha256": runs_sha256,
        "shards": [shard._asdict() for shard in shards],
    }
    write_json_atomic(folder / "manifest.json", manifest | {"manifest_sha256": manifest_hash(manifest)})
    return totals["hours"]


def window_totals(windows: Mapping[str, int], window_units: int) -> dict[str, dict[str, Any]]:
    """`windows` and `hours` of a manifest, from the number of windows of each split."""
    hours = {split: round(count * window_units * UNIT_MS / 3_600_000, 4) for split, count in windows.items()}
    return {"windows": dict(sorted(windows.items())), "hours": dict(sorted(hours.items()))}


def _fields(params: PackParams, shapes: Mapping[str, Sequence[int]]) -> dict[str, dict[str, Any]]:
    trailing = {"": [], "S": [params.text_slots], "L": [len(WINDOW_LABELS)]}
    trailing |= {"NC": list(shapes["audio"]), "CHW": list(shapes["video"])}
    return {
        name: {"dtype": dtype, "shape": [params.window_units, *trailing[dimensions.removeprefix("K")]]}
        for name, (dtype, dimensions) in WINDOW_FIELDS.items()
    }


def _stored(rows: pa.Table) -> pa.Table:
    """The index's columns: those of the table `windows`; strings that repeat as numbers and a dictionary.

    The fields' descriptions are left out: another wording must not change the bytes.
    """
    columns = {}
    for field in WINDOWS.schema:
        if field.name in NOT_IN_INDEX:
            continue
        kind = pa.dictionary(pa.int32(), field.type) if field.name in REPEATED else field.type
        column = rows[field.name].combine_chunks()
        if pa.types.is_dictionary(kind):
            column = (column.cast(field.type) if pa.types.is_dictionary(column.type) else column).dictionary_encode()
        columns[pa.field(field.name, kind, nullable=field.nullable)] = column.cast(kind)
    return pa.Table.from_arrays(list(columns.values()), schema=pa.schema(list(columns)))


def _write_ipc(path: Path, rows: pa.Table) -> None:
    """One record batch, not compressed: a reader finds each value at its place in the file."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.parent.mkdir(parents=True, exist_ok=True)
    with pa.OSFile(str(temporary), "wb") as file, pa.ipc.new_file(file, rows.schema) as writer:
        writer.write_table(rows.combine_chunks())
    replace_file(temporary, path)


def _write_runs(folder: Path, shards: Sequence[ShardLine], runs: Sequence[Run]) -> str:
    numbers = {shard.path: number for number, shard in enumerate(shards)}
    columns: dict[str, list[Any]] = {
        name: list(values) for name, values in zip(Run._fields, zip(*runs, strict=True), strict=True)
    }
    columns["shard"] = [numbers[path] for path in columns["shard"]]
    plain = pa.schema([pa.field(field.name, field.type, nullable=False) for field in RUNS])
    _write_ipc(folder / "runs.arrow", pa.Table.from_pydict(columns, schema=plain))
    with (folder / "runs.arrow").open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _session_begins(session_ids: pa.ChunkedArray) -> np.ndarray:
    """The rows at which another session begins than that of the row before."""
    codes = session_ids.combine_chunks()
    codes = (codes if pa.types.is_dictionary(codes.type) else codes.dictionary_encode()).indices.to_numpy()
    return np.flatnonzero(np.diff(codes, prepend=-1))


def _check_order(shard: Path, rows: pa.Table) -> None:
    offset, num_bytes = (rows[name].to_numpy() for name in ("offset", "num_bytes"))
    if not len(rows) or offset[0] < 0 or (offset[1:] < (offset + num_bytes)[:-1]).any():
        raise ValueError(f"{shard}: rows are not in the order of the tar, or overlap, or there are none")
    if len(rows["split"].unique()) > 1:
        raise ValueError(f"{shard}: windows of more than one split")
    begins = set(_session_begins(rows["session_id"]).tolist())
    smaller = np.zeros(len(rows) - 1, dtype=bool)  # than the row before, or equal; the last column decides first
    equal = np.ones(len(rows) - 1, dtype=bool)
    for name in ORDER[1:]:
        column = rows[name].combine_chunks()
        column = column.cast(WINDOWS.schema.field(name).type)
        after, before = column.slice(1), column.slice(0, len(rows) - 1)
        smaller |= equal & pc.less(after, before).to_numpy(zero_copy_only=False)
        equal &= pc.equal(after, before).to_numpy(zero_copy_only=False)
    for place in (np.flatnonzero(smaller | equal) + 1).tolist():
        if place not in begins:
            raise ValueError(f"{shard}: window {rows['window_id'][place]} is not in the order of {', '.join(ORDER)}")


def _check_together(shards: Sequence[ShardLine], runs: Sequence[Run], sessions: Sequence[SessionDigest]) -> None:
    for kind, keys in (("shard", [shard.path for shard in shards]), ("session", [item[:2] for item in sessions])):
        for key, count in Counter(keys).items():
            if count > 1:
                raise ValueError(f"windows: {kind} {key} is listed twice")
    in_runs: Counter[tuple[str, str]] = Counter()
    for run in runs:
        in_runs[run.shard, run.split] += run.num_windows
    in_shards = {(shard.path, shard.split): shard.num_windows for shard in shards}
    for kind, odd in (
        ("shards and runs", dict(in_runs).items() ^ in_shards.items()),
        ("sessions and runs", {run[:2] for run in runs} ^ {session[:2] for session in sessions}),
    ):
        if odd:
            raise ValueError(f"windows: {kind} differ in {sorted(odd)[0]}")
