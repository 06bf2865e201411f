"""Does the model hear that a turn has ended? Its chance of beginning in the first silences after the user has spoken.

Teacher-forced, as all of `evaluate`: in a true conversation it is known what came of a silence. It was a turn's end
where the agent then spoke, a pause where the user went on; an agent has to hear which before either happens. The area
under the curve is the share of (end, pause) pairs in which the model rather begins after the end: 0.5 is deaf.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from pipelines.formats.tokenizer import BLANK_ID
from wanstreamer.bootstrap import rounded
from wanstreamer.windows.loader import Batch
from wanstreamer.windows.manifest import LABELS

SPEECH_UNITS = 6  # before a silence, of which the user sounds in all but one: a backchannel is shorter
QUIET_UNITS = 4  # before a silence, in which the agent neither sounds nor has words
DECIDED_UNITS = 7  # from its first unit; a silence in which nobody has spoken by then counts as neither
SHOWN_UNITS = 3


@dataclass(frozen=True, kw_only=True)
class Silence:
    """After a stretch of the user's speech."""

    window: int  # in its batch
    unit: int  # the first one without the user's sound
    num_units: int  # in which nothing had happened before: up to the agent's first words, or the user's next sound
    ended: bool


def find_silences(batch: Batch) -> list[Silence]:
    """All of a batch whose outcome its windows still show; the agent's backchannels are none."""
    agent_ms, user_ms, backchannel = (batch.labels_BKL[..., LABELS.index(name)].numpy() for name in LABELS[:3])
    said_BK = ((batch.agent_text_BKS != BLANK_ID).any(-1) & batch.agent_text_known_BK).numpy() | (agent_ms > 0)
    known_BK = (batch.agent_text_known_BK & batch.user_audio_known_BK).numpy()
    found = []
    for window, (said, user, known) in enumerate(zip(said_BK, user_ms > 0, known_BK, strict=True)):
        starts = np.flatnonzero(user[:-1] & ~user[1:]) + 1
        for unit in starts[starts >= SPEECH_UNITS]:
            spoken = user[unit - SPEECH_UNITS : unit].sum() >= SPEECH_UNITS - 1
            if not spoken or said[unit - QUIET_UNITS : unit].any():
                continue
            ahead = slice(unit, unit + DECIDED_UNITS)
            happens = np.flatnonzero(said[ahead] | user[ahead])
            if not len(happens) or not known[unit - SPEECH_UNITS : unit + happens[0] + 1].all():
                continue
            place = unit + happens[0]
            ended = bool(said[place])
            if ended and backchannel[window, place : place + QUIET_UNITS].any():
                continue
            length = int(happens[0]) + ended
            found.append(Silence(window=window, unit=int(unit), num_units=length, ended=ended))
    return found


def chance_to_begin(logits_BKSV: Tensor) -> np.ndarray:
    """Probability (B, K) that the agent's first text slot of a unit holds anything."""
    return (1 - logits_BKSV[:, :, 0].softmax(-1)[..., BLANK_ID]).double().numpy()


def summarize_turn_ends(found: Sequence[tuple[Sequence[Silence], Mapping[str, np.ndarray]]]) -> dict[str, object]:
    """Figures by unit of silence.

    Args:
        found: Of each batch its silences, and by predictor the chance (B, K) to begin.

    Returns:
        How many silences there were, and for `unit_0`, the first, and those after it: the share of people who begin
        there after a turn's end, and by predictor its mean chance after ends and in pauses, and the area.
    """
    silences = [one for some, _ in found for one in some]
    ends = sum(one.ended for one in silences)
    figures: dict[str, object] = {"ends": ends, "pauses": len(silences) - ends}
    for ahead in range(SHOWN_UNITS):
        lasting = [(one, chances) for some, chances in found for one in some if one.num_units > ahead]
        ended = np.array([one.ended for one, _ in lasting], dtype=bool)
        began = np.array([one.ended and one.num_units == ahead + 1 for one, _ in lasting], dtype=float)
        of_unit: dict[str, object] = {"people_after_ends": _mean(began[ended])}
        for who in found[0][1] if found else ():
            chance = np.array([chances[who][one.window, one.unit + ahead] for one, chances in lasting])
            after, amid = chance[ended], chance[~ended]
            of_unit[who] = {"after_ends": _mean(after), "in_pauses": _mean(amid), "area": area_under(after, amid)}
        figures[f"unit_{ahead}"] = of_unit
    return figures


def area_under(higher: np.ndarray, lower: np.ndarray) -> float | None:
    """Share of pairs in which the first value is above the second, ties half; None without pairs."""
    above = np.sign(np.subtract.outer(higher, lower))
    return rounded((1 + above.mean()) / 2) if above.size else None


def _mean(values: np.ndarray) -> float | None:
    return rounded(values.mean()) if len(values) else None
