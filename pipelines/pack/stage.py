"""Latents + annotations -> windows: K units of a dyad, both role views, one tar of training samples per session.

Each participant is the agent once and the user once (`role_views`); the view of the whole session is made first, then
cut. Shards are WebDataset tars: equal input gives equal bytes. `wanstreamer.windows` reads them by byte range, through
the index.
"""

import sys
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from pipelines.engine.command import stage_main
from pipelines.engine.files import file_sha256, replace_file, write_bytes_atomic, write_json_atomic
from pipelines.engine.jobs import Job, Rejected, Result
from pipelines.engine.run import RunParams, run_keys
from pipelines.engine.tables import read_rows, rows_by_session, to_table
from pipelines.formats.npy_tar import BLOCK_BYTES, find_member, member_bytes
from pipelines.formats.tokenizer import (
    BEGIN_ID,
    BLANK_ID,
    MISSING_ID,
    TextTokenizer,
    fit_tokenizer,
    load_tokenizer,
)
from pipelines.pack.params import PackParams
from pipelines.pack.role_views import (
    UnitRow,
    WordRow,
    cut_window,
    make_view,
    others_speak,
    role_pairs,
    view_masks,
)
from schemas.fields import SCHEMA_VERSION
from schemas.windows import WINDOW_FIELDS, WINDOW_FORMAT, WINDOW_LABELS, WINDOWS
from wanstreamer.clock import AUDIO_LATENTS_PER_UNIT, UNIT_MS
from wanstreamer.errors import InputError

TOKENIZER_PATH = "models/tokenizer.json"


def run(data: Path, params: PackParams, how: RunParams) -> dict[str, object]:
    """Write `models/tokenizer.json`, `windows/`, `tables/windows.parquet`; return counts."""
    data = data.resolve()
    tables = {name: read_rows(data, name) for name in ("sessions", "tracks", "words", "units", "latents")}
    vae_hashes = {kind: _one_vae_hash(tables["latents"], kind) for kind in ("audio", "video")}
    shapes = {kind: _latent_shape(data, tables["latents"], kind) for kind in ("audio", "video")}
    tokenizer = _make_tokenizer(data, params, tables)
    tables["quality"] = read_rows(data, "quality") if (data / "tables" / "quality.parquet").is_file() else []
    jobs = _make_jobs(data, tables, shapes)
    # Removed first and written last: shards of two runs are never read with one manifest.
    (data / "windows" / "manifest.json").unlink(missing_ok=True)
    counts = run_keys(
        data,
        "pack",
        jobs,
        PackSession,
        params=params,
        tables=(WINDOWS,),
        how=how,
        setup={"params": params, "tokenizer": str(data / TOKENIZER_PATH)},
    )
    rows = read_rows(data, "windows")
    if not rows:
        reasons = ", ".join(f"{count} {reason}" for reason, count in counts["rejected"].items()) or "no sessions"
        raise InputError(
            f"{data / 'tables' / 'rejections' / 'pack.parquet'}: no window could be made ({reasons}); fix what the "
            "reasons name, or add dyads of at least pack.window_units units"
        )
    if not any(row["split"] == "train" for row in rows):
        print(
            "pack: warning: no window is in the train split; to train on all sessions, run again from ingest with "
            "--set ingest.valid_fraction=0 --set ingest.test_fraction=0 (make windows: in ARGS)",
            file=sys.stderr,
        )
    hours = write_index(data, params, rows, shapes, vae_hashes, tokenizer)
    done = {row["session_id"] for row in rows}
    return {
        **counts,
        "window_hours": hours,
        "windows_by_split": dict(sorted(Counter(row["split"] for row in rows).items())),
        "masked_units": _count_masks([job for job in jobs if job.key in done], params),
        "vocab_size": tokenizer.vocab_size,
    }


def _one_vae_hash(latents: Iterable[Mapping[str, Any]], kind: str) -> str | None:
    vae_hashes = {row[f"{kind}_codec"] for row in latents} - {None}
    if len(vae_hashes) > 1:
        raise InputError(
            f"tables/latents.parquet: latents of {len(vae_hashes)} {kind} VAEs, expected one; run encode again"
        )
    return vae_hashes.pop() if vae_hashes else None


