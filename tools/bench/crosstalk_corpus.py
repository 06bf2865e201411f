"""Clean voices of the sample -> sessions with crosstalk of known level, path and overlap, for `tools.bench crosstalk`.

A session is a dialogue of the script engine. Its two clean voices are mixed into two tracks as microphones would hear
them: the own voice, the other voice over its own path (level, delay, room), noise, and a gain. Because the clean parts
are known, so is how loud each voice is in each sample of the other's track.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from pipelines.conversation.cast import plan
from pipelines.conversation.dialogue import Dialogue, Utterance
from pipelines.conversation.loudness import with_loudness
from pipelines.conversation.record import rms, room_noise
from pipelines.conversation.room import room_response, through
from pipelines.conversation.script import write_dialogue
from pipelines.conversation.voice import RATE_HZ as SPOKEN_HZ
from pipelines.conversation.voice import Voice
from pipelines.signals.voice_activity import RATE_HZ, resample
from wanstreamer.clock import UNIT_MS, Span

FIRST_MS = 500  # before the first word
SPEECH_DB = -23.0  # RMS of a voice while it speaks, below full scale, before the gain
PEAK = 0.97


@dataclass(frozen=True, kw_only=True)
class Condition:
    """How two voices reach two microphones. Levels are relative to that voice in its own track."""

    a_in_b_db: float | None = None  # None: not at all
    b_in_a_db: float | None = None
    delay_ms: tuple[float, float] = (0.0, 0.0)  # of a in b, of b in a
    reverberation_s: float = 0.0  # time in which the room's echoes fall by 60 dB; 0: no room
    direct_db: float = 6.0  # direct sound of the other voice relative to all its echoes
    gain_db: tuple[float, float] = (0.0, 0.0)  # of the whole track
    noise_db: float = 35.0  # speech relative to the noise of each microphone
    hurried_ms: int = 0  # each turn begins this much earlier than the script says: more overlap
    same: str = ""  # one sound in both tracks: `copy`, `room` (two microphones far away), `half` (second half only)


@dataclass(frozen=True, kw_only=True)
class Mixed:
    """A session: what is in its tracks, and what they are made of."""

    name: str
    condition: Condition
    dialogue: Dialogue
    tracks: dict[str, np.ndarray]  # float32 (num_samples,) at 16 kHz
    own: dict[str, np.ndarray]  # of each track, the part that is the owner's voice
    leak: dict[str, np.ndarray]  # of each track, the part that is the other's voice
    speech_power: dict[str, float]  # mean square of each voice in its own track while it speaks


def dialogues(seed: int, num_sessions: int, seconds: int) -> list[Dialogue]:
    """Conversations of the script engine, with their voices; the same seed gives the same words."""
    made = []
    recordings = plan(
        num_sessions, seed=seed, seconds=seconds, salt="crosstalk", valid_fraction=0.1, test_fraction=0.2
    )[:num_sessions]
    for recording in recordings:
        rng = np.random.default_rng([seed, 3, recording.index])
        voices = {stream.participant: stream.speaker.voice for stream in recording.streams}
        with Voice(seed=1 + recording.index) as voice:
            dialogue = write_dialogue(voice, voices, rng, first_ms=FIRST_MS, duration_ms=seconds * 1000)
        made.append(with_loudness(dialogue, np.random.default_rng([seed, 5, recording.index])))
    return made


def varied(condition: Condition, seed: Sequence[int]) -> Condition:
    """The condition with other delays, room, gains, noise and overlap: those of the seed, at any level."""
    rng = np.random.default_rng(seed)
    delay_ms = rng.uniform(0, 30, 2)
    return replace(
        condition, delay_ms=(float(delay_ms[0]), float(delay_ms[1])),
        reverberation_s=float(rng.choice([0.0, 0.2, 0.3, 0.5])), direct_db=float(rng.uniform(3, 10)),
        gain_db=(float(rng.uniform(-6, 3)), float(rng.uniform(-6, 3))), noise_db=float(rng.uniform(15, 40)),
        hurried_ms=int(rng.choice([0, 0, 800, 1600])),
    )  # fmt: skip


def hurried(dialogue: Dialogue, by_ms: int) -> Dialogue:
    """The dialogue with more overlap: every utterance of b begins up to `by_ms` earlier. Its transitions are void."""
    if not by_ms:
        return dialogue

    def moved(utterance: Utterance) -> Utterance:
        if utterance.participant == "a":
            return utterance
        clips = tuple((max(0, start_ms - by_ms), clip) for start_ms, clip in utterance.clips)
        return replace(utterance, clips=clips)

    return replace(dialogue, utterances=[moved(each) for each in dialogue.utterances], transitions=[])


def mix(name: str, dialogue: Dialogue, condition: Condition, seed: Sequence[int]) -> Mixed:
    """The tracks of a dialogue under one condition; lengths are whole units."""
    rng = np.random.default_rng(seed)
    dialogue = hurried(dialogue, condition.hurried_ms)
    num_samples = dialogue.duration_ms // UNIT_MS * UNIT_MS * RATE_HZ // 1000
    voices = {who: _levelled(dialogue, who, num_samples) for who in "ab"}
    gains = dict(zip("ab", (10 ** (db / 20) for db in condition.gain_db), strict=True))
    own, leak, tracks, power = {}, {}, {}, {}
    paths = {"a": (condition.b_in_a_db, condition.delay_ms[1]), "b": (condition.a_in_b_db, condition.delay_ms[0])}
    for track, other in (("a", "b"), ("b", "a")):
        voice = voices[track]
        if condition.reverberation_s:  # the owner is near: few echoes
            voice = through(voice, room_response(condition.reverberation_s, condition.direct_db + 10, RATE_HZ, rng))
        level_db, delay_ms = paths[track]
        heard = np.zeros(num_samples)
        if level_db is not None:
            heard = _delayed(voices[other], delay_ms)
            if condition.reverberation_s:
                heard = through(heard, room_response(condition.reverberation_s, condition.direct_db, RATE_HZ, rng))
        own[track], leak[track] = voice, heard
    if condition.same:
        own, leak = _one_sound(voices, condition, rng)
    for track, other in (("a", "b"), ("b", "a")):
        level_db = paths[track][0]
        if level_db is not None and not condition.same:
            # The level is that of the speech as it arrives, echoes included, after the gains of both tracks.
            level = 10 ** (level_db / 20) * gains[other] / gains[track]
            leak[track] *= level * rms(own[other]) / max(rms(leak[track]), 1e-9)
    peak = max(float(np.abs(gains[who] * (own[who] + leak[who])).max()) for who in "ab")
    scale = min(1.0, PEAK / peak)
    noise = room_noise(num_samples, rng) if condition.same == "copy" else None
    for who in "ab":
        hiss = room_noise(num_samples, rng) if noise is None else noise
        hiss = hiss * 10 ** ((SPEECH_DB - condition.noise_db) / 20)
        own[who], leak[who] = (scale * gains[who] * part for part in (own[who], leak[who]))
        tracks[who] = (own[who] + leak[who] + scale * gains[who] * hiss).astype(np.float32)
        power[who] = speech_power(own[who], dialogue.speech(who))
    return Mixed(
        name=name, condition=condition, dialogue=dialogue, tracks=tracks, own=own, leak=leak, speech_power=power
    )


def speech_power(voice_T: np.ndarray, speech: Sequence[Span]) -> float:
    parts = [voice_T[span.start_ms * RATE_HZ // 1000 : span.end_ms * RATE_HZ // 1000] for span in speech]
    return float(np.mean(np.concatenate(parts) ** 2)) if parts else 0.0


def _levelled(dialogue: Dialogue, who: str, num_samples: int) -> np.ndarray:
    samples = resample(dialogue.samples(who), SPOKEN_HZ).astype(np.float64)
    samples = np.pad(samples, (0, max(0, num_samples - len(samples))))[:num_samples]
    power = speech_power(samples, dialogue.speech(who))
    return samples * 10 ** (SPEECH_DB / 20) / max(power, 1e-12) ** 0.5


def _one_sound(
    voices: dict[str, np.ndarray], condition: Condition, rng: np.random.Generator
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """(own, leak) of tracks that both hold both voices."""
    if condition.same == "room":
        response = partial(room_response, condition.reverberation_s, condition.direct_db, RATE_HZ, rng)
        far = [
            {who: through(_delayed(voices[who], delay), response()) for who, delay in zip("ab", delays, strict=True)}
            for delays in ((0.0, condition.delay_ms[1]), (condition.delay_ms[0], 0.0))
        ]  # fmt: skip
        return {"a": far[0]["a"], "b": far[1]["b"]}, {"a": far[0]["b"], "b": far[1]["a"]}
    if condition.same == "half":
        late = {who: voice.copy() for who, voice in voices.items()}
        for voice in late.values():
            voice[: len(voice) // 2] = 0
        return dict(voices), {"a": late["b"], "b": late["a"]}
    late = {who: _delayed(voices[who], condition.delay_ms[0]) for who in "ab"}
    return {"a": voices["a"], "b": late["b"]}, {"a": voices["b"], "b": late["a"]}


def _delayed(voice_T: np.ndarray, delay_ms: float) -> np.ndarray:
    delay = round(delay_ms * RATE_HZ / 1000)
    return np.pad(voice_T, (delay, 0))[: len(voice_T)]
