"""Held-out windows + the trained model -> figures compared with baselines, with intervals, and pictures and films.

Teacher-forced: the model sees the true past. Audio and video are judged by the squared error of the clean latent that
the model estimates at fixed flow times (at 1 the noisy input tells nothing, and the estimate is the expected
continuation). Text is judged by the cross-entropy of the spoken ids, and by the F1 of the decision to speak. Every
figure is compared with these baselines:

    copy_previous   repeats the previous unit; for text, its ids, as much as the train windows trust them
    silence_still   latents of digital silence; of the first frame that shows the agent, frozen; for text, always BLANK
    unigram         text only: shares of ids on train windows; its decision is the better of always and never
    other_user      the same model and noise, hearing and seeing the user of another held-out session: the mean over
                    `other_users` of them

All use the same units: known units whose previous unit is known too, after the first `warmup_units` of each window, in
windows without overlap. The user's words are withheld, as in live use. For audio and video the agent's words are
withheld too: they already answer the user, and would tell `other_user` what it cannot hear. `with_words` is the model
that reads them; it shows what they are worth. Intervals are paired bootstraps over sessions. In addition, `turn_ends`
measures how well the model tells ends of turns from pauses.
"""

import csv
import dataclasses
import io
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipelines.engine.command import stage_main
from pipelines.engine.files import file_sha256, write_bytes_atomic
from pipelines.engine.inputs import require_media
from pipelines.engine.progress import progress
from pipelines.engine.run import RunParams
from pipelines.engine.tables import read_rows
from pipelines.engine.timings import write_timings
from pipelines.evaluate.params import EvaluateParams
from pipelines.evaluate.rendering import render_reports
from pipelines.evaluate.scoring import Unigram, f1_sums, fit_unigram
from pipelines.evaluate.turn_ends import Silence, chance_to_begin, find_silences, summarize_turn_ends
from pipelines.formats.tokenizer import BLANK_ID, MISSING_ID
from pipelines.media.tracks import read_frames
from wanstreamer.bootstrap import Sums, compare, rounded, session_sums
from wanstreamer.clock import FRAMES_PER_UNIT, samples_per_unit
from wanstreamer.errors import InputError
from wanstreamer.model.duplex import DuplexModel, load_model, text_logits
from wanstreamer.model.flow import denoise_at
from wanstreamer.vae import AudioVAE, VideoVAE, load_audio_vae, load_video_vae
from wanstreamer.windows.loader import (
    Batch,
    Windows,
    epoch_order,
    load_batch,
    load_sample,
    open_windows,
    read_manifest,
)

MODEL, WITH_WORDS = "model", "with_words"
ERROR_BASELINES = ("copy_previous", "silence_still", "other_user")
TEXT_BASELINES: dict[str, tuple[str, ...]] = {
    "cross_entropy": ("copy_previous", "unigram", "other_user"),  # silence gives spoken ids no probability
    "cross_entropy_of_words": ("unigram", "other_user"),  # which id, if something is spoken
    "f1": ("copy_previous", "silence_still", "unigram", "other_user"),
}
# Figure name -> per-window numerators and denominators, in the order of the windows.
Tally = dict[str, list[tuple[np.ndarray, np.ndarray]]]
BatchSilences = tuple[list[Silence], dict[str, np.ndarray]]  # of a batch


