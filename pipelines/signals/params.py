"""Parameters of voice activity, with their bounds. Imports no numpy, so that checking a parameter file is fast."""

from dataclasses import dataclass
from typing import Literal

from wanstreamer.bounds import BadValue, check_bounds, from_zero, share


@dataclass(frozen=True, kw_only=True)
class DetectorParams:
    """Which speech detector is used."""

    speech: Literal["silero", "pyannote"] = "silero"
    speech_model: str = ""  # folder with a pyannote segmentation model, for `speech: pyannote`

    def __post_init__(self) -> None:
        check_bounds(self)


@dataclass(frozen=True, kw_only=True)
class VoiceParams:
    """Thresholds of voice activity and of the crosstalk guard."""

    # Speech probability at which an interval begins (silero: 0.5; a short "yeah" reaches less).
    vad_threshold: float = share(0.4)
    vad_off_threshold: float = share(0.25)  # speech probability below which it ends (0.15 lower, as in silero)
    vad_min_speech_ms: int = from_zero(60)  # shorter detections are clicks; a short "mm" is about 150
    vad_min_silence_ms: int = from_zero(60)  # shorter silences do not end an interval (IPUs join up to 200 anyway)
    edge_reach_ms: int = from_zero(160)  # an edge moves outwards by at most this (silero's delay at onset and end)
    edge_depth_ms: int = from_zero(160)  # an edge moves inwards by at most this
    edge_level: float = share(0.3)  # level of an edge between background (0) and speech (1), in dB
    # With a smaller difference of background and speech, the detector's edge is used.
    edge_min_rise_db: float = from_zero(6.0)
    crosstalk_min_ms: int = from_zero(60)  # another voice alone, for less than this, ends no speech
    # Speech next to bleed, up to this long and not louder, belongs to it (a detector ends late).
    crosstalk_tail_ms: int = from_zero(300)

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.vad_off_threshold > self.vad_threshold:
            raise BadValue(
                "vad_off_threshold",
                self.vad_off_threshold,
                f"at most vad_threshold, {self.vad_threshold}",
                "vad_threshold",
            )
