"""One session's tracks -> measured facts about video and audio, and the hashes that identify duplicates.

Tracks are read in pieces: an hour needs only the memory of its curves. Frames that do not show the person of a track
(`tracks.visible`) count for nothing. Thresholds are not applied here, so that a
changed threshold repeats no measurement.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipelines.engine.inputs import check_files, media_of
from pipelines.engine.jobs import Job, Result
from pipelines.media.tracks import frame_pieces, loudness_lufs, wav_pieces
from pipelines.quality import hashes
from pipelines.quality.perceived import perceived_facts
from pipelines.quality.same_picture import same_pictures
from pipelines.signals import av_offset
from pipelines.signals.faces import shows_face
from pipelines.signals.own_sound import RATE_HZ, own_sound
from wanstreamer.clock import FRAME_MS, FRAME_RATE_HZ, FRAMES_PER_UNIT

FULL_SCALE = 0.999
FRAME_S = 0.02
FLOOR_DB = -90.0
ZERO = 2.5 / 32768  # samples of digital silence differ by at most 2 steps of 16 bits: dither, or a constant
DARK = 20  # of 255: a frame is black if all of its pixels are darker
STILL = 0.05  # of 255: mean difference of pixels that an encoder causes between equal frames
CUT_CORRELATION = 0.3  # correlation of the brightness of two frames at a cut; a turning head has more
# Two shots of similar pictures correlate up to this. Then the change must be this large (of 255), and this many times
# the changes around it; a quick gesture in a recording of 5 frames/s reaches 4 times.
LIKE_CUT_CORRELATION, LIKE_CUT_CHANGE, LIKE_CUT_RATIO = 0.8, 12.0, 5.0
CUT_AROUND = 12  # frames before and after a change that are compared with it
PICTURE_CURVES = ("brightest", "change", "repeat", "alike", "structured", "light", "detail")
FACE_EVERY = 13  # frames: about two checks per second
PIECE_PIXELS = 1_000_000  # of frames, per piece
PIECE_S = 40  # of audio, per piece

FLAT = 0.1  # of 255: mean difference of neighbouring pixels, in a picture without contents
BAND_DB = 60  # a frequency belongs to the band if its power is within this of the strongest one

AUDIO_FACTS = (
    "level_db",
    "peak_db",
    "snr_db",
    "clipped_share",
    "silent_share",
    "zero_share",
    "bandwidth_hz",
    "loudness_lufs",
)
VIDEO_FACTS = ("black_share", "frozen_share", "cuts", "cuts_per_min", "detail", "face_share")
BOTH_FACTS = ("av_offset_ms", "av_confidence")
PAIR_FACTS = ("same_picture_share", "same_picture_as")  # of a track and another of its session


@dataclass(frozen=True, kw_only=True)
class SoundCurves:
    """Curves of a whole audio track."""

    power_F: np.ndarray  # mean square of each 20 ms, float32
    spread_F: np.ndarray  # highest minus lowest sample of each 20 ms, float32
    peak: float
    num_clipped: int
    num_samples: int
    spectrum: np.ndarray  # sum of the squared spectra of all 20 ms
    energy_N: np.ndarray  # for the offset
    bands_NB: np.ndarray  # for the hashes


@dataclass(frozen=True, kw_only=True)
class PictureCurves:
    """Curves of a whole video: a value per frame (T), or per pair of successive frames (P = T - 1)."""

    brightest_T: np.ndarray
    change_P: np.ndarray  # mean difference of pixels
    repeat_P: np.ndarray  # the same between the later frame and that of a unit before; infinite within the first unit
    alike_P: np.ndarray  # correlation of pixels
    structured_P: np.ndarray  # bool: neither picture is flat
    light_TB: np.ndarray  # mean brightness of blocks
    detail_T: np.ndarray  # mean second difference of neighbouring pixels over the mean difference; NaN: a flat picture
    faces: tuple[bool, ...]  # of every FACE_EVERYth frame that shows the person
    visible_T: np.ndarray  # bool: frames that show the person; the others are grey
    follows: bool = False  # whether the picture follows a person through an edited recording


class Measured(NamedTuple):
    """What one track says about itself."""

    facts: dict[str, Any]  # None for a missing stream
    hashes: dict[str, list[int]]
    light_TB: np.ndarray | None  # mean brightness of blocks, `_bridged`; None without video
    power_F: np.ndarray | None  # mean square of each 20 ms of the sound; None without audio


def measure_session(job: Job, data: Path, scratch: Path) -> Result:
    """Rows of `quality`, before thresholds are applied, and of `hashes`."""
    del scratch
    tracks = job.spec["tracks"]
    for track in tracks:
        check_files(data, "ingest", media_of(track))
    sounds = [hear(data, track) for track in tracks]
    own = own_sound([None if sound is None else 10 * np.log10(sound.power_F + 1e-12) for sound in sounds])
    measured = [measure(data, *each) for each in zip(tracks, sounds, own, strict=True)]
    same = same_pictures([each.light_TB for each in measured], [track["video_sha256"] for track in tracks])
    heard = perceived_facts(data, tracks, [each.power_F for each in measured])
    rows, hash_rows = [], []
    for track, each, pair, scores in zip(tracks, measured, same, heard, strict=True):
        key = {"session_id": job.key, "participant": track["participant"]}
        share, other = pair or (None, None)
        pair_facts = dict(zip(PAIR_FACTS, (share, None if not share else tracks[other]["participant"]), strict=True))
        rows.append({**key, **each.facts, **pair_facts, **scores, "duplicate_of": None, "usable": True})
        hash_rows.append({**key, **each.hashes})
    return Result(tables={"quality": rows, "hashes": hash_rows})


def hear(data: Path, track: Mapping[str, Any]) -> SoundCurves | None:
    """The curves of a track's audio; None without audio."""
    if not track["audio_path"]:
        return None
    rate_hz = track["rate_hz"]
    return listen(wav_pieces(data / track["audio_path"], _piece_samples(rate_hz)), rate_hz)