def run(data: Path, params: EvaluateParams, how: RunParams) -> dict[str, object]:
    """Write `reports/`, `plots/evaluate_*.csv`; return the figures. One process: float sums depend on order."""
    began_s = time.monotonic()
    torch.set_num_threads(1)
    plots = data.resolve().parent / "plots"
    if "test" not in {shard["split"] for shard in read_manifest(data / "windows").shards}:
        _write_curves(plots, {}, params)
        return {
            "sessions": 0,
            "windows": 0,
            "skipped": "no held-out session; add speakers until some are assigned to test",
        }
    model = load_model(data / "models" / "duplex" / "model.safetensors")
    windows = without_overlaps(open_windows(data / "windows", "test"))
    audio_path, video_path = (data / "models" / "vae" / f"{kind}.safetensors" for kind in ("audio", "video"))
    _check_vaes(windows, {"audio_codec": audio_path, "video_codec": video_path}, model)
    unigram = _fit_text(data, params, model.config.vocab_size)
    # If the corpus lacks a stream, there is no VAE of it, and its figures are null.
    audio_vae = load_audio_vae(audio_path) if windows.manifest.audio_codec else None
    video_vae = load_video_vae(video_path) if windows.manifest.video_codec else None
    tally, silences = tally_windows(data, model, windows, audio_vae, video_vae, unigram, params)
    figures = summarize(tally, [row["session_id"] for row in windows.rows.select("session_id")], params)
    figures["turn_ends"] = summarize_turn_ends(silences)
    _write_curves(plots, figures, params)
    reports = None
    if params.reports:
        reports = render_reports(data, windows, params)
    write_timings(data, "evaluate", {"wall_s": round(time.monotonic() - began_s, 1), "workers": how.num_workers})
    return {**figures, "reports": reports}


def _check_vaes(windows: Windows, vae_paths: Mapping[str, Path], model: DuplexModel) -> None:
    """Model, windows and VAEs must use the same latents and ids."""
    manifest = windows.manifest
    packed_with = {
        "audio_codec": manifest.audio_codec or "",
        "video_codec": manifest.video_codec or "",
        "tokenizer": manifest.tokenizer_sha256,
    }
    for name, packed in packed_with.items():
        trained = getattr(model.config, name)
        if trained and trained != packed:
            raise InputError(
                f"{manifest.folder / 'manifest.json'}: {name} {packed[:12] or 'none'}, but the model was trained with "
                f"{trained[:12]}; run the duplex stage again"
            )
    for name, path in vae_paths.items():
        if not packed_with[name]:
            continue
        if not path.is_file():
            raise InputError(f"{path}: no such file; run the vae stage first")
        if file_sha256(path) != packed_with[name]:
            raise InputError(f"{path}: not the {name} of the windows; run encode and pack again")


def _fit_text(data: Path, params: EvaluateParams, vocab_size: int) -> Unigram:
    train = open_windows(data / "windows", "train")
    drawn = epoch_order(len(train), params.seed, 0)[: params.unigram_windows]
    return fit_unigram((load_sample(train, int(index)) for index in sorted(drawn)), vocab_size)


def without_overlaps(windows: Windows) -> Windows:
    """The windows of each view that share no unit with the previously chosen one, so that no unit counts twice."""
    return windows.take(apart(windows.rows.select("session_id", "agent", "start_unit", "num_units")))


def apart(rows: Iterable[Mapping[str, Any]]) -> list[int]:
    """The places of the rows that share no unit with the previously chosen one of their view."""
    ends: dict[tuple[str, str], int] = {}
    chosen = []
    for place, row in enumerate(rows):  # sorted: within a view by first unit
        view = row["session_id"], row["agent"]
        if row["start_unit"] >= ends.get(view, 0):
            chosen.append(place)
            ends[view] = row["start_unit"] + row["num_units"]
    return chosen


def tally_windows(
    data: Path,
    model: DuplexModel,
    windows: Windows,
    audio_vae: AudioVAE | None,
    video_vae: VideoVAE | None,
    unigram: Unigram,
    params: EvaluateParams,
) -> tuple[Tally, list[BatchSilences]]:
    """Errors of model and baselines on every window, and silences with each predictor's chance to begin."""
    tally: Tally = defaultdict(list)
    silences: list[BatchSilences] = []
    silence_NC = silence_latent(audio_vae) if audio_vae else torch.zeros(1)
    tracks = {(row["session_id"], row["participant"]): row for row in read_rows(data, "tracks")}
    if video_vae:
        for who in sorted({(row["session_id"], row["agent"]) for row in windows.rows.select("session_id", "agent")}):
            require_media(data, tracks[who], "video")
    people = list(windows.rows.select("session_id", "agent_speaker_id", "user_speaker_id"))
    partners = other_users(people, params.other_users)
    starts = range(0, len(windows), params.batch_size)
    with progress(len(starts), "evaluate") as advance, torch.inference_mode():
        for number, start in enumerate(starts):
            indices = range(start, min(start + params.batch_size, len(windows)))
            batch = without_text(load_batch(windows, indices), "user")
            batches = {MODEL: [batch]}
            if partners:
                batches["other_user"] = [
                    with_user_of(batch, load_batch(windows, [partner_of[i] for i in indices]))
                    for partner_of in partners
                ]
            wordless = {who: [without_text(copy, "agent") for copy in copies] for who, copies in batches.items()}
            rows = list(windows.rows.take(indices).select("session_id", "agent", "start_unit"))
            paths = [tracks[row["session_id"], row["agent"]]["video_path"] for row in rows]
            still_BKCHW = still_latents(data, paths, [row["start_unit"] for row in rows], video_vae, batch)
            _tally_latents(tally, model, wordless | {WITH_WORDS: [batch]}, silence_NC, still_BKCHW, params, number)
            chances = _tally_text(tally, model, batches, unigram, params)
            silences.append((find_silences(batch), chances))
            advance()
    return tally, silences


