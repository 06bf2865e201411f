"""Tracks -> facts of recording quality, and which sessions are too poor to learn from.

A pass of its own over the conformed tracks. Thresholds are judged here and obeyed by `pack`: changing one redoes
neither annotations nor latents. Speech and faces are not looked for; a listener may be silent and still.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines import av_offset, media
from pipelines.media import read_frames, read_wav
from pipelines.stage import Job, Result, run_keys, stage_main
from pipelines.tables import read_rows, rows_by_session
from wanstreamer.clock import FRAME_RATE_HZ, FRAMES_PER_UNIT
from wanstreamer.errors import InputError

FULL_SCALE = 0.999
FRAME_S = 0.02
FLOOR_DB = -90.0
DARK = 20  # of 255: what is darker throughout is black
STILL = 0.05  # mean difference of pixels, of 255, that an encoder makes of equal frames
CUT_CORRELATION = 0.3  # of the brightness of two frames; a head that turns keeps more
PIECE_UNITS = 250  # read at a time: 40 s


@dataclass(frozen=True, kw_only=True)
class QualityParams:
    """When a track is too poor; generous, as what is usable depends on the purpose."""

    max_clipped_share: float = 0.01
    max_black_share: float = 0.5
    max_frozen_share: float = 0.9  # a photograph for a camera that was off
    max_av_offset_ms: int = 160  # one unit; what is sooner can be told from one unit of the model
    min_av_confidence: float = 0.4  # below it the offset is not believed, and nothing is turned away for it

    def __post_init__(self) -> None:
        for name in ("max_clipped_share", "max_black_share", "max_frozen_share", "min_av_confidence"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"quality.{name} {getattr(self, name)}: expected a share between 0 and 1")


def run(data: Path, params: QualityParams, *, workers: int) -> dict[str, Any]:
    """Write `tables/quality.parquet` and `tables/rejections/quality.parquet`; return counts and medians."""
    sessions = rows_by_session(read_rows(data, "tracks"))
    keep = ("participant", "audio_path", "video_path", "num_units", "audio_sha256", "video_sha256")
    jobs = [
        Job(
            key=session,
            spec={"tracks": [{name: row[name] for name in keep} for row in rows]},
            inputs=tuple(str(row[name]) for row in rows for name in ("audio_sha256", "video_sha256")),
        )
        for session, rows in sessions.items()
    ]
    counts = run_keys(
        data, "quality", jobs, Quality, params=params, tables=["quality"],
        modules=(sys.modules[__name__], av_offset, media), workers=workers, setup={"params": params},
    )  # fmt: skip
    rows = read_rows(data, "quality")
    known = {name: sorted(row[name] for row in rows if row[name] is not None) for name in ("snr_db", "av_offset_ms")}
    medians = {f"median_{name}": float(np.median(found)) if found else None for name, found in known.items()}
    return {**counts, **medians, "usable_tracks": sum(row["usable"] for row in rows)}


class Quality:
    """One session: facts of its tracks, and a rejection per track and broken threshold."""

    def __init__(self, *, params: QualityParams) -> None:
        self.params = params

    def __call__(self, job: Job, data: Path, scratch: Path) -> Result:
        del scratch
        rows, rejections = [], []
        for track in job.spec["tracks"]:
            facts = measure(data, track)
            broken = judge(facts, self.params)
            rejections += [(f"{job.key}/{track['participant']}", reason, detail) for reason, detail in broken.items()]
            rows.append(
                {"session_id": job.key, "participant": track["participant"], **facts, "usable": not broken}
            )  # fmt: skip
        return Result(tables={"quality": rows}, rejections=rejections)


def measure(data: Path, track: Mapping[str, Any]) -> dict[str, Any]:
    """All facts of one track."""
    sound = light = None
    facts: dict[str, Any] = dict.fromkeys((*AUDIO_FACTS, *VIDEO_FACTS, "av_offset_ms", "av_confidence"))
    rate_hz = 0
    if track["audio_path"]:
        sound, rate_hz = read_wav(data / track["audio_path"])
        facts |= sound_facts(sound, rate_hz)
    if track["video_path"]:
        light = read_luma(data / track["video_path"], track["num_units"])
        facts |= picture_facts(light)
    if sound is not None and light is not None:
        found = av_offset.av_offset(light, FRAME_RATE_HZ, sound, rate_hz)
        facts["av_offset_ms"], facts["av_confidence"] = found or (None, None)
    return facts


def read_luma(path: Path, num_units: int) -> np.ndarray:
    """Brightness of a track's frames, float32 (T, H, W), in pieces, so that colours are never held for hours."""
    pieces = []
    for unit in range(0, num_units, PIECE_UNITS):
        stop = min(num_units, unit + PIECE_UNITS)
        frames = read_frames(path, unit * FRAMES_PER_UNIT, stop * FRAMES_PER_UNIT)
        pieces.append(frames.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32))
    return np.concatenate(pieces)


