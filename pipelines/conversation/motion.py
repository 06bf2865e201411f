"""A dialogue and frame times -> how a head, its eyes and its mouth move in each frame.

What the face does follows from the speech. The mouth opens with the energy of the own voice, and spreads with its
brightness. A speaker looks away at the start of a turn and in its pauses, looks back towards its end, and blinks at
boundaries (Kendon 1967). A listener looks at the partner, and bobs and raises the brows a few frames behind the
partner's energy (strongly enough to survive 64 x 48 pixels). A listener also nods with backchannels and, silently, in
some of the partner's pauses. A person who holds a thing up looks down at it while it rises, then at the partner with
raised brows, waiting. The rest is slow idle motion and blinking.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipelines.conversation.dialogue import Dialogue, Showing, Utterance, other
from pipelines.conversation.voice import RATE_HZ

STEP_MS = 10  # everything is computed on this grid and then interpolated at the frame times
LISTENING_LAG_MS = 160  # four frames behind the partner's voice
NOD_HZ = 2.6
NOD_MS = 800
BLINK_MS = 170
RISE_MS = 350  # of a thing that is held up; it goes down equally fast


@dataclass(frozen=True, kw_only=True)
class Motion:
    """Motion per frame, float32 (F,). Angles are in units of half the head height: how far the nose moves."""

    yaw: np.ndarray  # positive: to the right of the picture
    pitch: np.ndarray  # positive: down
    roll: np.ndarray  # radians
    gaze_x: np.ndarray  # -1 to 1
    gaze_y: np.ndarray
    lid: np.ndarray  # 0 open, 1 closed
    mouth_open: np.ndarray  # 0 to 1
    mouth_wide: np.ndarray  # -1 round, 1 spread
    brow: np.ndarray  # 0 at rest, 1 raised
    held_up: np.ndarray  # 0 out of the picture, 1 next to the face
    things: tuple[tuple[str, str] | None, ...]  # thing and colour, or None

    def at(self, frames: slice) -> "Motion":
        return Motion(**{name: values[frames] for name, values in vars(self).items()})


def make_motion(
    dialogue: Dialogue, participant: str, voices: dict[str, np.ndarray], frame_ms: np.ndarray, rng: np.random.Generator
) -> Motion:
    """Motion of `participant` at the session times `frame_ms` (F,); `voices` are both clean voices at RATE_HZ."""
    num_steps = dialogue.duration_ms // STEP_MS + 200  # files go on a little after the session
    own, bright = voice_signals(voices[participant], num_steps)
    theirs, _ = voice_signals(voices[other(participant)], num_steps)

    nods = np.zeros(num_steps)
    for utterance in dialogue.of(participant, "backchannel"):
        add_nod(nods, utterance.start_ms - 120, float(rng.uniform(0.15, 0.22)))
    for utterance in dialogue.of(other(participant), "turn"):
        for (start_ms, clip), (next_ms, _) in zip(utterance.clips, utterance.clips[1:], strict=False):
            if rng.random() < 0.4 and not _speaks(
                dialogue, participant, start_ms + clip.duration_ms - 300, next_ms + 300
            ):
                add_nod(nods, start_ms + clip.duration_ms - int(rng.integers(0, 200)), float(rng.uniform(0.09, 0.15)))

    showings = [showing for showing in dialogue.showings if showing.participant == participant]
    away_x, away_y = avert_gaze(dialogue.of(participant, "turn", "attempt"), num_steps, rng)
    signals = Signals(
        own=own, bright=bright, theirs=theirs, nods=nods, away_x=away_x, away_y=away_y,
        held_up=_held_up(showings, num_steps), asking=raise_brows(dialogue.of(participant, "turn"), num_steps),
        idle=draw_idle(participant, dialogue.of(participant, "turn"), num_steps, rng),
    )  # fmt: skip
    things = tuple(
        next(((s.thing, s.colour) for s in showings if s.start_ms <= time_ms <= s.end_ms), None) for time_ms in frame_ms
    )
    return move(signals, frame_ms, things)


@dataclass(frozen=True, kw_only=True)
class Idle:
    """What a face does by itself, on a grid of STEP_MS, float64 (steps,)."""

    side: float  # of the screen where the partner is: -1 to 1
    lean: float  # how the head moves with the own voice
    glance_x: np.ndarray
    glance_y: np.ndarray
    yaw: np.ndarray
    pitch: np.ndarray
    roll: np.ndarray
    lid: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Signals:
    """All signals that move a face, on a grid of STEP_MS, float64 (steps,)."""

    own: np.ndarray  # loudness of the own voice, 0 to 1
    bright: np.ndarray  # its brightness, -1 to 1
    theirs: np.ndarray  # loudness of the partner's voice
    nods: np.ndarray
    away_x: np.ndarray  # gaze away from the partner
    away_y: np.ndarray
    held_up: np.ndarray
    asking: np.ndarray
    idle: Idle

    def at(self, steps: slice) -> "Signals":
        def cut(of: object) -> dict[str, Any]:
            return {name: value[steps] for name, value in vars(of).items() if isinstance(value, np.ndarray)}

        return replace(self, **cut(self), idle=replace(self.idle, **cut(self.idle)))


def draw_idle(participant: str, turns: list[Utterance], num_steps: int, rng: np.random.Generator) -> Idle:
    """Idle motion; some blinks come at the ends of turns."""
    return Idle(
        side=0.18 if participant == "a" else -0.18, glance_x=_jumps(num_steps, 0.06, rng),
        glance_y=_jumps(num_steps, 0.05, rng), lean=float(rng.uniform(-1, 1)), yaw=_drift(num_steps, 0.25, rng),
        pitch=_drift(num_steps, 0.3, rng), roll=_drift(num_steps, 0.2, rng), lid=_blinks(turns, num_steps, rng),
    )  # fmt: skip


def move(
    signals: Signals, frame_ms: np.ndarray, things: tuple[tuple[str, str] | None, ...], *, first_ms: int = 0
) -> Motion:
    """The face at `frame_ms` (F,); the signals' grid begins at `first_ms`. Within 200 ms of the grid's ends, motion is
    not smooth."""
    idle = signals.idle
    num_steps = len(signals.own)
    speaking = _smooth((signals.own > 0.05).astype(float), 300)
    delayed = np.pad(signals.theirs, (LISTENING_LAG_MS // STEP_MS, 0))[:num_steps]
    bob = _smooth(delayed, 120) * (1 - speaking)
    beat = _smooth(signals.own, 160)
    rising = np.clip(np.diff(signals.held_up, prepend=signals.held_up[0]) * RISE_MS / STEP_MS, 0, 1)
    steps = {
        "yaw": 0.5 * idle.side + 0.16 * _smooth(signals.away_x, 200) + 0.05 * idle.yaw + 0.03 * beat * idle.lean,
        "pitch": signals.nods + 0.13 * bob + 0.05 * (beat - 0.3 * speaking) + 0.06 * _smooth(signals.away_y, 200)
        + 0.025 * idle.pitch,
        "roll": 0.035 * idle.roll + 0.02 * idle.lean * speaking,
        "gaze_x": _smooth(idle.side + signals.away_x + idle.glance_x, 40),
        "gaze_y": _smooth(signals.away_y + idle.glance_y + 0.8 * rising, 40),
        "lid": idle.lid,
        "mouth_open": signals.own,
        "mouth_wide": signals.bright,
        "brow": signals.asking + 0.25 * beat + 0.35 * bob + 0.6 * signals.held_up,
        "held_up": signals.held_up,
    }  # fmt: skip
    time_ms = first_ms + np.arange(num_steps) * STEP_MS
    at_frames = {name: np.interp(frame_ms, time_ms, values).astype(np.float32) for name, values in steps.items()}
    return Motion(**at_frames, things=things)


def _held_up(showings: list[Showing], num_steps: int) -> np.ndarray:
    """Height of a thing, 0 to 1: it rises from `start_ms` on and is gone at `end_ms`."""
    time_ms = np.arange(num_steps) * STEP_MS
    height = np.zeros(num_steps)
    for showing in showings:
        way = np.minimum(time_ms - showing.start_ms, showing.end_ms - time_ms) / RISE_MS
        height = np.maximum(height, np.clip(way, 0, 1))
    return height**2 * (3 - 2 * height)


def voice_signals(samples: np.ndarray, num_steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Loudness 0 to 1 and brightness -1 to 1 of a clean voice, on the grid."""
    hop = RATE_HZ * STEP_MS / 1000
    edges = np.minimum((np.arange(num_steps + 1) * hop).astype(int), len(samples))
    squares = np.concatenate([[0.0], np.cumsum(samples.astype(np.float64) ** 2)])
    steep = np.concatenate([[0.0, 0.0], np.cumsum(np.diff(samples.astype(np.float64)) ** 2)])
    counts = np.maximum(1, np.diff(edges))
    power = np.diff(squares[edges]) / counts
    # Smoothed over three steps: otherwise single pitch periods of a low voice would make the lips flutter.
    power, slope = _smooth(power, 40), _smooth(np.diff(steep[edges]) / counts, 40)
    loud = np.quantile(power[power > 1e-7], 0.9) if (power > 1e-7).any() else 1.0
    level = np.clip((power / loud) ** 0.35, 0, 1.15) * (power > 1e-6)
    frequency = np.sqrt(slope / np.maximum(power, 1e-9))  # grows with the share of high frequencies
    bright = np.clip((frequency - 0.22) / 0.18, -1, 1) * (level > 0.1)
    return _smooth(np.minimum(level, 1.0), 50), _smooth(bright, 80)


