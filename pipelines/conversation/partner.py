"""A user of the sample who listens: each 160 ms the agent's sound in, the user's picture and sound out.

    with open_partners(12, seed=0, seconds=60, width=64, height=48, rate_hz=16000) as partners:
        frames, samples = partners[0].step(agent_samples)     # agent's last unit in; the user's next unit out

Voice, face, sentences and times are those of recorded sessions (script.py), but nothing is planned beyond the current
phrase: the user decides from the agent's audible behaviour.

- It tells and asks, with pauses, and then waits. It goes on when the agent has answered and been silent for a while, or
  has not answered for some seconds.
- While the agent speaks, it sometimes says "mhm", or interrupts: it raises its voice and talks on until it is done, or
  gives up if the agent does not stop.
- When the agent talks into its turn, it gives way, or not.
- Sometimes it holds a thing up instead of speaking, and waits until the agent says what it is.

`stimuli` lists what it did that an agent could react to. Equal seeds and equal agent sound give equal bytes. How often
each thing happens is our choice.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.signal import firwin, resample_poly

from pipelines.conversation import grammar
from pipelines.conversation.cast import Speaker, people
from pipelines.conversation.dialogue import Dialogue, Utterance
from pipelines.conversation.face import draw_frames
from pipelines.conversation.look import make_look
from pipelines.conversation.loudness import LEVEL_LIMIT_DB, LEVEL_SD_DB, gain
from pipelines.conversation.motion import (
    RISE_MS,
    STEP_MS,
    Signals,
    add_nod,
    avert_gaze,
    draw_idle,
    move,
    raise_brows,
    voice_signals,
)
from pipelines.conversation.phrases import Clip, cut, cut_points_ms, samples_of_ms
from pipelines.conversation.record import rms, room_noise, voice_gain
from pipelines.conversation.script import PAUSE_MEDIAN_MS, YIELD_MS, Writer
from pipelines.conversation.stimuli import Stimulus
from pipelines.conversation.voice import RATE_HZ, Voice
from wanstreamer.clock import FRAME_MS, FRAMES_PER_UNIT, UNIT_MS, Span

ME = "a"
CAMERA = (320, 240)  # pixels drawn, as in recorded sessions
INTERRUPTS, BACKCHANNELS = 0.3, 0.4  # shares of the agent's turns
SHOWS = 0.15  # share of the user's moves
GIVES_WAY = 0.4  # share of the user's turns that it leaves to an agent that talks into them
GIVES_UP = 0.3  # share of its interruptions, if the agent does not stop
FILTER_MS = 40  # of sound around a unit, for resampling
MARGIN_MS = 400  # of motion around a unit, for smoothing
HEARD_DB = -38.0  # below full scale: a softer agent is not heard
HANGOVER_MS = 250  # a stop consonant is not a silence


@dataclass(kw_only=True)
class AgentSpeech:
    """What the user knows of the agent's speech, up to now."""

    speaking: bool = False
    since_ms: int = 0  # when the current speech or silence began
    level: NDArray[np.float64]  # loudness per STEP_MS of the last unit, 0 to 1
    silent_steps: int = 10**6
    loud_steps: int = 0


