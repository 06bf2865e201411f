"""Truth of a scene and what the stage people made of it -> errors that add up over scenes.

Voices are compared on a grid of 10 ms, as NIST's md-eval does: at each instant, of the voices in the truth and of those
found, the smaller number minus the right ones is confusion, the rest is missed speech or a false alarm. Which voice is
whose is decided once per recording, by the largest common speech.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import beta

from wanstreamer.clock import Span

STEP_MS = 10
COLLAR_MS = 250
HOLDS = 0.95  # a crop holds a face if this share of its area is inside
FOUND_SHARE = 0.5  # of a participant's speech, or of a backchannel, that the voice must have
UNSEEN_SHARE = 0.1  # of the time that a person may be reported visible who never is

Errors = dict[str, float]  # counts and durations, which add up


class Crop(NamedTuple):
    """From `start_ms` on; interpolated to the next crop, unless that is a `cut`."""

    start_ms: int
    x: float
    y: float
    width: float
    height: float
    cut: bool


class Box(NamedTuple):
    left: float
    top: float
    right: float
    bottom: float


class FaceAt(NamedTuple):
    participant: str
    time_ms: int
    box: Box


class Backchannel(NamedTuple):
    participant: str
    span: Span
    in_pause: bool  # while no one else speaks


@dataclass(frozen=True, kw_only=True)
class Found:
    """One participant, as the stage found it."""

    speech: Sequence[Span]
    visible: Sequence[Span] = ()
    crops: Sequence[Crop] = ()


@dataclass(frozen=True, kw_only=True)
class TrueScene:
    """What is true of a recording. Participants a and b are the two of a conversation, others are neither."""

    session_id: str
    kind: str
    rejection: str  # the right one; empty: a conversation of two
    is_broken: bool
    duration_ms: int
    speech: Mapping[str, Sequence[Span]]
    faces: Sequence[FaceAt] = ()
    backchannels: Sequence[Backchannel] = ()


@dataclass(frozen=True, kw_only=True)
class Score:
    """How a recording was judged."""

    session_id: str
    kind: str
    is_dyad: bool
    is_broken: bool
    outcome: str  # `people`, the reason of the rejection, or `lost`
    is_found: bool = False  # both people, assigned or not
    is_assigned: bool = False
    is_right: bool = False  # of an assigned conversation: each voice has its own face; of another: rejected rightly
    errors: Errors = field(default_factory=dict)
    trouble: str = ""  # in words, for people


def score(scene: TrueScene, people: Mapping[str, Found], reason: str | None) -> Score:
    """Compare what was found in one recording, or the reason why it was rejected, with the truth."""
    outcome = "people" if len(people) == 2 else reason or "lost"
    is_dyad = not scene.rejection
    common: dict[str, Any] = {
        "session_id": scene.session_id, "kind": scene.kind, "is_dyad": is_dyad, "is_broken": scene.is_broken,
        "outcome": outcome,
    }  # fmt: skip
    if not is_dyad:
        is_right = outcome == scene.rejection or (scene.is_broken and outcome not in ("people", "lost"))
        return Score(**common, is_right=is_right, trouble="" if is_right else f"expected {scene.rejection}")
    if outcome != "people":
        return Score(**common, is_found=outcome == "uncertain_assignment", trouble="expected two people")
    true = {name: scene.speech.get(name, ()) for name in "ab"}
    own = mapping({name: person.speech for name, person in people.items()}, true)
    named = {own[name]: person for name, person in people.items()}
    voices = {name: person.speech for name, person in named.items()}
    errors = speech_errors(voices, true, scene.duration_ms)
    errors |= {f"collar_{name}": ms for name, ms in speech_errors(voices, true, scene.duration_ms, COLLAR_MS).items()}
    errors |= backchannel_errors(scene.backchannels, voices)
    troubles = []
    is_right = True
    for name, person in named.items():
        figures = face_errors(scene, name, person)
        for key, value in figures.items():
            errors[key] = errors.get(key, 0.0) + value
        wrong = _wrong_face(scene, name, person, figures)
        is_right &= not wrong
        troubles += [f"{name}: {wrong}"] if wrong else []
    lost = [name for name in "ab" if covered_share(true[name], voices[name], scene.duration_ms) < FOUND_SHARE]
    troubles += [f"{name}: half of the speech is not in this voice" for name in lost]
    confused = errors["confused_ms"] / max(errors["speech_ms"], 1.0)
    troubles += [f"{confused:.1%} of the speech is confused"] if confused > 0.03 else []
    return Score(
        **common, is_found=not lost, is_assigned=True, is_right=is_right, errors=errors, trouble="; ".join(troubles)
    )


def _wrong_face(scene: TrueScene, name: str, person: Found, figures: Errors) -> str:
    """Why this person's picture is not that of the voice; empty if it is."""
    visible_ms = sum(span.duration_ms for span in person.visible)
    if not any(face.participant == name for face in scene.faces):
        return "is never seen, but has a picture" if visible_ms > UNSEEN_SHARE * scene.duration_ms else ""
    if not visible_ms:
        return "has no picture"
    if figures["held_frames"] <= figures["other_frames"] or figures["held_frames"] < 0.5 * figures["shown_frames"]:
        return "has the picture of another, or of nothing"
    return ""


