"""Parameters of the quality stage, with their bounds."""

import importlib.util
from dataclasses import dataclass

from wanstreamer.bounds import BadValue, bounded, check_bounds, from_zero, share
from wanstreamer.errors import InputError

PERCEIVED = ("dnsmos_sig", "dnsmos_bak", "dnsmos_ovrl", "dnsmos_p808", "aecmos_echo")


@dataclass(frozen=True, kw_only=True)
class QualityParams:
    """When a track is too poor. Defaults are generous, as it depends on the purpose. No measurement depends on them."""

    max_clipped_share: float = share(0.01)  # of samples at full scale
    # Speech at a far microphone is about -45; not applied to a track without any sound.
    min_loudness_lufs: float = bounded(-60.0, at_least=-120, at_most=20)
    # Integrated loudness of the whole track, by EBU R128.
    max_loudness_lufs: float = bounded(0.0, at_least=-120, at_most=20)
    max_silent_share: float = share(1.0)  # 1: no limit, because a listener may say nothing
    # Of 20 ms without any signal. A muted track has 1, and a person who spoke for 3 s of 10 minutes at a gate less.
    max_zero_share: float = share(0.995)
    max_black_share: float = share(0.5)  # of frames in which every pixel is dark
    max_frozen_share: float = share(0.9)  # above this: a photograph, shown while the camera was off
    min_face_share: float = share(0.1)  # 0: no limit, for people seen from the side or from far away
    # Changes of shot per minute, over at least a minute; a track should have none. Edited interviews have 6 to 15.
    max_cuts_per_min: float = from_zero(4.0)
    max_same_picture_share: float = share(0.5)  # of the time in which another track of the session shows the same
    max_av_offset_ms: int = from_zero(160)  # one unit; smaller offsets are within one unit of the model
    min_av_confidence: float = share(0.4)  # below this the offset is unreliable, and no track is rejected for it
    # Opinion scores from 1 to 5, with the extra `mos`: of the voice, the background, the whole (twice); 0: no limit.
    min_dnsmos_sig: float = bounded(0.0, at_least=0, at_most=5)
    # Of the background.
    min_dnsmos_bak: float = bounded(0.0, at_least=0, at_most=5)
    # Of the whole.
    min_dnsmos_ovrl: float = bounded(0.0, at_least=0, at_most=5)
    # Of the whole, by the other network.
    min_dnsmos_p808: float = bounded(0.0, at_least=0, at_most=5)
    min_aecmos_echo: float = bounded(0.0, at_least=0, at_most=5)  # of the echo of another person; 5: none
    find_duplicates: bool = True  # of sessions with the same recording, keep only the best

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.min_loudness_lufs > self.max_loudness_lufs:
            raise BadValue(
                "min_loudness_lufs",
                self.min_loudness_lufs,
                f"at most max_loudness_lufs, {self.max_loudness_lufs}",
                "max_loudness_lufs",
            )

    def check(self) -> None:
        """Raises InputError for a limit of a score that nothing here can measure."""
        for name in PERCEIVED:
            least = getattr(self, f"min_{name}")
            if least and any(importlib.util.find_spec(package) is None for package in ("speechmos", "onnxruntime")):
                raise InputError(
                    f"quality.min_{name}: {least:g}; expected 0 without the package speechmos, which measures it; "
                    "install it with `make extras EXTRAS=mos`"
                )
