"""Truth, reconstruction and baseline of people who agreed to be shown, to judge with eyes and ears.

`vae_video.png`: frames at the quietest and the loudest moments of each person's own sound, so that mouths are seen
closed and open. `vae_audio_<people><n>_<what>.wav`: the sound of each. `vae_<people>.mp4`: truth and reconstruction of
one person side by side, first with the true sound, then again with the decoded sound.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from pipelines.engine.files import write_bytes_atomic
from pipelines.engine.jobs import Rejected
from pipelines.media.captions import captioned, marked
from pipelines.media.tracks import write_video, write_wav
from pipelines.vae.quality import Baseline
from pipelines.vae.task import Pair, read_track
from wanstreamer.clock import FRAME_RATE_HZ, FRAMES_PER_UNIT, samples_per_unit
from wanstreamer.vae import AudioVAE, VideoVAE
from wanstreamer.vae.tracks import VAE, reconstruct_track, to_input, unit_length

SHOWN_PEOPLE = 2  # of each group, seen and unseen
SHOWN_UNITS = 80  # of each track: 12.8 s, in which both usually speak
SHEET_COLUMNS = 8  # pictures of each person, half of them at quiet moments
APART_FRAMES = 12  # between chosen moments: about half a second
PICTURE_COLUMNS = 192  # approximate width in pixels of each picture in sheet and film
MARGIN_COLUMNS = 110  # pixels for captions


def draw_reports(data: Path, model: VAE, baseline: Baseline | None, people: Mapping[str, Sequence[Pair]]) -> None:
    """Write the sheet (video) or the sounds (audio) of `people`: "seen" and "unseen" -> their tracks."""
    blocks = []
    for name, pairs in people.items():
        for index, (row, media) in enumerate(shown_people(pairs)):
            length = unit_length(model)
            track = media[: min(SHOWN_UNITS, len(media) // length) * length]
            clips = {"truth": to_input(model, track)[0], "decoded": reconstruct_track(model, track)}
            if baseline is not None:
                clips["PCA" if isinstance(model, VideoVAE) else "pca_griffin_lim"] = baseline(clips["truth"])
            if isinstance(model, VideoVAE):
                blocks.append(_block(f"{name} person {index}", clips, _moments(data, row, len(track))))
                continue
            for what, audio_T in clips.items():
                path = data / "reports" / f"vae_audio_{name}{index}_{what}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                write_wav(path, audio_T.numpy(), model.config.rate_hz)
    if blocks:
        content = io.BytesIO()
        Image.fromarray(np.concatenate(blocks)).save(content, "PNG")
        write_bytes_atomic(data / "reports" / "vae_video.png", content.getvalue())


def draw_films(data: Path, audio: AudioVAE, video: VideoVAE, people: Mapping[str, Sequence[dict[str, Any]]]) -> None:
    """Write a film of the first of each `people` (rows of the tracks table) with sound and picture."""
    rate_hz = audio.config.rate_hz
    for name, rows in people.items():
        complete = [(row, torch.empty(0)) for row in rows if row["audio_path"] and row["video_path"]]
        for row, _ in shown_people(complete)[:1]:
            units = min(SHOWN_UNITS, row["num_units"])
            try:
                sound, frames = (read_track(data, row, kind, units) for kind in ("audio", "video"))
            except Rejected:
                continue  # counted where it was read for its VAE
            decoded = reconstruct_track(audio, sound)
            sides = {"truth": to_input(video, frames)[0], "decoded": reconstruct_track(video, frames)}
            scale = _scale(frames.shape[2])
            captions = [captioned(to_pixels(side), f"{name} person: {what}", scale) for what, side in sides.items()]
            picture = np.concatenate(captions, axis=2)
            film = np.concatenate([marked(picture, text) for text in ("sound: truth", "sound: decoded")])
            write_video(data / "reports" / f"vae_{name}.mp4", film, torch.cat([sound, decoded]).numpy(), rate_hz)


def shown_people(pairs: Sequence[Pair]) -> list[Pair]:
    """The first track of each of the first people, by id, who agreed to be shown."""
    agreed = [(row, media) for row, media in pairs if "show" in (row["consent"] or ())]
    speakers = {row["speaker_id"]: (row, media) for row, media in reversed(agreed)}
    return [speakers[key] for key in sorted(speakers)][:SHOWN_PEOPLE]


def _moments(data: Path, row: Mapping[str, Any], num_frames: int) -> list[tuple[str, int]]:
    """Frames to show, each with its caption: the quietest and the loudest, by time; without sound, evenly spaced."""
    even = [("", i * num_frames // SHEET_COLUMNS) for i in range(SHEET_COLUMNS)]
    if not row["audio_path"]:
        return even
    try:
        audio_T = read_track(data, row, "audio", num_frames // FRAMES_PER_UNIT)
    except Rejected:
        return even
    power_T = audio_T.reshape(-1, samples_per_unit(row["rate_hz"]) // FRAMES_PER_UNIT).square().mean(1)
    # Smoothed over three frames: a mouth does not follow single pitch periods.
    smooth_T = torch.nn.functional.avg_pool1d(power_T[None], 3, 1, padding=1, count_include_pad=False)[0]
    half = SHEET_COLUMNS // 2
    moments = []
    for caption, order in (
        ("quiet", smooth_T.argsort(stable=True)),
        ("loud", smooth_T.argsort(descending=True, stable=True)),
    ):
        moments += [(caption, frame) for frame in sorted(_apart(order.tolist(), half))]
    return moments


def _apart(order: Sequence[int], count: int) -> list[int]:
    """The first `count` frames that are not close to an already chosen one."""
    gap = min(APART_FRAMES, len(order) // (2 * count))  # leaves room for all
    chosen: list[int] = []
    for frame in order:
        if len(chosen) < count and all(abs(frame - other) >= gap for other in chosen):
            chosen.append(frame)
    return chosen


def _block(caption: str, clips: Mapping[str, Tensor], moments: Sequence[tuple[str, int]]) -> np.ndarray:
    """A row of pictures per clip, with times above and the names of person and clip in the left margin."""
    rows = []
    for what, video_TCHW in clips.items():
        pixels = to_pixels(video_TCHW)
        scale = _scale(pixels.shape[2])
        cells = [
            captioned(pixels[frame : frame + 1], f"{frame / FRAME_RATE_HZ:.2f} s {when}", scale)[0]
            if what == "truth"
            else pixels[frame].repeat(scale, axis=0).repeat(scale, axis=1)
            for when, frame in moments
        ]
        pictures = np.concatenate(cells, axis=1)
        margin = Image.new("RGB", (MARGIN_COLUMNS, len(pictures)), "black")
        ImageDraw.Draw(margin).text((6, 2), f"{caption}\n\n{what}" if what == "truth" else what, fill="white")
        rows.append(np.concatenate([np.asarray(margin), pictures], axis=1))
    return np.concatenate(rows)


def to_pixels(video_TCHW: Tensor) -> np.ndarray:
    """[-1, 1] -> uint8 (T, H, W, 3)."""
    return ((video_TCHW.permute(0, 2, 3, 1) + 1) * 127.5).round().to(torch.uint8).numpy()


def _scale(width: int) -> int:
    return max(1, PICTURE_COLUMNS // width)