def _smooth(values: np.ndarray, width_ms: int) -> np.ndarray:
    width = max(1, width_ms // STEP_MS)
    kernel = np.hanning(width + 2)[1:-1]
    return np.convolve(values, kernel / kernel.sum(), mode="same")


def add_nod(pitch: np.ndarray, start_ms: int, size: float) -> None:
    """Add a damped bow and two rebounds."""
    first = max(0, start_ms // STEP_MS)
    time_s = np.arange(NOD_MS // STEP_MS) * STEP_MS / 1000
    nod = size * np.sin(np.pi * NOD_HZ * time_s) ** 2 * np.exp(-1.6 * time_s)
    pitch[first : first + len(nod)] += nod[: max(0, len(pitch) - first)]


def _speaks(dialogue: Dialogue, participant: str, start_ms: int, end_ms: int) -> bool:
    return any(span.start_ms < end_ms and span.end_ms > start_ms for span in dialogue.speech(participant))


def avert_gaze(turns: list[Utterance], num_steps: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Gaze away from the partner: at the start of most turns, during long ones and in pauses; back at the end."""
    away_x, away_y = np.zeros(num_steps), np.zeros(num_steps)

    def look_away(from_ms: int, until_ms: int) -> None:
        span = slice(max(0, from_ms // STEP_MS), max(0, until_ms // STEP_MS))
        away_x[span] = rng.choice((-1, 1)) * rng.uniform(0.4, 0.8)
        away_y[span] = rng.uniform(-0.6, 0.3)

    for turn in turns:
        at_ms = turn.start_ms - 150
        while at_ms < turn.end_ms - 700:
            until_ms = min(at_ms + int(rng.integers(500, 1300)), turn.end_ms - 400)
            look_away(at_ms, until_ms)
            at_ms = until_ms + int(rng.integers(900, 2500))
        for (start_ms, clip), (next_ms, _) in zip(turn.clips, turn.clips[1:], strict=False):
            look_away(start_ms + clip.duration_ms - 200, next_ms + 200)
    return away_x, away_y


def _jumps(num_steps: int, size: float, rng: np.random.Generator) -> np.ndarray:
    """Small saccades every second or so."""
    values = np.zeros(num_steps)
    at = 0
    while at < num_steps:
        length = int(rng.integers(40, 180))
        values[at : at + length] = size * rng.standard_normal()
        at += length
    return values


def _drift(num_steps: int, base_hz: float, rng: np.random.Generator) -> np.ndarray:
    """Slow swaying, about -1 to 1: three sines with no common period."""
    time_s = np.arange(num_steps) * STEP_MS / 1000
    waves = [
        weight * np.sin(2 * np.pi * base_hz * factor * time_s + rng.uniform(0, 2 * np.pi))
        for weight, factor in ((0.6, rng.uniform(0.5, 0.8)), (0.4, rng.uniform(1.1, 1.5)), (0.2, rng.uniform(2.2, 3.0)))
    ]
    return np.sum(waves, axis=0)


def _blinks(turns: list[Utterance], num_steps: int, rng: np.random.Generator) -> np.ndarray:
    starts_ms = [turn.end_ms + int(rng.integers(-100, 200)) for turn in turns if rng.random() < 0.5]
    at_ms = float(rng.uniform(500, 3000))
    while at_ms < num_steps * STEP_MS:
        starts_ms.append(int(at_ms))
        at_ms += float(rng.gamma(4.0, 900.0)) + 400
    lid = np.zeros(num_steps)
    shape = np.sin(np.pi * (np.arange(BLINK_MS // STEP_MS) + 0.5) / (BLINK_MS // STEP_MS)) ** 0.6
    for start_ms in starts_ms:
        first = max(0, start_ms // STEP_MS)
        piece = lid[first : first + len(shape)]
        np.maximum(piece, shape[: len(piece)], out=piece)
    return lid


def raise_brows(turns: list[Utterance], num_steps: int) -> np.ndarray:
    """Brows raised during the second half of a question."""
    brow = np.zeros(num_steps)
    for turn in turns:
        if turn.asks:
            brow[(turn.start_ms + turn.end_ms) // 2 // STEP_MS : (turn.end_ms + 300) // STEP_MS] = 0.7
    return _smooth(brow, 200)