def without_text(batch: Batch, party: str) -> Batch:
    """The batch without the words of `party` (user or agent)."""
    text, known = f"{party}_text_BKS", f"{party}_text_known_BK"
    hidden: dict[str, Any] = {
        text: torch.full_like(getattr(batch, text), MISSING_ID),
        known: torch.zeros_like(getattr(batch, known)),
    }
    return dataclasses.replace(batch, **hidden)


def with_user_of(batch: Batch, other: Batch) -> Batch:
    """The batch with the user's audio and video, and their known flags, from `other`, a batch of equal shape."""
    names = ("user_audio_BKNC", "user_video_BKCHW", "user_audio_known_BK", "user_video_known_BK")
    return dataclasses.replace(batch, **{name: getattr(other, name) for name in names})


def other_users(rows: Sequence[Mapping[str, Any]], count: int) -> list[list[int]]:
    """For each window a window whose user replaces its own, `count` times: fixed derangements of sessions.

    Taken from the next session, then the one after that (sorted, cyclic); windows whose user is a stranger come first.
    Few sessions give fewer than `count`, a single one gives none.
    """
    by_session: dict[str, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        by_session[row["session_id"]].append(index)
    return [_partners(rows, by_session, ahead) for ahead in range(1, min(count + 1, len(by_session)))]


def _partners(rows: Sequence[Mapping[str, Any]], by_session: Mapping[str, list[int]], ahead: int) -> list[int]:
    """Windows of the session `ahead` places after each window's own."""
    names = sorted(by_session)
    partners = [0] * len(rows)
    for place, name in enumerate(names):
        others = by_session[names[(place + ahead) % len(names)]]
        for nth, index in enumerate(by_session[name]):
            present = {rows[index]["agent_speaker_id"], rows[index]["user_speaker_id"]}
            strangers = [other for other in others if rows[other]["user_speaker_id"] not in present] or others
            partners[index] = strangers[nth % len(strangers)]
    return partners


def silence_latent(audio_vae: AudioVAE) -> Tensor:
    """The audio VAE's latents of digital silence after a silent past, float32 (N, C)."""
    num_units = 8  # over a second: longer than the past that the VAE uses
    samples = torch.zeros(1, num_units * samples_per_unit(audio_vae.config.rate_hz))
    latent_BNC, _ = audio_vae.encode(samples)
    return latent_BNC[0, -latent_BNC.shape[1] // num_units :]


def still_latents(
    data: Path, paths: Sequence[str | None], start_units: Sequence[int], video_vae: VideoVAE | None, batch: Batch
) -> Tensor:
    """Latents of the first frame of each window that shows the agent, frozen, shaped like `agent_video_BKCHW`; zeros if
    there is no video. Units before it, in which the agent is off screen, count for nothing."""
    still_BKCHW = torch.zeros_like(batch.agent_video_BKCHW)
    num_units = still_BKCHW.shape[1]
    for row, (path, start) in enumerate(zip(paths, start_units, strict=True)):
        if path is None or video_vae is None:
            continue
        known_K = batch.agent_video_known_BK[row]
        first = (start + int(known_K.int().argmax())) * FRAMES_PER_UNIT  # the window's first if it is never known
        frame = torch.from_numpy(read_frames(data / path, first, first + 1)).permute(0, 3, 1, 2).float() / 127.5 - 1
        frozen_BTCHW = frame[None].expand(-1, FRAMES_PER_UNIT * num_units, -1, -1, -1)
        still_BKCHW[row] = video_vae.encode(frozen_BTCHW)[0][0]
    return still_BKCHW


def _tally_latents(
    tally: Tally,
    model: DuplexModel,
    batches: Mapping[str, Sequence[Batch]],
    silence_NC: Tensor,
    still_BKCHW: Tensor,
    params: EvaluateParams,
    number: int,
) -> None:
    (batch,) = batches[MODEL]
    audio, video = batch.agent_audio_BKNC, batch.agent_video_BKCHW
    counted = {
        "audio": _counted(batch.agent_audio_known_BK, params.warmup_units),
        "video": _counted(batch.agent_video_known_BK, params.warmup_units),
    }

    def add(stream: str, who: str, tau: float, guesses: Sequence[Tensor], truth: Tensor) -> None:
        error_BK = torch.stack([(guess - truth).square().flatten(2).mean(2).double() for guess in guesses]).mean(0)
        under = counted[stream].sum(1).double()
        tally[_error_key(stream, tau, who)].append(((error_BK * counted[stream]).sum(1).numpy(), under.numpy()))

    for place, tau in enumerate(params.taus):
        for who, copies in batches.items():
            # All get the same noise: other_user then differs by the user only.
            seed = (params.seed * 1_000_003 + number) * len(params.taus) + place
            clean = [denoise_at(model, copy, tau, torch.Generator().manual_seed(seed)) for copy in copies]
            for stream, guesses, truth in zip(
                ("audio", "video"), zip(*clean, strict=True), (audio, video), strict=True
            ):
                add(stream, who, tau, guesses, truth)
        for stream, truth in (("audio", audio), ("video", video)):
            add(stream, "copy_previous", tau, [truth.roll(1, dims=1)], truth)
        add("audio", "silence_still", tau, [silence_NC.expand_as(audio)], audio)
        add("video", "silence_still", tau, [still_BKCHW], video)


def _counted(known_BK: Tensor, warmup_units: int) -> Tensor:
    """Units that count: known, after a known unit (copying needs it), and past the warm-up."""
    counted_BK = known_BK & known_BK.roll(1, dims=1)
    counted_BK[:, :warmup_units] = False
    return counted_BK


def _tally_text(
    tally: Tally, model: DuplexModel, batches: Mapping[str, Sequence[Batch]], unigram: Unigram, params: EvaluateParams
) -> dict[str, np.ndarray]:
    """Returns each predictor's chance (B, K) to begin."""
    (batch,) = batches[MODEL]
    target = batch.agent_text_BKS.numpy()
    counted = np.broadcast_to(_counted(batch.agent_text_known_BK, params.warmup_units).numpy()[..., None], target.shape)
    spoken, previous = counted & (target != BLANK_ID), np.roll(target, 1, axis=1)

    def add_loss(figure: str, who: str, loss: np.ndarray) -> None:
        tally[f"text/{figure}/{who}"].append((np.where(spoken, loss, 0).sum((1, 2)), spoken.sum((1, 2)).astype(float)))

    def add_decision(who: str, *decisions: np.ndarray) -> None:
        sums = [f1_sums(decided, target != BLANK_ID, counted) for decided in decisions]
        over, under = (np.mean(part, axis=0) for part in zip(*sums, strict=True))
        tally[f"text/f1/{who}"].append((over, under))

    chances = {}
    for who, copies in batches.items():
        logits = [text_logits(model, copy) for copy in copies]
        chances[who] = np.mean([chance_to_begin(logit) for logit in logits], axis=0)
        add_loss("cross_entropy", who, -np.mean([_picked(logit.log_softmax(-1), target) for logit in logits], axis=0))
        add_decision(who, *((logit.softmax(-1)[..., BLANK_ID] < 0.5).numpy() for logit in logits))
        for logit in logits:
            logit[..., BLANK_ID] = -torch.inf
        words = [_picked(logit.log_softmax(-1), target) for logit in logits]
        add_loss("cross_entropy_of_words", who, -np.mean(words, axis=0))
    # MISSING has no share, and is never counted.
    safe = np.where(counted, target, BLANK_ID)
    add_loss("cross_entropy", "unigram", -np.log(unigram.share_V[safe]))
    add_loss("cross_entropy", "copy_previous", -np.log(unigram.copy_probability(safe, previous)))
    add_loss("cross_entropy_of_words", "unigram", -np.log(np.where(spoken, unigram.blank_free()[safe], 1)))
    add_decision("copy_previous", previous != BLANK_ID)
    add_decision("silence_still", np.zeros_like(spoken))
    add_decision("unigram", np.ones_like(spoken))  # "never" has an F1 of 0
    return chances


def _picked(log_share_BKSV: Tensor, target: np.ndarray) -> np.ndarray:
    return log_share_BKSV.gather(-1, torch.from_numpy(target)[..., None])[..., 0].double().numpy()


def summarize(tally: Tally, sessions: Sequence[str], params: EvaluateParams) -> dict[str, Any]:
    """All figures: the model's value; per baseline its value, the model's gain over it, the interval, the verdict."""
    sums = {
        key: session_sums(sessions, *(np.concatenate(parts) for parts in zip(*parts_of_windows, strict=True)))
        for key, parts_of_windows in tally.items()
    }
    figures: dict[str, Any] = {
        "sessions": len(set(sessions)),
        "windows": len(sessions),
        "warmup_units": params.warmup_units,
        "counted": {
            "audio_units": _count(sums[_error_key("audio", params.taus[0], MODEL)]),
            "video_units": _count(sums[_error_key("video", params.taus[0], MODEL)]),
            "text_ids": _count(sums[f"text/cross_entropy/{MODEL}"]),
        },
    }
    verdicts = []

    def compared(prefix: str, baselines: Sequence[str], *, higher_is_better: bool) -> dict[str, Any]:
        model = sums[f"{prefix}/{MODEL}"]
        values: dict[str, Any] = {MODEL: rounded(model.value)}
        for name in baselines:
            if f"{prefix}/{name}" in sums:
                options = {"resamples": params.resamples, "seed": params.seed}
                against = compare(model, sums[f"{prefix}/{name}"], higher_is_better=higher_is_better, **options)
                values[name] = against
                if np.isfinite(model.value):
                    verdicts.append(against["beats"])
        if f"{prefix}/{WITH_WORDS}" in sums:
            values[WITH_WORDS] = rounded(sums[f"{prefix}/{WITH_WORDS}"].value)
        return values

    for stream in ("audio", "video"):
        keys = {tau: _error_key(stream, tau, "").rstrip("/") for tau in params.taus}
        figures[stream] = {
            _tau_name(tau): compared(key, ERROR_BASELINES, higher_is_better=False) for tau, key in keys.items()
        }
    figures["text"] = {
        figure: compared(f"text/{figure}", baselines, higher_is_better=figure == "f1")
        for figure, baselines in TEXT_BASELINES.items()
    }
    figures["comparisons"] = {"beaten": sum(verdicts), "made": len(verdicts)}
    return figures


def _error_key(stream: str, tau: float, who: str) -> str:
    return f"{stream}/{_tau_name(tau)}/{who}"


def _tau_name(tau: float) -> str:
    """Without a dot: `dvc metrics` separates names by dots."""
    return f"tau_{tau:g}".replace(".", "_")


def _count(sums: Sums) -> int:
    return int(sums.under.sum())


def _write_curves(plots: Path, figures: Mapping[str, Any], params: EvaluateParams) -> None:
    """Squared error over flow time: a file per stream, a column per predictor."""
    for stream in ("audio", "video"):
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["tau", MODEL, *ERROR_BASELINES])
        for tau in params.taus if figures else ():
            errors = figures[stream][_tau_name(tau)]
            values = [errors[name]["value"] if name in errors else None for name in ERROR_BASELINES]
            writer.writerow([tau, errors[MODEL], *values])
        write_bytes_atomic(plots / f"evaluate_{stream}.csv", text.getvalue().encode())


def main() -> None:
    stage_main("evaluate", EvaluateParams, run)
