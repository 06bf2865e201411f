"""What the cost of a stage depends on, as numbers that can be added up over sessions."""

from dataclasses import asdict, dataclass, fields

from wanstreamer.clock import FRAME_RATE_HZ


@dataclass(frozen=True, kw_only=True)
class Amounts:
    """The work in some sessions. Sums over sessions are sums of these, so that a corpus needs only one."""

    sessions: float = 0
    audio_tracks: float = 0
    video_tracks: float = 0
    session_s: float = 0  # seconds of conversation
    audio_s: float = 0  # seconds of tracks with audio
    video_s: float = 0  # seconds of tracks with video
    spoken_s: float = 0  # seconds of tracks whose speech can be attributed
    # To decode, in megabytes and million pixels of H.264 that take as long. What two participants share counts twice.
    video_mb: float = 0
    source_mpx: float = 0
    stills: float = 0  # in which faces are looked for, before pictures are cut
    windows: float = 0

    def __add__(self, other: "Amounts") -> "Amounts":
        return Amounts(**{name: value + getattr(other, name) for name, value in asdict(self).items()})

    def scaled(self, factor: float) -> "Amounts":
        return Amounts(**{name: value * factor for name, value in asdict(self).items()})


def total(parts: "list[Amounts]") -> Amounts:
    """The sum, much faster than one addition after the other."""
    return Amounts(**{field.name: sum(getattr(part, field.name) for part in parts) for field in fields(Amounts)})


# The factors of each stage's cost. Every one of them has a slope: seconds per unit of the factor. `workers`: the first
# session of a worker takes longer, as it imports packages. With Ray it does not: a worker of Ray has imported them.
FACTORS: dict[str, tuple[str, ...]] = {
    "ingest": ("workers", "sessions", "tracks", "source_mpx", "stills", "video_mb", "track_mpx", "audio_s"),
    "quality": ("workers", "audio_tracks", "video_tracks", "audio_s", "video_s", "track_mpx"),
    "annotate": ("workers", "sessions", "spoken_s"),
    "encode": ("workers", "sessions", "audio_s", "video_s", "track_mpx"),
    "pack": ("workers", "sessions", "windows", "window_mb"),
}
# Of the size of a stage's tables, and of the work of its driver. `one`: of its start.
BULK_FACTORS = ("one", "sessions", "audio_s", "video_s")


def all_factors(amounts: Amounts, *, width: int, height: int, window_bytes: float) -> dict[str, float]:
    """Every factor, for tracks of this size and windows of this many bytes."""
    return asdict(amounts) | {
        "one": 1.0,
        "tracks": amounts.audio_tracks + amounts.video_tracks,
        "track_mpx": track_mpx(amounts.video_s, width, height),
        "window_mb": amounts.windows * window_bytes / 1e6,
    }


def track_mpx(video_s: float, width: int, height: int) -> float:
    """Million pixels of this many seconds of a track's video."""
    return video_s * FRAME_RATE_HZ * width * height / 1e6
