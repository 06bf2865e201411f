"""How an agent is served, with bounds. No torch here: a parameter file is checked before it is loaded."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wanstreamer.bounds import BadValue, bounded, check_bounds, from_one, from_zero

if TYPE_CHECKING:
    from wanstreamer.model.sequence import HistoryLimit


@dataclass(frozen=True, kw_only=True)
class AgentConfig:
    """Settings of an agent; they are the same throughout a conversation."""

    # Of the solver; fewer are faster and shrink the variance of what is generated.
    # Pace and behaviour are measured with 4.
    steps: int = from_one(4)
    text_temperature: float = from_zero(0.85)  # of what is said, not of whether; 0 takes the likeliest token
    # Text ids less probable than this are never said: see `thinker.sample_token`.
    text_epsilon: float = bounded(0.005, at_least=0, below=1)
    # Deviation of the noise that pictures are made from; 1 is what training had.
    video_temperature: float = from_zero(0.6)
    max_units: int = from_one(3750)  # of full history: ten minutes; memory for it is reserved at the start
    # See `HistoryLimit`: a conversation without an end, in constant memory; max_units is void.
    history_units: int | None = from_one(None)
    sink_units: int = from_zero(0)  # first units that stay beyond history_units

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.sink_units and self.history_units is None:
            raise BadValue("sink_units", self.sink_units, "0 without history_units, as all units stay", "history_units")

    @property
    def history_limit(self) -> "HistoryLimit | None":
        from wanstreamer.model.sequence import HistoryLimit

        if self.history_units is None:
            return None
        return HistoryLimit(units=self.history_units, sink_units=self.sink_units)
