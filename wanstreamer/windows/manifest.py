"""A folder of windows: reads and checks its manifest; no window is read here.

The folder contains `manifest.json` (format version, fields, shards, hashes), `runs.arrow` (which sessions lie where)
and the shards: tars of many sessions, each with an index beside it, one row per window (wanstreamer/windows/index.py).
It needs no other file. It may be local or in any place that fsspec opens (`s3://bucket/windows`).
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from wanstreamer.errors import InputError

WINDOW_FORMAT = 2

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
    content_sha256: dict[str, str]  # split -> hash of its windows, which does not depend on the shards they lie in
    runs_sha256: str  # of runs.arrow
    shards: tuple[dict[str, Any], ...]  # path below the folder, split, num_windows, num_bytes, sha256, index_sha256
    hours: dict[str, float]


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

    Raises InputError, naming the file, the value and what was expected, if the manifest is missing, damaged, of another
    format version, or if it names other fields than `FIELDS`.
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
    if version == 1:
        raise InputError(
            f"{path}: window format 1, expected {WINDOW_FORMAT}; python -m tools.upgrade upgrades the data folder"
        )
    if version != WINDOW_FORMAT:
        raise InputError(f"{path}: window format {version!r}, expected {WINDOW_FORMAT}; run the pack stage again")
    if content_json.get("manifest_sha256") != manifest_hash(content_json):
        raise InputError(f"{path}: damaged or changed (its own hash differs); run the pack stage again")
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
            content_sha256=dict(content_json["content_sha256"]),
            runs_sha256=content_json["runs_sha256"],
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


def manifest_hash(content: Mapping[str, Any]) -> str:
    """SHA-256 of a manifest without its entry `manifest_sha256`, which contains it: a changed number would be used."""
    covered = {name: value for name, value in content.items() if name != "manifest_sha256"}
    return hashlib.sha256(json.dumps(covered, sort_keys=True).encode()).hexdigest()


def _folders_near(folder: Path) -> list[Path]:
    """Where the windows are if the user named the data folder, or the folder above it."""
    return [folder / "windows", folder / "data" / "windows", folder.parent / "data" / "windows"]
