"""Parameters of how voices are found, with their bounds. Imports no numpy: checking a parameter file is fast."""

from dataclasses import dataclass, field

from pipelines.signals.params import VoiceParams
from wanstreamer.bounds import bounded, check_bounds, from_zero, share


@dataclass(frozen=True, kw_only=True)
class VoicesParams:
    """How speech is found in a recording of several people, and divided among their voices."""

    most: int = bounded(6, at_least=2, at_most=20)  # voices that are distinguished at most
    min_speech_ms: int = from_zero(1000)  # a recording with less speech is rejected as no_speech
    overlap: bool = True  # look for speech of both at once
    min_overlap_ms: int = from_zero(250)  # shorter overlaps cannot be recognised
    min_certainty: float = share(0.6)  # of which voice speaks; with less, speech is marked as uncertain
    activity: VoiceParams = field(default_factory=VoiceParams)

    def __post_init__(self) -> None:
        check_bounds(self)
