"""A scene and its dialogue -> the sound of its only microphone, and for comparison a clean track for each participant.

Voices differ in loudness, as people sit nearer or farther, and a voice from behind the camera is softer. Every voice
comes through the room, which echoes little or much.
"""

from collections.abc import Sequence

import numpy as np

from pipelines.conversation.dialogue import Dialogue
from pipelines.conversation.phrases import samples_of_ms
from pipelines.conversation.record import rms, room_noise, voice_gain
from pipelines.conversation.room import music, room_response, through
from pipelines.conversation.scenes import Scene
from pipelines.conversation.voice import RATE_HZ

MIX_PEAK = 0.9  # codecs overshoot
LEVEL_DB = (-25.0, -20.0)  # RMS of the voices while they speak, below full scale
NEARER_DB = (-2.5, 2.5)  # of one voice, compared with the others
OFF_SCREEN_DB = (-5.0, 0.0)
PASSING_DB = (-6.0, -1.0)  # a third who comes by
NOISE_DB = (15, 30, 40)  # speech over noise: least, most likely, most
MUSIC_DB = (-20.0, -12.0)  # compared with the voices
ROOM = {"usual": ((0.15, 0.3), (8.0, 14.0)), "echo": ((0.5, 0.8), (2.0, 6.0))}  # reverberation s, direct dB
CALLS = ("side_by_side", "gallery", "thumbnails", "ten")


def mixed_sound(scene: Scene, dialogue: Dialogue, unseen: Sequence[str]) -> np.ndarray:
    """The recording's sound, float32 (T,) at RATE_HZ. `unseen`: who speaks from behind the camera."""
    rng = scene.rng(2)
    length = samples_of_ms(scene.seconds * 1000)
    level_db = float(rng.uniform(*LEVEL_DB))
    (shortest_s, longest_s), direct_db = ROOM["echo" if scene.kind == "echo" else "usual"]
    reverberation_s = float(rng.uniform(shortest_s, longest_s))
    names = sorted({utterance.participant for utterance in dialogue.utterances})
    mix = np.zeros(length)
    for place, name in enumerate(names):
        own_db = level_db + float(rng.uniform(*NEARER_DB))
        if scene.kind == "two_words" and place == 2:
            own_db += float(rng.uniform(*PASSING_DB))
        elif name in unseen:
            own_db += float(rng.uniform(*OFF_SCREEN_DB))
        voice = _levelled(dialogue, name, own_db, length)
        if scene.kind in CALLS:  # everyone is in another room
            reverberation_s = float(rng.uniform(shortest_s, longest_s))
        response = room_response(reverberation_s, float(rng.uniform(*direct_db)), RATE_HZ, rng)
        mix += through(voice, response)
    loudness = 10 ** (level_db / 20)
    if scene.kind == "music":
        mix += music(length, rng) * loudness * 10 ** (float(rng.uniform(*MUSIC_DB)) / 20)
    mix += room_noise(length, rng) * loudness * 10 ** (-float(rng.triangular(*NOISE_DB)) / 20)
    return (mix * min(1.0, MIX_PEAK / float(np.abs(mix).max()))).astype(np.float32)


def separate_sounds(scene: Scene, dialogue: Dialogue) -> dict[str, np.ndarray]:
    """The same speech as from a microphone per person, without the others and the room: participants a and b."""
    rng = scene.rng(3)
    length = samples_of_ms(scene.seconds * 1000)
    level_db = float(rng.uniform(*LEVEL_DB))
    noise = 10 ** ((level_db - float(rng.triangular(*NOISE_DB))) / 20)
    return {
        name: (_levelled(dialogue, name, level_db, length) + noise * room_noise(length, rng)).astype(np.float32)
        for name in "ab"
    }


def _levelled(dialogue: Dialogue, name: str, level_db: float, length: int) -> np.ndarray:
    samples = dialogue.samples(name)[:length]
    speech = [samples[samples_of_ms(start_ms) : samples_of_ms(end_ms)] for start_ms, end_ms in dialogue.speech(name)]
    gain = voice_gain(samples, rms(np.concatenate(speech)), level_db)
    return np.pad(samples, (0, length - len(samples))).astype(np.float64) * gain