class Partner:
    """One user and its conversation; use it for at most `seconds`."""

    def __init__(
        self, voice: Voice, speaker: Speaker, *, seed: Sequence[int], seconds: int, size: tuple[int, int], rate_hz: int
    ) -> None:
        self.rng = np.random.default_rng([*seed, 0])
        self.duration_ms = seconds * 1000
        self.size, self.rate_hz = size, rate_hz
        divisor = math.gcd(RATE_HZ, rate_hz)
        self.up, self.down = rate_hz // divisor, RATE_HZ // divisor
        most = max(self.up, self.down)
        self.filter = firwin(20 * most + 1, 1 / most, window=("kaiser", 5.0))
        self.stimuli: list[Stimulus] = []
        self.writer = Writer(
            voice, {ME: speaker.voice}, self.rng, first_ms=0, duration_ms=self.duration_ms + 60_000
        )  # a turn that does not fit is never played
        self.dialogue = Dialogue(duration_ms=self.duration_ms)
        self.now_ms = 0
        example = self.writer.say(ME, "the boat is red and she really likes it.").samples
        level_db = float(self.rng.uniform(-25, -20))
        self.gain = voice_gain(example, rms(example), level_db)
        noise_rng = np.random.default_rng([*seed, 1])
        noise_db = level_db - float(noise_rng.triangular(10, 30, 40))
        self.noise = room_noise(samples_of_ms(self.duration_ms + 1000), noise_rng) * 10 ** (noise_db / 20)
        self.look = make_look(speaker.face_seed, [*seed, 2], may_have_beard=not speaker.is_high)
        self.num_steps = (self.duration_ms + 2000) // STEP_MS
        still = {name: np.zeros(self.num_steps) for name in Signals.__dataclass_fields__ if name != "idle"}
        self.signals = Signals(**still, idle=draw_idle(ME, [], self.num_steps, np.random.default_rng([*seed, 3])))
        self.agent = AgentSpeech(level=np.zeros(UNIT_MS // STEP_MS))
        self.turn: Utterance | None = None  # the user's current turn, from its plan to its end
        self.wants_floor = False  # the turn is an interruption
        self.thing: tuple[str, str] | None = None
        self.lowered: tuple[str, str] | None = None  # the thing that is on its way down, or was last
        self.shown_ms = 0
        self.next_ms = int(self.rng.integers(300, 1200))  # when the user begins on its own, if nothing happens
        self.answered = False  # the agent has spoken since the user's last turn
        self.reaction: tuple[str, int] | None = None  # "interrupt" or "backchannel", and when
        self.patience_ms = 0  # how long the user tolerates an agent that talks into its turn
        self.overlap_ms = 0

    def step(
        self, agent_samples: NDArray[np.float32], *, draw: bool = True
    ) -> tuple[NDArray[np.uint8] | None, NDArray[np.float32]]:
        """The next unit, after hearing the agent's samples (T,) of the previous unit.

        Returns:
            uint8 RGB frames (4, H, W, 3) of `size`, None without `draw` (nothing else depends on it, and drawing takes
            most of the time), and float32 samples (T,) at `rate_hz`.
        """
        was_speaking = self.agent.speaking
        self._hear(agent_samples)
        if self.turn is not None:
            self._go_on()
        elif self.agent.speaking:
            self._listen(begins=not was_speaking)
        else:
            self._take_up(ended=was_speaking)
        frames, samples = self._draw() if draw else None, self._sound()
        self.now_ms += UNIT_MS
        return frames, samples

    def _hear(self, samples: NDArray[np.float32]) -> None:
        """Update `agent`: whether it speaks, and since when."""
        agent = self.agent
        steps = samples[: len(samples) // 16 * 16].reshape(UNIT_MS // STEP_MS, -1).astype(np.float64)
        power = (steps**2).mean(axis=1)
        agent.level = np.clip((power / 10 ** (-20 / 10)) ** 0.35, 0, 1) * (power > 10 ** (HEARD_DB / 10))
        start_ms = self.now_ms - UNIT_MS
        for place, loud in enumerate(power > 10 ** (HEARD_DB / 10)):
            at_ms = start_ms + place * STEP_MS
            agent.loud_steps = agent.loud_steps + 1 if loud else 0
            agent.silent_steps = 0 if loud else agent.silent_steps + 1
            if not agent.speaking and agent.loud_steps * STEP_MS >= 50:
                agent.speaking, agent.since_ms = True, at_ms
            elif agent.speaking and agent.silent_steps * STEP_MS >= HANGOVER_MS:
                agent.speaking, agent.since_ms = False, at_ms - HANGOVER_MS
        first = start_ms // STEP_MS
        if first >= 0:
            self.signals.theirs[first : first + len(agent.level)] = agent.level

    def _go_on(self) -> None:
        """During the user's own turn: end it, or give way to the agent."""
        assert self.turn is not None
        self.answered = False
        if self.now_ms >= self.turn.end_ms:
            self._end_turn()
            return
        spoken_ms = self.now_ms - self.turn.start_ms
        self.overlap_ms = self.overlap_ms + UNIT_MS if self.agent.speaking and spoken_ms > 0 else 0
        if self.patience_ms and self.overlap_ms >= self.patience_ms:
            self._break_off()

    def _end_turn(self) -> None:
        assert self.turn is not None
        turn = self.turn
        for (start_ms, clip), (next_ms, _) in zip(turn.clips, turn.clips[1:], strict=False):
            self.stimuli.append(Stimulus("pause", start_ms + clip.duration_ms, next_ms))
        self.stimuli.append(Stimulus("turn_end", turn.start_ms, turn.end_ms))
        self._leave_floor(turn.end_ms)

    def _leave_floor(self, end_ms: int) -> None:
        self.turn = None
        self.next_ms = end_ms + self.writer.between_ms(2500, 4500)

    def _break_off(self) -> None:
        """End the turn inside the current word; the only consequence is that the agent has the floor."""
        assert self.turn is not None
        turn, clips = self.turn, []
        for start_ms, clip in turn.clips:
            if start_ms + clip.duration_ms <= self.now_ms:
                clips.append((start_ms, clip))
            elif start_ms < self.now_ms + UNIT_MS:
                later = [t for t in cut_points_ms(clip) if start_ms + t >= self.now_ms]
                clips.append((start_ms, cut(clip, later[0]) if later else clip))
        self.dialogue.utterances.remove(turn)
        shorter = replace(turn, clips=tuple(clips))
        self.dialogue.utterances.append(shorter)
        for values in (self.signals.own, self.signals.bright, self.signals.away_x, self.signals.away_y):
            values[shorter.end_ms // STEP_MS :] = 0
        if self.wants_floor:
            self.stimuli = [
                Stimulus(p.kind, p.start_ms, min(p.end_ms, shorter.end_ms)) if p.kind == "interruption" else p
                for p in self.stimuli
            ]
        self._leave_floor(shorter.end_ms)

    def _listen(self, *, begins: bool) -> None:
        """While the agent speaks: do nothing, say "mhm", or interrupt."""
        self.answered = True
        if begins:
            chance = float(self.rng.random())
            if chance < INTERRUPTS:
                self.reaction = "interrupt", self.now_ms + self.writer.between_ms(700, 2200)
            elif chance < INTERRUPTS + BACKCHANNELS:
                self.reaction = "backchannel", self.now_ms + self.writer.between_ms(900, 2200)
            else:
                self.reaction = None
        if self.reaction is None or self.now_ms < self.reaction[1] or self.thing is not None:
            return
        kind, _ = self.reaction
        self.reaction = None
        if kind == "interrupt":
            words = grammar.challenge(self.rng, grammar.thing(self.rng))
            self._say(self.writer.say_turn(ME, [words]), kind="turn", against=[Span(0, YIELD_MS[1])])
            assert self.turn is not None
            self.wants_floor = True
            self.patience_ms = self.writer.between_ms(800, 1600) if self.writer.chance(GIVES_UP) else 0
            self.stimuli.append(Stimulus("interruption", self.turn.start_ms, self.turn.end_ms))
        else:
            utterance = self._say([self.writer.say_backchannel(ME)], kind="backchannel")
            add_nod(self.signals.nods, self.now_ms, float(self.rng.uniform(0.15, 0.22)))
            self.stimuli.append(Stimulus("backchannel", utterance.start_ms, utterance.end_ms))
            if self.writer.chance(0.5):
                self.reaction = "backchannel", utterance.end_ms + self.writer.between_ms(1500, 3000)

    def _take_up(self, *, ended: bool) -> None:
        """While no one speaks: make the user's next move when it is time."""
        if ended:  # how long the agent may pause without losing the floor
            self.next_ms = self.agent.since_ms + self.writer.draw_ms(800, 0.35, 400, 2000)
            self.reaction = None
        if self.thing is not None:
            waited_ms = self.now_ms - self.shown_ms
            if waited_ms >= 4500 or (self.answered and self.now_ms >= self.next_ms):
                self._put_down()
            return
        if self.now_ms < self.next_ms:
            return
        if self.writer.chance(SHOWS) and self.dialogue.utterances:
            self._hold_up()
        elif self.writer.chance(0.5):
            question = grammar.question(self.rng, self.writer.topic_next())
            self._say(self.writer.say_turn(ME, [question.text]), kind="turn", asks=True)
        else:
            about = self.writer.topic_next()
            phrases = [
                phrase for _ in range(self.writer.between_ms(1, 2)) for phrase in grammar.statement(self.rng, about)
            ]
            self._say(self.writer.say_turn(ME, phrases), kind="turn")

    def _say(self, clips: Sequence[Clip], *, kind: str, asks: bool = False, against: Sequence[Span] = ()) -> Utterance:
        """Say something that begins within the next unit; `against`: expected speech of the agent."""
        start_ms = self.now_ms + self.writer.between_ms(0, UNIT_MS // STEP_MS - 1) * STEP_MS
        level_db = float(np.clip(LEVEL_SD_DB * self.rng.standard_normal(), -LEVEL_LIMIT_DB, LEVEL_LIMIT_DB))
        scaled = [
            replace(clip, samples=clip.samples * np.float32(self.gain) * gain(clip, 0, level_db, list(against)))
            for clip in clips
        ]
        pauses_ms = [self.writer.draw_ms(PAUSE_MEDIAN_MS, 0.45, 230, 1300) for _ in clips[1:]]
        utterance = Utterance(
            participant=ME, kind=kind, clips=self.writer.lay_out(scaled, pauses_ms, start_ms), asks=asks
        )  # fmt: skip
        self.dialogue.utterances.append(utterance)
        for clip_ms, clip in utterance.clips:
            first = clip_ms // STEP_MS
            own, bright = voice_signals(clip.samples, -(-clip.duration_ms // STEP_MS))
            room = self.num_steps - first
            self.signals.own[first : first + len(own)] = own[: max(0, room)]
            self.signals.bright[first : first + len(own)] = bright[: max(0, room)]
        if kind == "turn":
            away_x, away_y = avert_gaze([utterance], self.num_steps, self.rng)
            self.signals.away_x[:], self.signals.away_y[:] = away_x, away_y
            np.maximum(self.signals.asking, raise_brows([utterance], self.num_steps), out=self.signals.asking)
            self.turn, self.wants_floor, self.overlap_ms = utterance, False, 0
            self.patience_ms = self.writer.between_ms(600, 1200) if self.writer.chance(GIVES_WAY) else 0
        return utterance

    def _hold_up(self) -> None:
        about = grammar.thing(self.rng)
        self.thing, self.shown_ms, self.answered = (about.name, about.colour), self.now_ms, False
        first = self.now_ms // STEP_MS
        way = np.clip(np.arange(self.num_steps - first) * STEP_MS / RISE_MS, 0, 1)
        self.signals.held_up[first:] = way**2 * (3 - 2 * way)

    def _put_down(self) -> None:
        first = self.now_ms // STEP_MS
        way = np.clip(1 - np.arange(self.num_steps - first) * STEP_MS / RISE_MS, 0, 1)
        self.signals.held_up[first:] = way**2 * (3 - 2 * way)
        self.stimuli.append(Stimulus("shown", self.shown_ms, self.now_ms + RISE_MS))
        self.next_ms = self.now_ms + self.writer.between_ms(500, 1500)
        self.lowered, self.thing = self.thing, None

    def _sound(self) -> NDArray[np.float32]:
        """Samples (T,) of the unit: voice and room, at `rate_hz`."""
        start, stop = (
            RATE_HZ * ms // 1000 for ms in (self.now_ms - FILTER_MS, self.now_ms + UNIT_MS + FILTER_MS)
        )  # whole samples at every rate that is a multiple of 50 Hz
        sound = np.zeros(stop - start)
        first, last = max(start, 0), min(stop, len(self.noise))
        sound[first - start : last - start] = self.noise[first:last]
        for utterance in self.dialogue.utterances[-6:]:
            for clip_ms, clip in utterance.clips:
                at = samples_of_ms(clip_ms)
                begin, end = max(at, start), min(at + len(clip.samples), stop)
                if begin < end:
                    sound[begin - start : end - start] += clip.samples[begin - at : end - at]
        resampled = resample_poly(sound, self.up, self.down, window=self.filter)
        skipped, length = self.rate_hz * FILTER_MS // 1000, self.rate_hz * UNIT_MS // 1000
        return np.clip(resampled[skipped : skipped + length], -1, 1).astype(np.float32)

    def _draw(self) -> NDArray[np.uint8]:
        """Frames (4, H, W, 3) of the unit."""
        first_ms = max(0, self.now_ms - MARGIN_MS)
        steps = slice(first_ms // STEP_MS, (self.now_ms + UNIT_MS + MARGIN_MS) // STEP_MS)
        frame_ms = self.now_ms + np.arange(FRAMES_PER_UNIT) * float(FRAME_MS)
        things = (self.thing or self.lowered,) * FRAMES_PER_UNIT
        motion = move(self.signals.at(steps), frame_ms, things, first_ms=first_ms)
        frames = [
            cv2.cvtColor(cv2.resize(frame, self.size, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2RGB)
            for frame in draw_frames(self.look, motion, *CAMERA)
        ]
        return np.stack(frames)


@contextmanager
def open_partners(
    count: int, *, seed: int, seconds: int, width: int, height: int, rate_hz: int
) -> Iterator[list[Partner]]:
    """`count` users, all different people; none of them appears in a sample with another seed."""
    speakers = people("test", count, np.random.default_rng([seed, 6]), set(), ("partner", 0.1, 0.2))
    with ExitStack() as stack:
        yield [
            Partner(
                stack.enter_context(Voice(seed=1 + place)), speaker, seed=[seed, 7, place], seconds=seconds,
                size=(width, height), rate_hz=rate_hz,
            )
            for place, speaker in enumerate(speakers)
        ]  # fmt: skip