def mapping(found: Mapping[str, Sequence[Span]], true: Mapping[str, Sequence[Span]]) -> dict[str, str]:
    """Name of a voice that was found -> whose it is, each another's, so that the common speech is the most."""
    names = list(found)

    def common_ms(order: Iterable[str]) -> int:
        pairs = zip(names, order, strict=True)
        return sum(_common_ms(found[name], true[whose]) for name, whose in pairs)

    return dict(zip(names, max(permutations(true, len(names)), key=common_ms), strict=True))


def _common_ms(spans: Sequence[Span], others: Sequence[Span]) -> int:
    return sum(
        max(0, min(span.end_ms, other.end_ms) - max(span.start_ms, other.start_ms))
        for span in spans
        for other in others
    )


def on_grid(spans: Iterable[Span], num_steps: int) -> np.ndarray:
    """Whether the middle of each step is inside a span, bool (steps,)."""
    inside = np.zeros(num_steps, bool)
    for start_ms, end_ms in spans:
        inside[max(0, round(start_ms / STEP_MS)) : max(0, round(end_ms / STEP_MS))] = True
    return inside


def covered_share(true: Sequence[Span], found: Sequence[Span], duration_ms: int) -> float:
    steps = on_grid(true, duration_ms // STEP_MS)
    return float((steps & on_grid(found, len(steps))).sum() / max(1, steps.sum()))


def speech_errors(
    found: Mapping[str, Sequence[Span]], true: Mapping[str, Sequence[Span]], duration_ms: int, collar_ms: int = 0
) -> Errors:
    """Durations in ms over both voices, except within `collar_ms` of each edge of the truth; overlap counts twice."""
    num_steps = duration_ms // STEP_MS
    true_PT = np.stack([on_grid(true[name], num_steps) for name in sorted(true)])
    found_PT = np.stack([on_grid(found.get(name, ()), num_steps) for name in sorted(true)])
    counts_T = np.ones(num_steps, bool)
    for spans in true.values() if collar_ms else ():
        for edge_ms in (edge for span in spans for edge in span):
            counts_T[max(0, (edge_ms - collar_ms) // STEP_MS) : (edge_ms + collar_ms) // STEP_MS] = False
    num_true, num_found = (rows.sum(axis=0)[counts_T] for rows in (true_PT, found_PT))
    right = (true_PT & found_PT).sum(axis=0)[counts_T]
    return {
        "speech_ms": float(num_true.sum() * STEP_MS),
        "missed_ms": float(np.maximum(num_true - num_found, 0).sum() * STEP_MS),
        "false_ms": float(np.maximum(num_found - num_true, 0).sum() * STEP_MS),
        "confused_ms": float((np.minimum(num_true, num_found) - right).sum() * STEP_MS),
    }


def backchannel_errors(backchannels: Sequence[Backchannel], voices: Mapping[str, Sequence[Span]]) -> Errors:
    """How many there are, in a pause of the other and over the other's speech, and how many are in their own voice."""
    names = ("pause_backchannels", "own_pause_backchannels", "overlap_backchannels", "own_overlap_backchannels")
    figures = dict.fromkeys(names, 0.0)
    for participant, span, in_pause in backchannels:
        name = f"{'pause' if in_pause else 'overlap'}_backchannels"
        figures[name] += 1
        figures[f"own_{name}"] += _common_ms([span], voices[participant]) >= FOUND_SHARE * span.duration_ms
    return figures


def face_errors(scene: TrueScene, name: str, person: Found) -> Errors:
    """Counts of the instants, five a second, at which faces are known.

    Returns:
        true_frames: the person's face is in the picture; seen_frames: of those, the person is reported visible.
        shown_frames: the person is reported visible; held_frames: of those, the crop holds the person's face;
        other_frames: the crop holds the face of another, or of a poster.
    """
    by_time: dict[int, list[FaceAt]] = {}
    for face in scene.faces:
        by_time.setdefault(face.time_ms, []).append(face)
    figures = dict.fromkeys(("true_frames", "seen_frames", "shown_frames", "held_frames", "other_frames"), 0.0)
    if not person.visible and not by_time:
        return figures
    for time_ms, some in by_time.items():
        is_shown = any(start_ms <= time_ms < end_ms for start_ms, end_ms in person.visible)
        is_there = any(face.participant == name for face in some)
        figures["true_frames"] += is_there
        figures["seen_frames"] += is_there and is_shown
        figures["shown_frames"] += is_shown
        crop = crop_at(person.crops, time_ms) if is_shown else None
        if crop is not None:
            held = {face.participant for face in some if _holds(crop, face.box)}
            figures["held_frames"] += name in held
            figures["other_frames"] += bool(held - {name})
    return figures


def crop_at(crops: Sequence[Crop], time_ms: int) -> Crop | None:
    """The crop at an instant; None before the first."""
    place = bisect_right(crops, time_ms, key=lambda crop: crop.start_ms)
    if not place:
        return None
    crop, after = crops[place - 1], crops[place] if place < len(crops) else None
    if after is None or after.cut:
        return crop
    way = (time_ms - crop.start_ms) / (after.start_ms - crop.start_ms)
    x, y, width, height = (own + way * (later - own) for own, later in zip(crop[1:5], after[1:5], strict=True))
    return Crop(time_ms, x, y, width, height, cut=False)


def _holds(crop: Crop, box: Box) -> bool:
    across = min(crop.x + crop.width, box.right) - max(crop.x, box.left)
    down = min(crop.y + crop.height, box.bottom) - max(crop.y, box.top)
    return max(0.0, across) * max(0.0, down) >= HOLDS * (box.right - box.left) * (box.bottom - box.top)


Figure = tuple[float | None, float | None, float | None]  # value, and the limits of its 95 % interval


def share_of(results: Sequence[bool]) -> Figure:
    """A share with its exact binomial interval (Clopper & Pearson 1934); None without results."""
    total, right = len(results), sum(results)
    if not total:
        return None, None, None
    low = float(beta.ppf(0.025, right, total - right + 1)) if right else 0.0
    high = float(beta.ppf(0.975, right + 1, total - right)) if right < total else 1.0
    return _rounded(right / total, low, high)


def ratio_of(scores: Sequence[Score], over: Sequence[str], under: str, seed: int, rounds: int = 1000) -> Figure:
    """A ratio of sums with its interval, from resampling whole recordings; None if nothing was counted."""
    above = np.array([sum(s.errors.get(name, 0.0) for name in over) for s in scores])
    below = np.array([s.errors.get(under, 0.0) for s in scores])
    if not below.sum():
        return None, None, None
    drawn = np.random.default_rng(seed).integers(0, len(scores), (rounds, len(scores)))
    sums = below[drawn].sum(axis=1)
    ratios = above[drawn].sum(axis=1)[sums > 0] / sums[sums > 0]
    return _rounded(above.sum() / below.sum(), *np.quantile(ratios, [0.025, 0.975]))


def _rounded(*values: float) -> Figure:
    value, low, high = (round(float(each), 4) for each in values)
    return value, low, high


RATIOS = {
    "confusion_share": (("confused_ms",), "speech_ms"),
    "diarization_error": (("missed_ms", "false_ms", "confused_ms"), "speech_ms"),
    "diarization_error_collar": (("collar_missed_ms", "collar_false_ms", "collar_confused_ms"), "collar_speech_ms"),
    "missed_share": (("missed_ms",), "speech_ms"),
    "false_share": (("false_ms",), "speech_ms"),
    "backchannels_in_pauses": (("own_pause_backchannels",), "pause_backchannels"),
    "backchannels_in_overlap": (("own_overlap_backchannels",), "overlap_backchannels"),
    "face_in_crop": (("held_frames",), "shown_frames"),
    "other_face_in_crop": (("other_frames",), "shown_frames"),
    "visible_found": (("seen_frames",), "true_frames"),
}


def summary(scores: Sequence[Score], seed: int) -> dict[str, Figure]:
    """All figures over recordings, each with its interval."""
    dyads = [s for s in scores if s.is_dyad]
    assigned = [s for s in dyads if s.is_assigned]
    others = [s for s in scores if not s.is_dyad]
    figures = {
        "dyads_found": share_of([s.is_found for s in dyads]),
        "dyads_assigned": share_of([s.is_assigned for s in dyads]),
        "assignment_accuracy": share_of([s.is_right for s in assigned]),
        "non_dyads_rejected": share_of([s.is_right for s in others if not s.is_broken]),
        "broken_rejected": share_of([s.is_right for s in others if s.is_broken]),
    }
    return figures | {name: ratio_of(assigned, *ratio, seed) for name, ratio in RATIOS.items()}
