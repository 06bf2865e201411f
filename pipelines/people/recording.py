"""The file or files of a recording -> its sound, and its pictures, on one clock."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines.engine.jobs import Rejected
from pipelines.media.cancelling import decode_mixed
from pipelines.media.ffmpeg import Source
from pipelines.media.probing import probe
from pipelines.media.timelines import timeline
from pipelines.signals.voice_activity import RATE_HZ
from pipelines.sources.row import SourceRow
from wanstreamer.clock import FRAME_MS


@dataclass(frozen=True, kw_only=True)
class Recording:
    """Sound with the pictures that belong to it."""

    audio_T: np.ndarray  # float32 (num_samples,) at 16 kHz, all channels mixed, on the clock of its file
    duration_ms: int
    pictures: Source | None
    size: tuple[int, int]  # width and height of the displayed picture
    picture_end_ms: int  # on the clock of the file with the picture
    sound_start_ms: int  # start of the sound on that clock

    @property
    def num_frames(self) -> int:
        """Pictures at 25 a second."""
        return self.picture_end_ms // FRAME_MS

    def on_picture_clock(self) -> np.ndarray:
        """The sound from the first picture on."""
        shift = abs(self.sound_start_ms) * RATE_HZ // 1000
        return self.audio_T[shift:] if self.sound_start_ms < 0 else np.pad(self.audio_T, (shift, 0))


def open_recording(root: Path, row: SourceRow, scratch: Path) -> Recording:
    """The recording of a row that names no participant; its sound is decoded.

    Raises Rejected for files that cannot be read, and `no_audio` without sound.
    """
    first = probe(
        root / row.uri,
        language=row.language,
        video_stream=row.video_stream,
        audio_stream=None if row.audio_uri else row.audio_stream,
    )
    own = probe(root / row.audio_uri, language=row.language, audio_stream=row.audio_stream) if row.audio_uri else first
    if not own.has_audio:
        raise Rejected("no_audio", f"{own.source.path.name}: no sound, so it cannot be known who speaks")
    picture = timeline(first.source, scratch) if first.has_video else None
    sound = picture if picture and own is first else timeline(own.source, scratch)
    if sound.audio_end_ms is None:
        raise Rejected("no_audio", f"{own.source.path.name}: its sound has no packets")
    audio_T = decode_mixed(sound.source, RATE_HZ, scratch).samples_T
    end_ms = picture.video_end_ms if picture else None
    return Recording(
        audio_T=audio_T,
        duration_ms=len(audio_T) * 1000 // RATE_HZ,
        pictures=picture.source if picture and end_ms else None,
        size=(first.width, first.height),
        picture_end_ms=end_ms or 0,
        sound_start_ms=(row.start_offset_ms if row.audio_offset_ms is None else row.audio_offset_ms)
        - row.start_offset_ms,
    )
