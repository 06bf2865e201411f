"""Settings of an agent, with their bounds. No torch here, so that checking a parameter file is fast."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wanstreamer.bounds import BadValue, bounded, check_bounds, from_one, from_zero

if TYPE_CHECKING:
    from wanstreamer.model.sequence import HistoryLimit


@dataclass(frozen=True, kw_only=True)
class AgentConfig:
    """Settings of an agent; they are the same throughout a conversation."""

    # Solver steps; fewer are faster, but reduce the variance of the output. Pace and behaviour are measured with 4.
    steps: int = from_one(4)
    text_temperature: float = from_zero(
        0.85
    )  # temperature for the choice of a word, not for when to speak; 0: the most probable token
    # Text ids less probable than this are never chosen; see `thinker.sample_token`.
    text_epsilon: float = bounded(0.005, at_least=0, below=1)
    # Standard deviation of the noise from which video is generated; in training it is 1.
    video_temperature: float = from_zero(0.6)
    max_units: int = from_one(3750)  # limit of full history, ten minutes; its memory is reserved at the start
    # History limit: the conversation may last for ever in constant memory; then max_units is not used.
    history_units: int | None = from_one(None)
    sink_units: int = from_zero(0)  # first units that stay in the history in addition to history_units

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.sink_units and self.history_units is None:
            raise BadValue(
                "sink_units", self.sink_units, "0 without history_units, because all units stay", "history_units"
            )

    @property
    def history_limit(self) -> "HistoryLimit | None":
        from wanstreamer.model.sequence import HistoryLimit

        if self.history_units is None:
            return None
        return HistoryLimit(units=self.history_units, sink_units=self.sink_units)
