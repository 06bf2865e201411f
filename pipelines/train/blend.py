"""`duplex.data` -> the windows of a training: one folder, or several with weights and conditions; checked together.

Without entries, the windows are those of the data folder, all of them, in the order that they have always had.
"""

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.train.filters import matching, people
from pipelines.train.params import WindowFolder
from wanstreamer.errors import InputError
from wanstreamer.windows.blend import Blend, check_agree
from wanstreamer.windows.index import Windows, open_windows
from wanstreamer.windows.manifest import Manifest, folder_at, read_manifest

NAMED = 5  # people named in an error; the others are counted


@dataclass(frozen=True, kw_only=True)
class TrainingWindows:
    """What a training reads.

    `valid`: windows of the validation curve, and each set's share of them. `folders`: what metrics, the fingerprint and
    the record beside the weights say about each entry; empty for the data folder alone.
    """

    manifest: Manifest  # shapes, VAEs and tokenizer, equal in all folders
    train: Windows | Blend
    valid: tuple[tuple[Windows, float], ...]
    folders: tuple[dict[str, Any], ...] = ()

    @property
    def sets(self) -> tuple[Windows, ...]:
        return self.train.sets if isinstance(self.train, Blend) else (self.train,)


def open_training(section: str, windows: Path, entries: Sequence[WindowFolder], samples: int) -> TrainingWindows:
    """The windows to train on. `windows`: those of the data folder; `samples`: how many windows the training draws.

    Raises InputError for a folder that cannot be read, folders that do not fit one model, a condition that is none or
    matches nothing, and a person who would be trained on in one folder and held out in another.
    """
    if not entries:
        manifest = read_manifest(windows)
        own = _split(windows, manifest, "valid")
        return TrainingWindows(
            manifest=manifest, train=open_windows(windows, "train"), valid=((own, 1.0),) if own else ()
        )
    places = [folder_at(entry.path) for entry in entries]
    manifests = [read_manifest(place) for place in places]
    check_agree(manifests)
    names = [f"{section}.data[{number}].where" for number in range(len(entries))]
    whole = [open_windows(place, "train") for place in places]
    chosen = [matching(w, entry.where, name) for w, entry, name in zip(whole, entries, names, strict=True)]
    total = sum(entry.weight for entry in entries)
    shares = [entry.weight / total for entry in entries]
    folders = [
        {
            "path": entry.path, "where": entry.where, "weight": entry.weight, "share": round(share, 6),
            "windows": len(part), "of_windows": len(every), "refused_train": refused,
            "people": len(people(part)), "times_each": round(samples * share / len(part), 2),
            "content_sha256": part.content_sha256,
        }
        for entry, share, every, (part, refused) in zip(entries, shares, whole, chosen, strict=True)
    ]  # fmt: skip
    trained = [part for part, _ in chosen]
    _check_people(section, trained, windows)
    valid = [
        (matching(held_out, entry.where, name)[0], share)
        for entry, place, manifest, share, name in zip(entries, places, manifests, shares, names, strict=True)
        if (held_out := _split(place, manifest, "valid")) and _matches(held_out, entry.where, name)
    ]
    return TrainingWindows(
        manifest=_with_codecs(manifests),
        train=trained[0] if len(trained) == 1 else Blend(list(zip(trained, [e.weight for e in entries], strict=True))),
        valid=tuple(valid),
        folders=tuple(folders),
    )


def report(section: str, folders: Sequence[Mapping[str, Any]]) -> None:
    """One line per folder: how many of its windows are used, their share, and how often each of them comes."""
    for folder in folders:
        where = f" where {folder['where']}" if folder["where"] else ""
        refused = f"; {folder['refused_train']} more left out, no consent to train" if folder["refused_train"] else ""
        times = "less than once" if folder["times_each"] < 1 else f"about {folder['times_each']:,.1f} times"
        print(
            f"{section}: {folder['path']}: {folder['windows']:,} of {folder['of_windows']:,} train windows{where}, "
            f"{folder['share']:.1%} of the samples, each {times}{refused}",
            file=sys.stderr,
        )


def record(folders: Sequence[Mapping[str, Any]]) -> bytes:
    """`trained_on.json`, beside weights that several folders have made: which windows of which folders."""
    return (json.dumps({"folders": list(folders)}, indent=2) + "\n").encode()


def _split(place: Path, manifest: Manifest, split: str) -> Windows | None:
    """The windows of a split, None if a small corpus has none."""
    return open_windows(place, split) if split in manifest.content_sha256 else None


def _matches(windows: Windows, where: str, name: str) -> bool:
    try:
        return bool(matching(windows, where, name))
    except InputError:  # none of them; a wrong condition was found in the windows of train
        return False


def _with_codecs(manifests: Sequence[Manifest]) -> Manifest:
    """The first manifest with the VAEs of all: a folder without any audio names no audio VAE."""
    codecs = {
        name: next((value for manifest in manifests if (value := getattr(manifest, name)) is not None), None)
        for name in ("audio_codec", "video_codec")
    }
    return dataclasses.replace(manifests[0], **codecs)  # type: ignore[arg-type]


def _check_people(section: str, trained: Sequence[Windows], own: Path) -> None:
    """Nobody may be trained on who is in `valid` or `test` of any folder, the data folder's own windows included."""
    held_out: dict[str, tuple[Path, str]] = {}
    folders = [windows.manifest for windows in trained]
    if own.joinpath("manifest.json").is_file() and own not in [manifest.folder for manifest in folders]:
        folders.append(read_manifest(own))
    for manifest in folders:
        for split in sorted(set(manifest.content_sha256) - {"train"}):
            for person in people(open_windows(manifest.folder, split)):
                held_out.setdefault(person, (manifest.folder, split))
    for windows in trained:
        both = sorted(people(windows) & held_out.keys())
        if both:
            folder, split = held_out[both[0]]
            names = ", ".join(both[:NAMED]) + (f" and {len(both) - NAMED} more" if len(both) > NAMED else "")
            listed = ", ".join(f"'{name}'" for name in both[:NAMED])
            raise InputError(
                f"{section}.data: {names}: in train of {windows.manifest.folder}, but {both[0]} is in {split} of "
                f"{folder}; ingest both with one ingest.split_salt, or leave them out of the first: "
                f"where: agent_speaker_id NOT IN ({listed}) AND user_speaker_id NOT IN ({listed})"
            )
