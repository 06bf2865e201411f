"""Faces and the sound -> how well each face goes with the sound, every 40 ms.

With LR-ASD, this is its score: above 0, the face speaks. Without, the motion of the mouth is compared with the
loudness, as in signals/av_offset.py: for each face, the mixture of the curves of its mouth that follows the sound best
is learned from three quarters of the recording and used in the fourth, so that a face that does not speak has a mean
of about 0 however long the recording is. To this is added how much the mouth moves more than it usually does while
someone speaks.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pipelines.people.identities import Identity
from pipelines.signals.av_offset import RATE_HZ as ENERGY_RATE_HZ
from pipelines.signals.av_offset import sound_energy
from pipelines.signals.curves import quick
from pipelines.signals.voice_activity import RATE_HZ
from wanstreamer.clock import FRAME_MS, FRAME_RATE_HZ, Span

PIECE_S = 60  # of sound whose energy is computed at a time
LAG_FRAMES = 3  # the picture may be this much later or earlier; listeners nod some 160 ms after the sound
LAG_FACES = 4  # the faces from which this is measured
FOLDS = 4
FOLD_FRAMES = 125  # 5 s
RIDGE = 0.02  # of the mean power of a curve: keeps mixtures of noise small
MOTION_WEIGHT = 0.5  # of the motion of the mouth, against its correlation with the sound
LEAST_MOTION = 0.04  # deviation of a speaking mouth's motion; a smaller one is not enlarged to it
SMOOTH_FRAMES = 9  # over which motion is averaged
MIN_FRAMES = 2 * FRAME_RATE_HZ  # from less of a face, nothing is learned


class Speaking(NamedTuple):
    """How well each face goes with the sound."""

    scores: tuple[np.ndarray, ...]  # of each identity, float32 (F,) every 40 ms; NaN where it is not seen
    measure: str  # lr-asd or motion


def speaking_scores(
    identities: Sequence[Identity], audio_T: np.ndarray, speech: Sequence[Span], *, num_frames: int
) -> Speaking:
    """The scores of all faces.

    Args:
        audio_T: float32 at 16 kHz, on the clock of the pictures.
        speech: Whenever anyone speaks.
        num_frames: Of the recording, 25 a second.
    """
    tracks = [track for identity in identities for track in identity.tracks]
    if tracks and all(track.asd_T is not None for track in tracks):
        return Speaking(tuple(_joined(identity, "asd_T", num_frames) for identity in identities), "lr-asd")
    energy_F = frame_energy(audio_T, num_frames)
    speaks_F = np.zeros(num_frames, bool)
    for span in speech:
        speaks_F[span.start_ms // FRAME_MS : -(-span.end_ms // FRAME_MS)] = True
    longest = sorted(identities, key=lambda identity: -identity.share)[:LAG_FACES]
    lag = _best_lag([_mouth(identity, num_frames) for identity in longest], energy_F, speaks_F)
    sound_F = _standard(np.roll(energy_F, lag), speaks_F)
    scores = []
    for identity in identities:  # one after the other: the curves of an hour are large
        follows_F = _predicted(_mouth(identity, num_frames), sound_F, speaks_F) * sound_F
        moves_F = _standard(_smooth(_joined(identity, "motion_T", num_frames)), speaks_F, LEAST_MOTION)
        scores.append((follows_F + MOTION_WEIGHT * moves_F).astype(np.float32))
    return Speaking(tuple(scores), "motion")


def frame_energy(audio_T: np.ndarray, num_frames: int) -> np.ndarray:
    """Log energy of the sound without its slow part, float32 (F,) every 40 ms."""
    piece = PIECE_S * RATE_HZ
    energy_N = np.concatenate(
        [sound_energy(audio_T[start : start + piece], RATE_HZ) for start in range(0, max(1, len(audio_T)), piece)]
    )
    per_frame = ENERGY_RATE_HZ // FRAME_RATE_HZ
    energy_N = quick(energy_N[:, None], ENERGY_RATE_HZ)[:, 0]
    wanted = num_frames * per_frame
    energy_N = np.pad(energy_N[:wanted], (0, max(0, wanted - len(energy_N))))
    return energy_N.reshape(-1, per_frame).mean(1)


def _joined(identity: Identity, column: str, num_frames: int) -> np.ndarray:
    """A curve of all tracks of a face on the clock of the recording, float32 (F,); NaN where it is not seen."""
    joined_F = np.full(num_frames, np.nan, np.float32)
    for track in identity.tracks:
        curve_T = getattr(track, column)[: max(0, num_frames - track.first_frame)]
        joined_F[track.first_frame : track.first_frame + len(curve_T)] = curve_T
    return joined_F


def _mouth(identity: Identity, num_frames: int) -> np.ndarray:
    """The quick part of the mouth's brightness, float32 (F, B); NaN where the face is not seen."""
    curves_FB = np.full((num_frames, identity.tracks[0].mouth_TB.shape[1]), np.nan, np.float32)
    for track in identity.tracks:
        mouth_TB = quick(track.mouth_TB, FRAME_RATE_HZ)[: max(0, num_frames - track.first_frame)]
        curves_FB[track.first_frame : track.first_frame + len(mouth_TB)] = mouth_TB
    return curves_FB


