"""Latents of a unit -> its pixels and sound, by the VAEs of the data folder.

A causal VAE carries its state from unit to unit. Decoding starts CONTEXT_UNITS before the unit, so that what is shown
does not depend on the length of the session.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.formats.npy_tar import array_at
from tools.show.sessions import Session
from tools.show.tables import NotThere, session_rows
from wanstreamer.clock import FRAMES_PER_UNIT
from wanstreamer.errors import InputError

CONTEXT_UNITS = 12


def why_not_decoded(session: Session, participant: str) -> dict[str, Any]:
    """Whether the unit's latents can be decoded: `video`, `audio`, and `why` not; nothing is loaded."""
    row = _latents(session, participant)
    answer: dict[str, Any] = {"video": False, "audio": False, "why": None}
    reasons = []
    for kind in ("video", "audio"):
        if row is None:
            reasons.append("no latents yet: run the encode stage")
        elif row[f"{kind}_member"] is None:
            reasons.append(f"no {kind}")
        elif not _weights(session.data, kind).is_file():
            reasons.append(f"no {kind} VAE in models/vae: run the vae stage")
        else:
            answer[kind] = True
    answer["why"] = "; ".join(dict.fromkeys(reasons)) or None
    return answer


def decoded_frame(session: Session, participant: str, frame: int) -> np.ndarray:
    """uint8 RGB (H, W, 3). Raises NotThere or InputError if it cannot be decoded."""
    unit, place = divmod(frame, FRAMES_PER_UNIT)
    frames = _decoded(*_place(session, participant, "video"), unit)
    return np.ascontiguousarray(((frames[place] + 1) * 127.5).round().astype(np.uint8).transpose(1, 2, 0))


def decoded_sound(session: Session, participant: str, unit: int) -> tuple[np.ndarray, int]:
    """int16 (num_samples,) of the unit, and the rate. Raises NotThere or InputError if it cannot be decoded."""
    place = _place(session, participant, "audio")
    samples = _decoded(*place, unit)
    return (samples * 32767).round().astype(np.int16), _load("audio", place[1], place[2]).config.rate_hz


def _place(session: Session, participant: str, kind: str) -> tuple[str, Path, int, Path, int]:
    if not (able := why_not_decoded(session, participant))[kind]:
        raise NotThere(f"{kind} of {participant}: {able['why']}")
    row = _latents(session, participant)
    assert row is not None
    weights = _weights(session.data, kind)
    shard = (session.data.resolve() / row["shard"]).resolve()
    if not shard.is_relative_to(session.data.resolve()):
        raise InputError(f"{row['shard']}: lies outside the data folder; nothing outside it is served")
    return kind, weights, weights.stat().st_mtime_ns, shard, row[f"{kind}_offset"]


def _latents(session: Session, participant: str) -> dict[str, Any] | None:
    rows = session_rows(session.data, "latents", session.session_id)
    return next((row for row in rows if row["participant"] == participant), None)


def _weights(data: Path, kind: str) -> Path:
    return data / "models" / "vae" / f"{kind}.safetensors"


@lru_cache(maxsize=2)
def _load(kind: str, weights: Path, version: int) -> Any:
    from wanstreamer.vae import load_audio_vae, load_video_vae  # torch takes seconds to import, and is rarely needed

    return (load_audio_vae if kind == "audio" else load_video_vae)(weights)


@lru_cache(maxsize=8)
def _decoded(kind: str, weights: Path, version: int, shard: Path, offset: int, unit: int) -> np.ndarray:
    """float32 of one unit in [-1, 1]: samples (T,) or frames (4, 3, H, W)."""
    import torch

    from wanstreamer.vae.tracks import decode_track

    try:
        latents = array_at(shard, offset).mapped()
    except (OSError, ValueError) as error:
        raise InputError(f"{shard}: cannot be read ({error}); run the encode stage again") from error
    if not 0 <= unit < len(latents):
        raise NotThere(f"unit {unit}: the latents have units 0 to {len(latents) - 1}")
    first = max(0, unit - CONTEXT_UNITS)
    piece = torch.from_numpy(latents[first : unit + 1].astype(np.float32))
    whole = decode_track(_load(kind, weights, version), piece).numpy()
    return whole[-(len(whole) // len(piece)) :].copy()
