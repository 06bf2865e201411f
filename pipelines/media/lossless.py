"""16-bit samples -> FLAC, alone or together with the picture of one of our tracks, which is copied as it is.

Equal samples give equal bytes. Both are written piece by piece.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import av
import numpy as np

EXACT = {"fflags": "+bitexact"}  # no version of the library in the file


def write_flac(path: Path, pieces: Iterable[np.ndarray], rate_hz: int) -> None:
    """int16 pieces of mono sound -> a FLAC file."""
    with av.open(str(path), "w", format="flac", options=EXACT) as container:
        stream = _flac_stream(container, rate_hz)
        for packet in _packets(stream, pieces, rate_hz):
            container.mux(packet)


def write_film(path: Path, video: Path, pieces: Iterable[np.ndarray], rate_hz: int) -> None:
    """The picture of a track, copied, and int16 pieces of its sound as FLAC -> an MP4 file."""
    with av.open(str(video)) as source, av.open(str(path), "w", format="mp4", options=EXACT) as container:
        picture = container.add_stream_from_template(source.streams.video[0])
        sound = _flac_stream(container, rate_hz)
        packets = _packets(sound, pieces, rate_hz)
        packet = next(packets, None)
        for frame in source.demux(source.streams.video[0]):
            if frame.dts is None:  # the demuxer's end
                continue
            time_s = float(frame.dts * frame.time_base)
            while packet is not None and packet.pts is not None and float(packet.pts * packet.time_base) <= time_s:
                container.mux(packet)
                packet = next(packets, None)
            frame.stream = picture
            container.mux(frame)
        while packet is not None:
            container.mux(packet)
            packet = next(packets, None)


def _flac_stream(container: av.container.OutputContainer, rate_hz: int) -> av.AudioStream:
    stream: av.AudioStream = container.add_stream("flac", rate=rate_hz, options={"flags": "+bitexact"})
    stream.codec_context.layout = "mono"
    stream.codec_context.format = "s16"
    return stream


def _packets(stream: av.AudioStream, pieces: Iterable[np.ndarray], rate_hz: int) -> Iterator[av.Packet]:
    position = 0
    for piece_T in pieces:
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(piece_T[None, :]), format="s16", layout="mono")
        frame.sample_rate, frame.pts = rate_hz, position
        position += len(piece_T)
        yield from stream.encode(frame)
    yield from stream.encode(None)