AUDIO_FACTS = ("level_db", "peak_db", "snr_db", "clipped_share", "silent_share")
VIDEO_FACTS = ("black_share", "frozen_share", "cuts")


def sound_facts(audio_T: np.ndarray, rate_hz: int) -> dict[str, float]:
    """`AUDIO_FACTS` of float32 samples in [-1, 1]."""
    hop = round(FRAME_S * rate_hz)
    frames = audio_T[: len(audio_T) // hop * hop].reshape(-1, hop)
    levels_db = np.maximum(10 * np.log10((frames**2).mean(1) + 1e-12), FLOOR_DB)
    floor_db, loud_db = np.percentile(levels_db, [10, 95])
    sounding = levels_db > floor_db + 6
    power = float((frames[sounding] ** 2).mean()) if sounding.any() else 0.0
    peak = float(np.abs(audio_T).max(initial=0))
    return {
        "level_db": round(max(FLOOR_DB, 10 * float(np.log10(power + 1e-12))), 1),
        "peak_db": round(max(FLOOR_DB, 20 * float(np.log10(peak + 1e-12))), 1),
        "snr_db": round(float(loud_db - floor_db), 1),
        "clipped_share": float((np.abs(audio_T) >= FULL_SCALE).mean()),
        "silent_share": round(float(1 - sounding.mean()), 4),
    }


def picture_facts(luma_THW: np.ndarray) -> dict[str, Any]:
    """`VIDEO_FACTS` of brightness in 0 to 255."""
    flat = luma_THW.reshape(len(luma_THW), -1)
    change = np.abs(np.diff(flat, axis=0)).mean(1)
    centred = flat - flat.mean(1, keepdims=True)
    length = np.sqrt((centred**2).sum(1)) + 1e-6
    alike = (centred[1:] * centred[:-1]).sum(1) / (length[1:] * length[:-1])
    structured = np.minimum(length[1:], length[:-1]) > flat.shape[1] ** 0.5  # a flat picture is like nothing
    return {
        "black_share": round(float((flat.max(1) < DARK).mean()), 4),
        "frozen_share": round(float((change < STILL).mean()), 4) if len(change) else 0.0,
        "cuts": int((structured & (alike < CUT_CORRELATION)).sum()),
    }


def judge(facts: Mapping[str, Any], params: QualityParams) -> dict[str, str]:
    """Reason -> figures, of every threshold that the track breaks."""
    broken: dict[str, str] = {}
    for reason in ("clipped", "black", "frozen"):
        share, most = facts[f"{reason}_share"], getattr(params, f"max_{reason}_share")
        if share is not None and share > most:
            broken[reason] = f"share {share:.3f}, at most {most:g}"
    offset_ms, confidence = facts["av_offset_ms"], facts["av_confidence"]
    if confidence is not None and confidence >= params.min_av_confidence and abs(offset_ms) > params.max_av_offset_ms:
        broken["out_of_sync"] = f"the picture is {offset_ms} ms late, at most {params.max_av_offset_ms} either way"
    return broken


def main() -> None:
    stage_main("quality", QualityParams, run)


if __name__ == "__main__":
    from pipelines.quality import main as imported_main  # workers must find the class under its real name

    imported_main()