def _latent_shape(data: Path, latents: Iterable[Mapping[str, Any]], kind: str) -> list[int]:
    """Shape of one unit's latents: of the existing latents, or else of those that the finished VAE would make.

    A modality without both gets a size of 1 in each dimension, always masked.
    """
    for row in latents:
        if row[f"{kind}_member"] is not None:
            return list(find_member(data / row["shard"], row[f"{kind}_member"]).shape[1:])
    weights = data / "models" / "vae" / f"{kind}.safetensors"
    if not weights.is_file():
        return [AUDIO_LATENTS_PER_UNIT, 1] if kind == "audio" else [1, 1, 1]
    from wanstreamer.vae import load_audio_vae, load_video_vae  # torch takes seconds to import, and is rarely needed

    if kind == "audio":
        return [AUDIO_LATENTS_PER_UNIT, load_audio_vae(weights).config.channels]
    return list(load_video_vae(weights).config.latent_shape)


def _make_tokenizer(data: Path, params: PackParams, tables: Mapping[str, list[dict[str, Any]]]) -> TextTokenizer:
    """Fit or copy to `models/tokenizer.json`: only train tracks of people who did not refuse training are read."""
    final = data / TOKENIZER_PATH
    if params.tokenizer:
        tokenizer = load_tokenizer(Path(params.tokenizer)).tokenizer
    else:
        usable = {_who(row) for row in tables["tracks"] if row["split"] == "train" and _may_train(row)}
        tokenizer = fit_tokenizer([row["word"] for row in tables["words"] if _who(row) in usable], params.vocab_size)
    write_bytes_atomic(final, tokenizer.to_str(pretty=True).encode())
    return load_tokenizer(final)


def _who(row: Mapping[str, Any]) -> tuple[str, str]:
    return row["session_id"], row["participant"]


def _may_train(track: Mapping[str, Any]) -> bool:
    """Unknown consent means: train here, never export or show."""
    return track["consent"] is None or "train" in track["consent"]


def _make_jobs(data: Path, tables: Mapping[str, list[dict[str, Any]]], shapes: Mapping[str, list[int]]) -> list[Job]:
    """A job per session, even if data is missing: the worker rejects what cannot be used, with a reason."""
    grouped = {name: rows_by_session(tables[name]) for name in ("tracks", "words", "units", "latents", "quality")}
    tokenizer_sha256 = file_sha256(data / TOKENIZER_PATH)
    jobs = []
    for session in tables["sessions"]:
        key = session["session_id"]
        latents = grouped["latents"].get(key, [])
        spec = {
            "split": session["split"],
            "licence": session["licence"],
            "num_units": session["num_units"],
            "tracks": {row["participant"]: row for row in grouped["tracks"].get(key, [])},
            "latents": {row["participant"]: row for row in latents},
            "words": _by_participant(grouped["words"].get(key, []), WordRow._fields),
            "units": _by_participant(grouped["units"].get(key, []), UnitRow._fields),
            "shapes": dict(shapes),
            "poor": sorted(row["participant"] for row in grouped["quality"].get(key, []) if not row["usable"]),
        }
        shards = sorted({row["shard"] for row in latents})
        jobs.append(
            Job(key=key, spec=spec, inputs=(tokenizer_sha256, *(file_sha256(data / shard) for shard in shards)))
        )
    return jobs