def _standard(curve_F: np.ndarray, speaks_F: np.ndarray, least: float = 1e-9) -> np.ndarray:
    """The curve with mean 0 and deviation 1 while someone speaks; without extremes. `least`: a smaller deviation counts
    as this."""
    known = curve_F[speaks_F & ~np.isnan(curve_F)]
    if len(known) < 2 or not known.std() > 1e-9:
        return np.where(np.isnan(curve_F), np.nan, 0.0).astype(np.float32)
    return np.clip((curve_F - known.mean()) / max(float(known.std()), least), -3, 3).astype(np.float32)


def _smooth(curve_F: np.ndarray) -> np.ndarray:
    """The mean over SMOOTH_FRAMES of what is known; NaN stays."""
    known = ~np.isnan(curve_F)
    kernel = np.ones(SMOOTH_FRAMES)
    total = np.convolve(np.where(known, curve_F, 0), kernel, "same")
    count = np.convolve(known, kernel, "same")
    return np.where(known, total / np.maximum(count, 1), np.nan).astype(np.float32)


def _best_lag(curves: Sequence[np.ndarray], energy_F: np.ndarray, speaks_F: np.ndarray) -> int:
    """By how many pictures the sound must be later to go best with all mouths."""
    best, best_fit = 0, -1.0
    for lag in sorted(range(-LAG_FRAMES, LAG_FRAMES + 1), key=abs):
        sound_F = _standard(np.roll(energy_F, lag), speaks_F)
        fit = 0.0
        for mouth_FB in curves:
            use_F = speaks_F & ~np.isnan(mouth_FB[:, 0])
            if use_F.sum() >= MIN_FRAMES:
                weights_B = _mixture(mouth_FB[use_F], sound_F[use_F])
                fit += float((mouth_FB[use_F] @ weights_B * sound_F[use_F]).sum())
        if fit > 1.02 * best_fit:
            best, best_fit = lag, fit
    return best


def _mixture(mouth_NB: np.ndarray, sound_N: np.ndarray) -> np.ndarray:
    """Weights of the curves whose sum follows the sound best (ridge regression), (B,)."""
    power_BB = mouth_NB.T @ mouth_NB
    ridge = max(RIDGE * float(np.trace(power_BB)) / len(power_BB), 1e-9)
    return np.linalg.solve(power_BB + ridge * np.eye(len(power_BB)), mouth_NB.T @ sound_N)


def _predicted(mouth_FB: np.ndarray, sound_F: np.ndarray, speaks_F: np.ndarray) -> np.ndarray:
    """The sound as the mouth of a face lets expect it, with deviation 1; each part learned from the other parts."""
    seen_F = ~np.isnan(mouth_FB[:, 0])
    predicted_F = np.where(seen_F, 0, np.nan).astype(np.float32)
    fold_F = (np.cumsum(seen_F) // FOLD_FRAMES) % FOLDS
    if int((seen_F & speaks_F).sum()) < MIN_FRAMES:
        return predicted_F
    for fold in range(FOLDS):
        learn_F = seen_F & speaks_F & (fold_F != fold)
        use_F = seen_F & (fold_F == fold)
        if not use_F.any():
            continue
        if learn_F.sum() < MIN_FRAMES:  # a short recording: the other half
            learn_F = seen_F & speaks_F & ~use_F
        weights_B = _mixture(mouth_FB[learn_F], sound_F[learn_F])
        curve_F = mouth_FB @ weights_B
        deviation = float(curve_F[learn_F].std()) if learn_F.any() else 0.0
        predicted_F[use_F] = np.clip(curve_F[use_F] / max(deviation, 1e-9), -3, 3)
    return predicted_F
