"""A dialogue -> the same dialogue, each sample as loud as people are when they hear each other.

- Every utterance has its own level, which leans towards the other's last one: speakers adapt their intensity to each
  other at turn changes (Levitan & Hirschberg 2011, Interspeech, "Measuring acoustic-prosodic entrainment").
- A speaker who keeps or claims the floor while the other speaks raises the voice, a moment after the overlap begins
  (French & Local 1983, Journal of Pragmatics 7; Kurtic, Brown & Wells 2013, Computer Speech and Language 27).
  Backchannels claim nothing and are not raised; a hesitant speaker is softer than usual.

The amounts are our choice. Times do not change.
"""

from dataclasses import replace

import numpy as np

from pipelines.conversation.dialogue import Dialogue, Utterance, other
from pipelines.conversation.phrases import Clip
from pipelines.conversation.voice import RATE_HZ
from wanstreamer.clock import Span

LEVEL_SD_DB = 2.5
LEVEL_LIMIT_DB = 5.0
ENTRAINMENT = 0.75  # share of the other's last level that a speaker adopts
OVERLAP_DB = 6.0
HESITANT_DB = -4.0
REACTION_MS = 120  # delay until the voice follows
RISE_MS = 80


def with_loudness(dialogue: Dialogue, rng: np.random.Generator) -> Dialogue:
    """The dialogue with the samples of every clip scaled; spans, words and events do not change."""
    levels_db = {"a": 0.0, "b": 0.0}
    shaped = []
    for utterance in sorted(dialogue.utterances, key=lambda u: (u.start_ms, u.participant)):
        speaker = utterance.participant
        own_db = np.sqrt(1 - ENTRAINMENT**2) * LEVEL_SD_DB * rng.standard_normal()
        levels_db[speaker] = float(
            np.clip(ENTRAINMENT * levels_db[other(speaker)] + own_db, -LEVEL_LIMIT_DB, LEVEL_LIMIT_DB)
        )
        claims = utterance.kind != "backchannel" and not utterance.hesitant
        level_db = levels_db[speaker] + (HESITANT_DB if utterance.hesitant else 0.0)
        shaped.append(_scaled(utterance, level_db, dialogue.speech(other(speaker)) if claims else []))
    return replace(dialogue, utterances=shaped)


def _scaled(utterance: Utterance, level_db: float, against: list[Span]) -> Utterance:
    clips = tuple(
        (start_ms, replace(clip, samples=clip.samples * gain(clip, start_ms, level_db, against)))
        for start_ms, clip in utterance.clips
    )
    return replace(utterance, clips=clips)


def gain(clip: Clip, start_ms: int, level_db: float, against: list[Span]) -> np.ndarray:
    """Factor per sample, (T,) float32: the utterance's level, raised while the other speaks."""
    time_ms = start_ms + np.arange(len(clip.samples)) * 1000 / RATE_HZ
    raised = np.zeros(len(clip.samples))
    for span in against:
        rise = np.clip((time_ms - span.start_ms - REACTION_MS) / RISE_MS, 0, 1)
        fall = np.clip((span.end_ms + REACTION_MS - time_ms) / RISE_MS, 0, 1)
        raised = np.maximum(raised, np.minimum(rise, fall))
    return (10 ** ((level_db + OVERLAP_DB * raised) / 20)).astype(np.float32)