def measure(
    data: Path, track: Mapping[str, Any], sound: SoundCurves | None = None, own_F: np.ndarray | None = None
) -> Measured:
    """Measure one track. `sound`: what `hear` returns, if it is known; `own_F`: in which 20 ms it is this person's."""
    facts: dict[str, Any] = dict.fromkeys((*AUDIO_FACTS, *VIDEO_FACTS, *BOTH_FACTS))
    track_hashes: dict[str, list[int]] = {
        f"{stream}_{what}": [] for stream in ("sound", "picture") for what in ("hashes", "frames")
    }
    picture = light_TB = None
    sound = hear(data, track) if sound is None else sound
    if sound is not None:
        facts |= {**sound_facts(sound), "loudness_lufs": loudness_lufs(data / track["audio_path"])}
        track_hashes |= _named("sound", hashes.sound_hashes(sound.bands_NB))
    if track["video_path"]:
        piece_frames = max(1, PIECE_PIXELS // (track["width"] * track["height"]))
        num_frames = track["num_units"] * FRAMES_PER_UNIT
        pieces = frame_pieces(data / track["video_path"], num_frames, piece_frames)
        picture = look(_without_border(pieces, track.get("picture")), visible_frames(track, num_frames))
        facts |= {**picture_facts(picture), "detail": mean_detail(picture)}
        light_TB = _bridged(picture)
        track_hashes |= _named("picture", hashes.picture_hashes(light_TB, *av_offset.BLOCKS))
    if sound is not None and picture is not None and light_TB is not None:
        own_N = attributed_sound(track, len(sound.energy_N), own_F) & _seen(picture, len(sound.energy_N))
        offset = av_offset.av_offset(light_TB, FRAME_RATE_HZ, sound.energy_N, own_N)
        facts["av_offset_ms"], facts["av_confidence"] = camera_offset(track) or offset or (None, None)
    return Measured(facts, track_hashes, light_TB, sound.power_F if sound else None)


def attributed_sound(track: Mapping[str, Any], num_frames: int, own_F: np.ndarray | None) -> np.ndarray:
    """bool (N,) at the rate of `av_offset`: when the sound is this person's, also by what ingest knows about it."""
    own = np.ones(num_frames, bool)
    if own_F is not None:
        own &= np.repeat(own_F, av_offset.RATE_HZ // RATE_HZ)[:num_frames]
    if not track.get("attributed", True):
        own[:] = False
    for span in track.get("mixed", ()):
        own[span["start_ms"] * av_offset.RATE_HZ // 1000 : -(-span["end_ms"] * av_offset.RATE_HZ // 1000)] = False
    return own


def visible_frames(track: Mapping[str, Any], num_frames: int) -> np.ndarray | None:
    """bool (T,): frames of a track that show its person; None: all of them, as the table `tracks` has no spans."""
    if track.get("visible") is None:
        return None
    visible_T = np.zeros(num_frames, bool)
    for span in track["visible"]:
        visible_T[span["start_ms"] // FRAME_MS : -(-span["end_ms"] // FRAME_MS)] = True
    return visible_T


def _seen(picture: PictureCurves, num_frames: int) -> np.ndarray:
    """bool (N,) at the rate of `av_offset`: when the picture shows the person."""
    at = np.arange(num_frames) * FRAME_RATE_HZ // av_offset.RATE_HZ
    return picture.visible_T[np.minimum(at, len(picture.visible_T) - 1)]


def _bridged(picture: PictureCurves) -> np.ndarray:
    """Brightness of the blocks, (T, blocks), without the steps at the edges of what is grey: there it goes straight
    from what was shown before to what is shown next."""
    if picture.visible_T.all() or not picture.visible_T.any():
        return picture.light_TB
    at, shown = np.arange(len(picture.visible_T)), np.flatnonzero(picture.visible_T)
    blocks = [np.interp(at, shown, block[shown]) for block in picture.light_TB.T]
    return np.stack(blocks, axis=1).astype(picture.light_TB.dtype)


def camera_offset(track: Mapping[str, Any]) -> tuple[int, float] | None:
    """The offset between a camera and its recorder, if it was measured and is not corrected; else None."""
    clock = track.get("camera_clock")
    if clock is None or clock["apart_ms"] is None or abs(clock["apart_ms"]) < FRAME_MS:
        return None
    return round(-clock["apart_ms"]), 1.0


def _named(stream: str, stream_hashes: tuple[np.ndarray, np.ndarray]) -> dict[str, list[int]]:
    return {f"{stream}_hashes": stream_hashes[0].tolist(), f"{stream}_frames": stream_hashes[1].tolist()}


def _without_border(pieces: Iterable[np.ndarray], picture: Mapping[str, int] | None) -> Iterator[np.ndarray]:
    """The part of the frames that shows the picture, unless it is too small to be measured."""
    rows, columns = av_offset.BLOCKS
    if picture is None or picture["height"] < rows or picture["width"] < columns:
        yield from pieces
        return
    x, y, width, height = (picture[name] for name in ("x", "y", "width", "height"))
    for piece in pieces:
        yield piece[:, y : y + height, x : x + width]


def _piece_samples(rate_hz: int) -> int:
    """Samples of about PIECE_S, a multiple of every frame length that `listen` uses."""
    whole = math.lcm(round(FRAME_S * rate_hz), rate_hz // av_offset.RATE_HZ, rate_hz // hashes.RATE_HZ)
    return max(1, PIECE_S * rate_hz // whole) * whole


def listen(pieces: Iterable[np.ndarray], rate_hz: int) -> SoundCurves:
    """pieces: float32 samples in [-1, 1], `_piece_samples` each, except the last."""
    hop, overlap = round(FRAME_S * rate_hz), (hashes.WINDOW - 1) * (rate_hz // hashes.RATE_HZ)
    power, spread, energy, bands = [], [], [], []
    peak, num_clipped, num_samples = 0.0, 0, 0
    before, window, spectrum = np.zeros(overlap, np.float32), np.hanning(hop), np.zeros(hop // 2 + 1)
    for piece in pieces:
        frames = piece[: len(piece) // hop * hop].reshape(-1, hop)
        power.append((frames**2).mean(1))
        spectrum += (np.abs(np.fft.rfft(frames * window)) ** 2).sum(0)
        spread.append(frames.max(1) - frames.min(1))
        energy.append(av_offset.sound_energy(piece, rate_hz))
        bands.append(hashes.sound_bands(np.concatenate([before, piece]), rate_hz))
        before = piece[len(piece) - overlap :]
        peak = max(peak, float(np.abs(piece).max(initial=0)))
        num_clipped += int((np.abs(piece) >= FULL_SCALE).sum())
        num_samples += len(piece)
    return SoundCurves(
        power_F=np.concatenate(power), spread_F=np.concatenate(spread), peak=peak, num_clipped=num_clipped,
        num_samples=num_samples, spectrum=spectrum, energy_N=np.concatenate(energy), bands_NB=np.concatenate(bands),
    )  # fmt: skip


def sound_facts(sound: SoundCurves) -> dict[str, Any]:
    """`AUDIO_FACTS` without the loudness."""
    levels_db = np.maximum(10 * np.log10(sound.power_F + 1e-12), FLOOR_DB)
    floor_db, loud_db = np.percentile(levels_db, [10, 95])
    sounding = levels_db > floor_db + 6
    power = float(sound.power_F[sounding].mean(dtype=np.float64)) if sounding.any() else 0.0
    return {
        "level_db": round(max(FLOOR_DB, 10 * float(np.log10(power + 1e-12))), 1),
        "peak_db": round(max(FLOOR_DB, 20 * float(np.log10(sound.peak + 1e-12))), 1),
        "snr_db": round(float(loud_db - floor_db), 1),
        "clipped_share": sound.num_clipped / sound.num_samples,
        "silent_share": round(float(1 - sounding.mean()), 4),
        "zero_share": round(float((sound.spread_F < ZERO).mean()), 4),
        "bandwidth_hz": _bandwidth_hz(sound.spectrum),
    }


def _bandwidth_hz(spectrum: np.ndarray) -> float | None:
    strongest = spectrum.max()
    if not strongest:
        return None
    return float(np.flatnonzero(spectrum >= strongest / 10 ** (BAND_DB / 10))[-1] / FRAME_S)


def look(pieces: Iterable[np.ndarray], visible_T: np.ndarray | None = None) -> PictureCurves:
    """pieces: uint8 RGB frames (t, H, W, 3). `visible_T`: which of all frames show the person; None: all."""
    curves: dict[str, list[np.ndarray]] = {name: [] for name in PICTURE_CURVES}
    faces: list[bool] = []
    last = None  # frames of the unit before
    count = 0
    for piece in pieces:
        due = range(-count % FACE_EVERY, len(piece), FACE_EVERY)
        faces += [shows_face(piece[place]) for place in due if visible_T is None or visible_T[count + place]]
        count += len(piece)
        luma = piece.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
        flat = luma.reshape(len(luma), -1)
        curves["brightest"].append(flat.max(1))
        curves["detail"].append(_detail(luma))
        curves["light"].append(av_offset.block_light(luma))
        before = np.concatenate([flat[:0] if last is None else last, flat])
        repeat = np.abs(before[FRAMES_PER_UNIT:] - before[:-FRAMES_PER_UNIT]).mean(1)
        joined = before[0 if last is None else len(last) - 1 :]
        curves["repeat"].append(np.pad(repeat, (len(joined) - 1 - len(repeat), 0), constant_values=np.inf))
        last = before[-FRAMES_PER_UNIT:]
        curves["change"].append(np.abs(np.diff(joined, axis=0)).mean(1))
        centred = joined - joined.mean(1, keepdims=True)
        length = np.sqrt((centred**2).sum(1)) + 1e-6
        curves["alike"].append((centred[1:] * centred[:-1]).sum(1) / (length[1:] * length[:-1]))
        curves["structured"].append(np.minimum(length[1:], length[:-1]) > flat.shape[1] ** 0.5)
    whole = {name: np.concatenate(parts) for name, parts in curves.items()}
    return PictureCurves(
        brightest_T=whole["brightest"], change_P=whole["change"], alike_P=whole["alike"],
        repeat_P=whole["repeat"], structured_P=whole["structured"], light_TB=whole["light"],
        detail_T=whole["detail"], faces=tuple(faces), follows=visible_T is not None,
        visible_T=np.ones(count, bool) if visible_T is None else visible_T[:count],
    )  # fmt: skip


def picture_facts(picture: PictureCurves) -> dict[str, Any]:
    """`VIDEO_FACTS` without the detail. Of frames that do not show the person, nothing counts; None: there are no
    others."""
    shown_T = picture.visible_T
    if not shown_T.any():
        return {**dict.fromkeys(VIDEO_FACTS[:2]), "cuts": None, "cuts_per_min": None, "face_share": None}
    both_P = shown_T[1:] & shown_T[:-1]
    cuts = int((_cuts(picture) & both_P).sum())
    minutes = int(shown_T.sum()) / (60 * FRAME_RATE_HZ)
    return {
        "black_share": round(float((picture.brightest_T[shown_T] < DARK).mean()), 4),
        "frozen_share": round(float(_frozen(picture)[both_P].mean()), 4) if both_P.any() else 0.0,
        "cuts": cuts,
        "cuts_per_min": None if picture.follows else round(cuts / max(1.0, minutes), 2),
        "face_share": round(sum(picture.faces) / len(picture.faces), 4) if picture.faces else None,
    }


def mean_detail(picture: PictureCurves) -> float | None:
    """None if all frames are flat."""
    known = picture.detail_T[np.isfinite(picture.detail_T) & picture.visible_T]
    return round(float(known.mean()), 4) if len(known) else None


def _detail(luma: np.ndarray) -> np.ndarray:
    """luma: (t, H, W) -> (t,)"""
    steps, bends = (sum(np.abs(np.diff(luma, order, axis)).mean((1, 2)) for axis in (1, 2)) for order in (1, 2))
    return np.where(steps > FLAT, bends / np.maximum(steps, FLAT), np.nan)


def _frozen(picture: PictureCurves) -> np.ndarray:
    """bool (P,): the later frame shows nothing new. Keyframes of a still picture differ from the frames between them,
    but every unit of a track has one, so each frame equals that of a unit before."""
    return np.minimum(picture.change_P, picture.repeat_P) < STILL


def _cuts(picture: PictureCurves) -> np.ndarray:
    """bool (P,): a cut is between the two frames. A flat picture correlates with nothing, and proves none."""
    if not len(picture.change_P):
        return np.zeros(0, bool)
    padded = np.pad(picture.change_P, CUT_AROUND, mode="symmetric")
    around = np.lib.stride_tricks.sliding_window_view(padded, 2 * CUT_AROUND + 1)
    # The 3rd highest change of the second around it, itself included: quick cutting may have another cut there.
    usual_P = np.partition(around, -3, axis=1)[:, -3]
    sudden_P = (picture.change_P > LIKE_CUT_CHANGE) & (picture.change_P > LIKE_CUT_RATIO * (usual_P + 1))
    like_P = (picture.alike_P < LIKE_CUT_CORRELATION) & sudden_P
    return picture.structured_P & ((picture.alike_P < CUT_CORRELATION) | like_P)