def _by_participant(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> dict[str, list[list[Any]]]:
    grouped: dict[str, list[list[Any]]] = {}
    for row in rows:
        grouped.setdefault(row["participant"], []).append([row[column] for column in columns])
    return grouped


class PackSession:
    """One session -> its shard and window rows. Built once per worker process, as it loads the tokenizer."""

    def __init__(self, *, params: PackParams, tokenizer: str) -> None:
        self.params = params
        self.tokenizer = load_tokenizer(Path(tokenizer))

    def __call__(self, job: Job, data: Path, scratch: Path) -> Result:
        params, spec = self.params, job.spec
        _reject_unusable(spec, params)
        rows: list[dict[str, Any]] = []
        rejections = []
        shard = f"windows/{job.key}.tar"
        latents = {who: _latents(data, spec, who) for who in sorted(spec["tracks"])}
        with (scratch / "windows.tar").open("wb") as file:
            for agent, user in role_pairs(spec):
                view, lost = make_view(spec, agent, user, self.tokenizer, params)
                media = {
                    f"{role}_{kind}": array
                    for role, who in (("agent", agent), ("user", user))
                    for kind, array in latents[who].items()
                }
                starts, crowded = free_starts(others_speak(spec, agent, user), params.window_units, params.stride_units)
                if crowded:
                    rejections.append((f"{job.key}/{agent}-{user}", "third_speaker", f"{crowded} units"))
                rejections += [(f"{job.key}/{agent}", f"{who}_text_past_end", f"{n} tokens") for who, n in lost.items()]
                for start in starts:
                    window_id = _window_id(job.key, spec, agent, user, start)
                    sample = cut_window(view, media, spec["shapes"], start, start + params.window_units)
                    talk_ms = sample["labels"][:, :2]
                    if (talk_ms >= 0).all() and talk_ms.sum() < params.min_talk_ms:
                        rejections.append((window_id, "little_talk", f"{talk_ms.sum()} ms"))
                        continue
                    content = sample_bytes(window_id, sample)
                    place = {"offset": file.tell(), "num_bytes": len(content), "crc32": zlib.crc32(content)}
                    file.write(content)
                    rows.append(_window_row(job.key, spec, agent, user, start, sample) | place)
            file.write(bytes(2 * BLOCK_BYTES))  # end of archive
        if not rows:
            return Result(rejections=[*rejections, (job.key, "no_windows", "every window was left out")])
        sha256 = file_sha256(scratch / "windows.tar")
        for row in rows:
            row |= {"shard": shard, "shard_sha256": sha256}
        return Result(tables={"windows": rows}, files={shard: scratch / "windows.tar"}, rejections=rejections)


def _reject_unusable(spec: Mapping[str, Any], params: PackParams) -> None:
    """Raise Rejected for a session that cannot give any window."""
    tracks, latents, num_units = spec["tracks"], spec["latents"], spec["num_units"]
    if not role_pairs(spec):
        raise Rejected("not_a_dyad", f"{len(tracks)} tracks; a manifest can name who talks with whom (partners)")
    refused = sorted(who for who, track in tracks.items() if not _may_train(track))
    if refused:
        raise Rejected("no_consent_to_train", f"participant {', '.join(refused)}")
    if spec["poor"]:
        raise Rejected("poor_quality", f"participant {', '.join(spec['poor'])}: see rejections of the quality stage")
    if set(latents) != set(tracks):
        raise Rejected("no_latents", f"participant {', '.join(sorted(set(tracks) - set(latents)))}")
    lengths = {num_units, *(row["num_units"] for rows in (tracks, latents) for row in rows.values())}
    lengths |= {len(spec["units"].get(who, [])) for who in tracks}
    if len(lengths) > 1:
        raise Rejected("lengths_differ", f"units: {sorted(lengths)}")
    if num_units < params.window_units:
        raise Rejected("shorter_than_window", f"{num_units} units, a window is {params.window_units}")


def _latents(data: Path, spec: Mapping[str, Any], who: str) -> dict[str, np.ndarray | None]:
    """A participant's latents, mapped from disk; None for a missing modality."""
    row = spec["latents"][who]
    members = {kind: row[f"{kind}_member"] for kind in ("audio", "video")}
    return {kind: find_member(data / row["shard"], name).mapped() if name else None for kind, name in members.items()}


def window_starts(num_units: int, window_units: int, stride_units: int) -> list[int]:
    """First units of the windows of a session; the last window ends with the session, so that no unit is lost."""
    last = num_units - window_units
    starts = list(range(0, last + 1, stride_units))
    return starts if not starts or starts[-1] == last else [*starts, last]


def free_starts(blocked: np.ndarray, window_units: int, stride_units: int) -> tuple[list[int], int]:
    """First units of the windows without a blocked unit, and how many units are in no window."""
    edges = np.flatnonzero(np.diff(np.pad(blocked, 1, constant_values=True).astype(np.int8)))
    free = [(int(start), int(stop)) for start, stop in zip(edges[::2], edges[1::2], strict=True)]
    long = [(start, stop) for start, stop in free if stop - start >= window_units]
    starts = [
        start + first for start, stop in long for first in window_starts(stop - start, window_units, stride_units)
    ]
    return starts, len(blocked) - sum(stop - start for start, stop in long)


def sample_bytes(window_id: str, sample: Mapping[str, np.ndarray]) -> bytes:
    """Consecutive tar members `<window_id>.<field>.npy`, sorted by name; clock and user change nothing in them."""
    return b"".join(member_bytes(f"{window_id}.{name}.npy", sample[name]) for name in sorted(sample))


def _window_id(key: str, spec: Mapping[str, Any], agent: str, user: str, start: int) -> str:
    view = agent if len(spec["tracks"]) == 2 else f"{agent}-{user}"
    return f"{key}-{view}-{start:06d}"


def _window_row(
    key: str, spec: Mapping[str, Any], agent: str, user: str, start: int, sample: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    tracks = spec["tracks"]
    consents = [tracks[who]["consent"] for who in (agent, user)]
    both = None if None in consents else sorted(set(consents[0]) & set(consents[1]))
    return {
        "window_id": _window_id(key, spec, agent, user, start),
        "session_id": key,
        "split": spec["split"],
        "agent": agent,
        "user": user,
        "agent_speaker_id": tracks[agent]["speaker_id"],
        "user_speaker_id": tracks[user]["speaker_id"],
        "start_unit": start,
        "num_units": len(sample["labels"]),
        "agent_speech_ms": int(sample["labels"][:, 0].clip(min=0).sum()),
        "user_audio_masked_units": int((~sample["user_audio_known"]).sum()),
        "agent_audio_masked_units": int((~sample["agent_audio_known"]).sum()),
        "licence": spec["licence"],
        "consent": both,
    }


def _count_masks(jobs: Iterable[Job], params: PackParams) -> dict[str, int]:
    """Masked units by reason over the packed sessions, each unit once per role view."""
    counts: Counter[str] = Counter()
    for job in jobs:
        for agent, user in role_pairs(job.spec):
            for reason, mask in view_masks(job.spec, agent, user, params).items():
                counts[reason] += int(mask.sum())
    return dict(sorted(counts.items()))


def write_index(
    data: Path,
    params: PackParams,
    rows: Sequence[Mapping[str, Any]],
    shapes: Mapping[str, Sequence[int]],
    vae_hashes: Mapping[str, str | None],
    tokenizer: TextTokenizer,
) -> dict[str, float]:
    """Write `windows/index.parquet`, then `windows/manifest.json`; the folder is readable without the tables.

    Returns hours of windows per split; overlapping windows and both views count each.
    """
    folder = data / "windows"
    stored = to_table("windows", [{**row, "shard": Path(row["shard"]).name} for row in rows]).drop_columns(
        "shard_sha256"
    )
    temporary = folder / f".index.{params.window_units}.tmp"
    pq.write_table(stored, temporary, compression="zstd")
    replace_file(temporary, folder / "index.parquet")
    shards: dict[str, dict[str, Any]] = {}
    for row in rows:
        entry = shards.setdefault(
            Path(row["shard"]).name,
            {
                "path": Path(row["shard"]).name,
                "split": row["split"],
                "sha256": row["shard_sha256"],
                "num_bytes": (data / row["shard"]).stat().st_size,
                "num_windows": 0,
            },
        )
        entry["num_windows"] += 1
    totals = window_totals((row["split"] for row in rows), params.window_units)
    sizes = {"K": [params.window_units], "S": [params.text_slots], "L": [len(WINDOW_LABELS)]}
    trailing = {"NC": list(shapes["audio"]), "CHW": list(shapes["video"])}

    def shape(dimensions: str) -> list[int]:
        rest = dimensions[1:]
        return sizes["K"] + (trailing[rest] if rest in trailing else sizes[rest] if rest else [])

    manifest = {
        "format_version": WINDOW_FORMAT,
        "schema_version": SCHEMA_VERSION,
        **totals,
        "window_units": params.window_units,
        "fields": {name: {"dtype": dtype, "shape": shape(dims)} for name, (dtype, dims) in WINDOW_FIELDS.items()},
        "vocab_size": tokenizer.vocab_size,
        "text_slots": params.text_slots,
        "text_lead_units": params.text_lead_units,
        "blank_id": BLANK_ID,
        "missing_id": MISSING_ID,
        "begin_id": BEGIN_ID,
        "tokenizer_sha256": file_sha256(data / TOKENIZER_PATH),
        "audio_codec": vae_hashes["audio"],
        "video_codec": vae_hashes["video"],
        "index_sha256": file_sha256(folder / "index.parquet"),
        "shards": [shards[name] for name in sorted(shards)],
    }
    write_json_atomic(folder / "manifest.json", manifest)
    return totals["hours"]


def window_totals(splits: Iterable[str], window_units: int) -> dict[str, dict[str, Any]]:
    """`windows` and `hours` of a manifest, per split, from the split of each window of the index."""
    windows = Counter(splits)
    hours = {split: round(count * window_units * UNIT_MS / 3_600_000, 4) for split, count in windows.items()}
    return {"windows": dict(sorted(windows.items())), "hours": dict(sorted(hours.items()))}


def main() -> None:
    stage_main("pack", PackParams, run)
