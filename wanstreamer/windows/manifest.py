"""A folder of windows: reads and checks its manifest and index; no sample is read here.

The folder contains `manifest.json` (format version, fields, shards), `index.parquet` (one row per window: split, shard,
byte range, checksum) and one tar per session. It may be local or in any place that fsspec opens
(`s3://bucket/windows`).
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from wanstreamer.errors import InputError

WINDOW_FORMAT = 1

# Field -> (dtype on disk, dimensions). K units come first everywhere.
FIELDS: dict[str, tuple[str, str]] = {
    "agent_audio": ("float16", "KNC"),
    "agent_audio_known": ("bool", "K"),
    "agent_text": ("int32", "KS"),
    "agent_text_known": ("bool", "K"),
    "agent_video": ("float16", "KCHW"),
    "agent_video_known": ("bool", "K"),
    "labels": ("int32", "KL"),
    "user_audio": ("float16", "KNC"),
    "user_audio_known": ("bool", "K"),
    "user_text": ("int32", "KS"),
    "user_text_known": ("bool", "K"),
    "user_video": ("float16", "KCHW"),
    "user_video_known": ("bool", "K"),
}
LABELS = ("agent_speech_ms", "user_speech_ms", "agent_backchannel", "agent_interruption_role")
INTERRUPTION_ROLES = {None: 0, "challenger": 1, "incumbent": 2}  # who interrupts, and who is interrupted


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The content of one folder of windows; the model needs `window_units` K and the text ids too."""

    folder: Path
    format_version: int
    window_units: int
    field_shapes: dict[str, tuple[int, ...]]
    vocab_size: int
    text_slots: int
    blank_id: int
    missing_id: int
    begin_id: int
    text_lead_units: int
    tokenizer_sha256: str  # of the tokenizer.json that made the text ids
    audio_codec: str | None  # sha256 of the VAE weights that made the latents; null: no audio in any window
    video_codec: str | None
    index_sha256: str
    shards: tuple[dict[str, Any], ...]  # path, num_windows, num_bytes, sha256, split
    hours: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Windows:
    """The windows of one split: a manifest and index rows sorted by window_id."""

    manifest: Manifest
    split: str
    rows: list[dict[str, Any]]


def folder_at(name: str | Path) -> Path:
    """A local path unchanged; `protocol://...` as a `UPath`, which has the methods of a `Path`.

    Raises InputError for a protocol that fsspec does not know, or whose package or universal_pathlib is not installed.
    """
    if not isinstance(name, str) or "://" not in name:
        return Path(name) if isinstance(name, str) else name
    try:
        from upath import UPath
    except ImportError as error:
        raise InputError(
            f"{name}: universal_pathlib is not installed; run pip install 'wanstreamer[remote]'"
        ) from error
    with explained(name):
        place: Any = UPath(name)
        place.fs.invalidate_cache()  # listings cached by an earlier run in this process
    return cast(Path, place)


def uses_fsspec(place: str | Path) -> bool:
    """Whether a folder is opened through fsspec, as `folder_at` opens every `protocol://...`; a local path is not."""
    return not isinstance(place, Path)


@contextmanager
def explained(place: str | Path) -> Iterator[None]:
    """Turn an error of a store, whose libraries raise many kinds, into one line; local errors pass unchanged."""
    try:
        yield
    except (InputError, FileNotFoundError):
        raise
    except Exception as error:
        if not uses_fsspec(place):
            raise
        reason = " ".join(str(error).split()) or "unknown reason"
        remedy = "check the address, the network and the credentials"
        raise InputError(f"{place}: cannot be read ({type(error).__name__}: {reason}); {remedy}") from error


def read_manifest(folder: str | Path) -> Manifest:
    """Read and check `manifest.json`.

    Raises InputError, naming the file, the value and what was expected, if the manifest is missing, unreadable, of
    another format version, or if it names other fields than `FIELDS`.
    """
    folder = folder_at(folder)
    path = folder / "manifest.json"
    try:
        with explained(path):
            content = path.read_bytes()
        content_json = json.loads(content)
        version = content_json["format_version"]
    except FileNotFoundError as error:
        near = [place for place in _folders_near(folder) if (place / "manifest.json").is_file()]
        if near:
            raise InputError(f"{path}: no window manifest; the windows are in {near[0]}: name that folder") from error
        raise InputError(f"{path}: no window manifest; run the pack stage (it is written last)") from error
    except InputError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a window manifest ({error}); run the pack stage again") from error
    if version != WINDOW_FORMAT:
        raise InputError(f"{path}: window format {version!r}, expected {WINDOW_FORMAT}; run the pack stage again")
    try:
        listed = {name: (item["dtype"], tuple(item["shape"])) for name, item in content_json["fields"].items()}
        manifest = Manifest(
            folder=folder,
            format_version=version,
            window_units=content_json["window_units"],
            field_shapes={name: shape for name, (_, shape) in listed.items()},
            vocab_size=content_json["vocab_size"],
            text_slots=content_json["text_slots"],
            blank_id=content_json["blank_id"],
            missing_id=content_json["missing_id"],
            begin_id=content_json["begin_id"],
            text_lead_units=content_json["text_lead_units"],
            tokenizer_sha256=content_json["tokenizer_sha256"],
            audio_codec=content_json["audio_codec"],
            video_codec=content_json["video_codec"],
            index_sha256=content_json["index_sha256"],
            shards=tuple(content_json["shards"]),
            hours=content_json["hours"],
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: incomplete ({error!r}); run the pack stage again") from error
    if set(listed) != set(FIELDS):
        odd = ", ".join(sorted(set(listed) ^ set(FIELDS)))
        raise InputError(f"{path}: fields differ from format {WINDOW_FORMAT} in: {odd}; run the pack stage again")
    for name, (dtype, shape) in listed.items():
        expected, dimensions = FIELDS[name]
        if dtype != expected or len(shape) != len(dimensions) or shape[0] != manifest.window_units:
            wanted = f"{expected} with dimensions {dimensions}, K = {manifest.window_units}"
            raise InputError(
                f"{path}: field {name} is {dtype} {list(shape)}, expected {wanted}; run the pack stage again"
            )
    return manifest


def _folders_near(folder: Path) -> list[Path]:
    """Where the windows are if the user named the data folder, or the folder above it."""
    return [folder / "windows", folder / "data" / "windows", folder.parent / "data" / "windows"]


def open_windows(folder: str | Path, split: str) -> Windows:
    """The windows of one split (train, valid or test); no sample is read yet.

    Raises InputError for a folder without a valid manifest or index, or a split without windows.
    """
    manifest = read_manifest(folder)
    path = manifest.folder / "index.parquet"
    try:
        with explained(path):
            content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != manifest.index_sha256:
            raise InputError(
                f"{path}: not the index its manifest names; packing was interrupted: run the pack stage again"
            )
        rows = pq.read_table(pa.BufferReader(content)).to_pylist()
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{path}: cannot be read ({type(error).__name__}); run the pack stage again") from error
    of_split = sorted((row for row in rows if row["split"] == split), key=lambda row: row["window_id"])
    if not of_split:
        splits = ", ".join(sorted({row["split"] for row in rows})) or "none"
        raise InputError(
            f"{path}: no windows of split {split!r} (splits found: {splits}); add sessions and run the pack stage again"
        )
    return Windows(manifest=manifest, split=split, rows=of_split)
