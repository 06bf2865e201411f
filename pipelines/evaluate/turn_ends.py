"""Does the model hear that a turn has ended? Its chance of beginning in the first silences after the user has spoken.

Teacher-forced, like all of `evaluate`: in a recorded conversation the outcome of a silence is known. It was a turn's
end if the agent spoke next, and a pause if the user went on; an agent has to hear which it is before either happens.
The area under the curve is the share of (end, pause) pairs in which the model's chance to begin is higher after the
end: 0.5 means that it hears no difference.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from pipelines.formats.tokenizer import BLANK_ID
from wanstreamer.bootstrap import rounded
from wanstreamer.windows.loader import Batch
from wanstreamer.windows.manifest import LABELS

SPEECH_UNITS = 6  # before a silence; the user speaks in all but one of them: a backchannel is shorter
QUIET_UNITS = 4  # before a silence; the agent neither speaks nor has words in them
DECIDED_UNITS = 7  # from its first unit; a silence in which no one has spoken by then counts as neither
SHOWN_UNITS = 3


@dataclass(frozen=True, kw_only=True)
class Silence:
    """A silence after a stretch of the user's speech."""

    window: int  # in its batch
    unit: int  # the first one without the user's speech
    num_units: int  # in which nothing had happened yet: up to the agent's first words, or the user's next speech
    ended: bool


def find_silences(batch: Batch) -> list[Silence]:
    """All silences of a batch whose outcome lies in the same window, except those that an agent's backchannel ends."""
    agent_ms, user_ms, backchannel = (batch.labels_BKL[..., LABELS.index(name)].numpy() for name in LABELS[:3])
    speaks_BK = ((batch.agent_text_BKS != BLANK_ID).any(-1) & batch.agent_text_known_BK).numpy() | (agent_ms > 0)
    known_BK = (batch.agent_text_known_BK & batch.user_audio_known_BK).numpy()
    silences = []
    for window, (speaks, user, known) in enumerate(zip(speaks_BK, user_ms > 0, known_BK, strict=True)):
        starts = np.flatnonzero(user[:-1] & ~user[1:]) + 1
        for unit in starts[starts >= SPEECH_UNITS]:
            spoken = user[unit - SPEECH_UNITS : unit].sum() >= SPEECH_UNITS - 1
            if not spoken or speaks[unit - QUIET_UNITS : unit].any():
                continue
            ahead = slice(unit, unit + DECIDED_UNITS)
            happens = np.flatnonzero(speaks[ahead] | user[ahead])
            if not len(happens) or not known[unit - SPEECH_UNITS : unit + happens[0] + 1].all():
                continue
            place = unit + happens[0]
            ended = bool(speaks[place])
            if ended and backchannel[window, place : place + QUIET_UNITS].any():
                continue
            length = int(happens[0]) + ended
            silences.append(Silence(window=window, unit=int(unit), num_units=length, ended=ended))
    return silences


def chance_to_begin(logits_BKSV: Tensor) -> np.ndarray:
    """Probability (B, K) that the agent's first text slot of a unit holds anything."""
    return (1 - logits_BKSV[:, :, 0].softmax(-1)[..., BLANK_ID]).double().numpy()


def summarize_turn_ends(batches: Sequence[tuple[Sequence[Silence], Mapping[str, np.ndarray]]]) -> dict[str, object]:
    """Figures by unit of silence.

    Args:
        batches: Per batch its silences, and by predictor the chance (B, K) to begin.

    Returns:
        How many silences there were; and for `unit_0`, the first, and those after it: the share of people who begin in
        it after a turn's end, and by predictor its mean chance after ends and in pauses, and the area under the curve.
    """
    silences = [silence for own, _ in batches for silence in own]
    ends = sum(silence.ended for silence in silences)
    figures: dict[str, object] = {"ends": ends, "pauses": len(silences) - ends}
    for ahead in range(SHOWN_UNITS):
        lasting = [(silence, chances) for own, chances in batches for silence in own if silence.num_units > ahead]
        ended = np.array([silence.ended for silence, _ in lasting], dtype=bool)
        began = np.array([silence.ended and silence.num_units == ahead + 1 for silence, _ in lasting], dtype=float)
        of_unit: dict[str, object] = {"people_after_ends": _mean(began[ended])}
        for who in batches[0][1] if batches else ():
            chance = np.array([chances[who][silence.window, silence.unit + ahead] for silence, chances in lasting])
            ends_chance, pauses_chance = chance[ended], chance[~ended]
            of_unit[who] = {
                "after_ends": _mean(ends_chance),
                "in_pauses": _mean(pauses_chance),
                "area": area_under(ends_chance, pauses_chance),
            }
        figures[f"unit_{ahead}"] = of_unit
    return figures


def area_under(higher: np.ndarray, lower: np.ndarray) -> float | None:
    """Share of pairs in which the first value is above the second, ties half; None without pairs."""
    above = np.sign(np.subtract.outer(higher, lower))
    return rounded((1 + above.mean()) / 2) if above.size else None


def _mean(values: np.ndarray) -> float | None:
    return rounded(values.mean()) if len(values) else None
