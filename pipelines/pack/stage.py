"""Latents + annotations -> windows: K units of a dyad, both role views, one tar of training samples per session.

Each participant is the agent once and the user once (`role_views`); the view of the whole session is made first, then
cut. Shards are WebDataset tars: equal input gives equal bytes. `wanstreamer.windows` reads them by byte range, through
the index.
"""

import json
import sys
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.engine.code import code_hash
from pipelines.engine.command import stage_main
from pipelines.engine.files import file_sha256, hash_of, remove_unfinished, write_bytes_atomic, write_json_atomic
from pipelines.engine.jobs import Job, Rejected, Result, Segment
from pipelines.engine.plan import plan_by_tables, table_version
from pipelines.engine.run import RunParams, run_keys
from pipelines.engine.shards import SHARD_BYTES
from pipelines.engine.state import num_state_buckets, read_state
from pipelines.engine.tables import bucket_table, bucket_tables, row_hashes, rows_by_session, session_rows, table_files
from pipelines.formats.latents import latents_at
from pipelines.formats.npy_tar import array_at, member_bytes
from pipelines.formats.tokenizer import TextTokenizer, fit_tokenizer, load_tokenizer
from pipelines.pack.index import (
    BEFORE,
    Run,
    SessionDigest,
    ShardLine,
    about_windows,
    known_runs,
    shard_runs,
    write_lists,
    write_shard_index,
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
from pipelines.pack.silence import silence_warning
from schemas import TABLES
from schemas.latents import LATENTS
from schemas.windows import MASKS, WINDOWS
from wanstreamer.clock import AUDIO_LATENTS_PER_UNIT, UNIT_MS
from wanstreamer.errors import InputError
from wanstreamer.windows.index import index_path

FITTING_WORDS = 2_000_000  # at most, for the tokenizer: its merges do not change with more
TOKENIZER_PATH = "models/tokenizer.json"


def run(data: Path, params: PackParams, how: RunParams) -> dict[str, Any]:
    """Write `models/tokenizer.json`, `windows/`, the tables `windows` and `masks`; return counts."""
    data = data.resolve()
    vae_hashes = {kind: _one_vae_hash(data, kind) for kind in ("audio", "video")}
    shapes = {kind: _latent_shape(data, kind) for kind in ("audio", "video")}
    tokenizer = _make_tokenizer(data, params)
    tokenizer_sha256 = file_sha256(data / TOKENIZER_PATH)
    tables = ("sessions", "tracks", "words", "units", "latents", "quality")
    # Removed first and written last: shards of two runs are never read with one manifest.
    manifest, before = (data / "windows" / name for name in ("manifest.json", BEFORE))

    def jobs(bucket: int, num_buckets: int) -> Iterator[Job]:
        return _jobs(data, bucket, num_buckets, shapes, tokenizer_sha256)

    def write_manifest() -> None:
        remove_unfinished(manifest)
        if not manifest.is_file():
            about = about_windows(params, shapes, vae_hashes, tokenizer.vocab_size, tokenizer_sha256)
            write_folder(data, about)
        before.unlink(missing_ok=True)

    def move_manifest() -> None:
        if manifest.is_file():
            manifest.replace(before)

    counts = run_keys(
        data,
        "pack",
        plan_by_tables(data, jobs, tables, [shapes, tokenizer_sha256]),
        PackSession,
        params=params,
        tables=(WINDOWS, MASKS),
        how=how,
        setup={"params": params, "tokenizer": str(data / TOKENIZER_PATH)},
        reads=("words", "units", "latents"),
        index=write_shard_index,
        before=move_manifest,
        finish=write_manifest,
    )
    windows = _count(data, "windows", "split", None)
    if not windows:
        reasons = ", ".join(f"{count} {reason}" for reason, count in counts["rejected"].items()) or "no sessions"
        raise InputError(
            f"{data / 'tables' / 'rejections' / 'pack'}: no window could be made ({reasons}); fix what the "
            "reasons name, or add dyads of at least pack.window_units units"
        )
    if "train" not in windows:
        print(
            "pack: warning: no window is in the train split; to train on all sessions, run again from ingest with "
            "--set ingest.valid_fraction=0 --set ingest.test_fraction=0 (make windows: in ARGS)",
            file=sys.stderr,
        )
    if silence := silence_warning(data):
        print(f"pack: warning: {silence}", file=sys.stderr)
    return {
        **counts,
        "window_hours": {
            split: round(count * params.window_units * UNIT_MS / 3_600_000, 4) for split, count in windows.items()
        },
        "windows_by_split": windows,
        "masked_units": _count(data, "masks", "reason", "num_units"),
        "vocab_size": tokenizer.vocab_size,
    }


def _count(data: Path, table: str, group: str, column: str | None) -> dict[str, int]:
    """Value of `group` -> the number of its rows, or the sum of a column over them; bucket by bucket."""
    counts: Counter[str] = Counter()
    for rows in bucket_tables(data, table, [group, column] if column else [group]):
        what: list[Any] = [(column, "sum")] if column else [([], "count_all")]
        summed = rows.group_by(group).aggregate(what)
        for row in summed.to_pylist():
            counts[row[group]] += row[f"{column}_sum" if column else "count_all"]
    return dict(sorted(counts.items()))


def _one_vae_hash(data: Path, kind: str) -> str | None:
    vae_hashes: set[str] = set()
    for rows in bucket_tables(data, "latents", [f"{kind}_codec"]):
        vae_hashes |= set(rows[f"{kind}_codec"].unique().to_pylist()) - {None}
    if len(vae_hashes) > 1:
        raise InputError(f"tables/latents: latents of {len(vae_hashes)} {kind} VAEs, expected one; run encode again")
    return vae_hashes.pop() if vae_hashes else None


def _latent_shape(data: Path, kind: str) -> list[int]:
    """Shape of one unit's latents: of the existing latents, or else of those that the finished VAE would make.

    A modality without both gets a size of 1 in each dimension, always masked.
    """
    for rows in bucket_tables(data, "latents", ["shard", f"{kind}_offset"]):
        for row in rows.filter(pc.is_valid(rows[f"{kind}_offset"])).to_pylist():
            with suppress(OSError, ValueError):  # a damaged shard is found by the session that needs it
                return list(array_at(data / row["shard"], row[f"{kind}_offset"]).shape[1:])
    weights = data / "models" / "vae" / f"{kind}.safetensors"
    if not weights.is_file():
        return [AUDIO_LATENTS_PER_UNIT, 1] if kind == "audio" else [1, 1, 1]
    from wanstreamer.vae import load_audio_vae, load_video_vae  # torch takes seconds to import, and is rarely needed

    if kind == "audio":
        return [AUDIO_LATENTS_PER_UNIT, load_audio_vae(weights).config.channels]
    return list(load_video_vae(weights).config.latent_shape)


def _make_tokenizer(data: Path, params: PackParams) -> TextTokenizer:
    """Fit or copy to `models/tokenizer.json`: only train tracks of people who did not refuse training are read.

    It is not fitted again while the tables that its words came from are the same.
    """
    final, note = data / TOKENIZER_PATH, data / "state" / "pack" / "tokenizer.json"
    remove_unfinished(final)
    if params.tokenizer:
        tokenizer = load_tokenizer(Path(params.tokenizer)).tokenizer
    else:
        known = json.loads(note.read_text()) if note.is_file() else {}
        if final.is_file() and known == {**known, **_fitted_on(data, params, known.get("buckets", 0), final)}:
            return load_tokenizer(final)
        words, buckets = _fitting_words(data)
        tokenizer = fit_tokenizer(words, params.vocab_size)
    content = tokenizer.to_str(pretty=True).encode()
    if not final.is_file() or final.read_bytes() != content:
        write_bytes_atomic(final, content)
    if params.tokenizer:
        note.unlink(missing_ok=True)
    else:
        write_json_atomic(note, {"buckets": buckets, **_fitted_on(data, params, buckets, final)})
    return load_tokenizer(final)


def _fitted_on(data: Path, params: PackParams, buckets: int, tokenizer: Path) -> dict[str, str]:
    """Hashes of what a tokenizer was fitted on, the words of the first so many buckets, and of the tokenizer."""
    num_buckets = len(table_files(data, "sessions"))
    own = {table: num_state_buckets(data, TABLES[table].stage) for table in ("tracks", "words")}
    tables = [table_version(data, table, b, num_buckets, own[table]) for b in range(buckets) for table in own]
    made_by = [params.vocab_size, num_buckets, FITTING_WORDS, code_hash("pipelines.formats.tokenizer")]
    return {"fitted_on": hash_of([made_by, tables]), "tokenizer_sha256": file_sha256(tokenizer)}


def _fitting_words(data: Path) -> tuple[list[str], int]:
    """Words of train tracks, and the number of buckets they are from: all, or the first ones until there are enough."""
    words: list[str] = []
    num_buckets = buckets = len(table_files(data, "sessions"))
    for bucket in range(num_buckets):
        tracks = bucket_table(data, "tracks", bucket, num_buckets).to_pylist()
        usable = {_who(row) for row in tracks if row["split"] == "train" and _may_train(row)}
        rows = bucket_table(data, "words", bucket, num_buckets, ["session_id", "participant", "word"])
        columns = (rows[name].to_pylist() for name in ("session_id", "participant", "word"))
        words += [word for session, who, word in zip(*columns, strict=True) if (session, who) in usable]
        if len(words) >= FITTING_WORDS:
            buckets = bucket + 1
            break
    return words[:FITTING_WORDS], buckets


def _who(row: Mapping[str, Any]) -> tuple[str, str]:
    return row["session_id"], row["participant"]


def _may_train(track: Mapping[str, Any]) -> bool:
    """Unknown consent means: train here, never export or show."""
    return track["consent"] is None or "train" in track["consent"]


def _jobs(
    data: Path, bucket: int, num_buckets: int, shapes: Mapping[str, list[int]], tokenizer_sha256: str
) -> Iterator[Job]:
    """A job per session, even if data is missing: the worker rejects what cannot be used, with a reason.

    Words and units are named by their hash; the worker reads them.
    """
    has_quality = any((data / "tables" / "quality").glob("b=*.parquet"))
    names = ("tracks", "latents", *(("quality",) if has_quality else ()))
    grouped = {name: rows_by_session(bucket_table(data, name, bucket, num_buckets).to_pylist()) for name in names}
    annotated = {name: row_hashes(data, name, bucket, num_buckets) for name in ("words", "units")}
    for session in bucket_table(data, "sessions", bucket, num_buckets).to_pylist():
        key = session["session_id"]
        latents = {row["participant"]: row for row in grouped["latents"].get(key, [])}
        spec = {
            "split": session["split"],
            "licence": session["licence"],
            "num_units": session["num_units"],
            "tracks": {row["participant"]: row for row in grouped["tracks"].get(key, [])},
            "latents": {
                who: {name: value for name, value in row.items() if name not in ("shard", *LATENTS.offsets)}
                for who, row in latents.items()
            },
            "shapes": dict(shapes),
            "poor": sorted(row["participant"] for row in grouped.get("quality", {}).get(key, []) if not row["usable"]),
        }
        yield Job(
            key=key, spec=spec, inputs=(tokenizer_sha256, *(hashes.get(key, "") for hashes in annotated.values()))
        )


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
        params = self.params
        spec = {
            **job.spec,
            "words": _by_participant(session_rows(data, "words", job.key), WordRow._fields),
            "units": _by_participant(session_rows(data, "units", job.key), UnitRow._fields),
        }
        reject_unusable(spec, params)
        rows: list[dict[str, Any]] = []
        masks: list[dict[str, Any]] = []
        rejections = []
        latents = _latents(data, job.key)
        segments = _Segments(scratch, f"windows/{spec['split']}")
        with closing(segments):
            for agent, user in role_pairs(spec):
                masks += _mask_rows(job.key, spec, agent, user, params)
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
                    place = segments.add(sample_bytes(window_id, sample))
                    rows.append(_window_row(job.key, spec, agent, user, start, sample) | place)
        if not rows:
            return Result(rejections=[*rejections, (job.key, "no_windows", "every window was left out")])
        return Result(tables={"windows": rows, "masks": masks}, segments=segments.made, rejections=rejections)


def write_folder(data: Path, about: Mapping[str, Any]) -> None:
    """Write `windows/runs.arrow` and `windows/manifest.json` from the state of all buckets.

    `about`: what the manifest has besides shards and totals (`about_windows`).
    """
    folder = data / "windows"
    shards: dict[str, ShardLine] = {}
    runs: list[Run] = []
    sessions: list[SessionDigest] = []
    for bucket in range(num_state_buckets(data, "pack")):
        state = read_state(data, "pack", bucket)
        for name, entry in state.shards.items():
            path = name.removeprefix("windows/")
            shards[path] = ShardLine(
                path=path, split=path.partition("/")[0], num_windows=entry["num_rows"], num_bytes=entry["num_bytes"],
                sha256=entry["sha256"], index_sha256=entry["index_sha256"],
            )  # fmt: skip
        for key, own in state.keys.items():
            if own.segments:
                split = own.segments[0].shard.split("/")[1]
                hashes = [extent.sha256 for extent in own.segments]
                content = hashes[0] if len(hashes) == 1 else hash_of(hashes)
                sessions.append(SessionDigest(split=split, session_id=key, sha256=content))
    if not shards:
        return
    known = known_runs(folder, shards)
    for path in shards:
        if path not in known:
            with pa.memory_map(index_path(str(folder / path))) as file:
                runs += shard_runs(path, pa.ipc.open_file(file).read_all())
    runs += chain.from_iterable(known.values())
    write_lists(folder, shards.values(), runs, sessions, about)


@contextmanager
def rewrite_folder(data: Path) -> Iterator[None]:
    """Around a change of the shards: the manifest is moved away before it, and written again after it.

    If the change is interrupted, the windows cannot be read until it is done again, or pack has run.
    """
    manifest = data / "windows" / "manifest.json"
    aside = manifest.with_name(".manifest.json")
    if manifest.is_file():
        manifest.replace(aside)
    manifest.with_name("runs.arrow").unlink(missing_ok=True)
    yield
    if aside.is_file():
        write_folder(data, json.loads(aside.read_text()))
        aside.unlink()


class _Segments:
    """Writes samples into files of at most the size of a shard, as a shard takes whole segments only."""

    def __init__(self, scratch: Path, folder: str) -> None:
        self.scratch, self.folder = scratch, folder
        self.made: list[Segment] = []
        self.file: BinaryIO | None = None

    def add(self, content: bytes) -> dict[str, Any]:
        """Write one sample; returns where it is."""
        if self.file is None or self.file.tell() >= SHARD_BYTES:
            self.close()
            path = self.scratch / f"{len(self.made)}.segment"
            self.made.append(Segment(path=path, folder=self.folder))
            self.file = path.open("wb")
        offset = self.file.tell()
        self.file.write(content)
        return {
            "shard": str(len(self.made) - 1),
            "offset": offset,
            "num_bytes": len(content),
            "crc32": zlib.crc32(content),
        }

    def close(self) -> None:
        if self.file is not None:
            self.file.close()


def _mask_rows(key: str, spec: Mapping[str, Any], agent: str, user: str, params: PackParams) -> list[dict[str, Any]]:
    return [
        {"session_id": key, "agent": agent, "user": user, "reason": reason, "num_units": int(mask.sum())}
        for reason, mask in view_masks(spec, agent, user, params).items()
    ]


def reject_unusable(spec: Mapping[str, Any], params: PackParams) -> None:
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


def _latents(data: Path, key: str) -> dict[str, dict[str, np.ndarray | None]]:
    """The latents of each participant, mapped from disk; None for a missing modality."""
    latents: dict[str, dict[str, np.ndarray | None]] = {}
    for row in session_rows(data, "latents", key):
        places = {kind: latents_at(data, row, kind) for kind in ("audio", "video")}
        latents[row["participant"]] = {kind: place.mapped() if place else None for kind, place in places.items()}
    return latents


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


def main() -> None:
    stage_main("pack", PackParams, run)
