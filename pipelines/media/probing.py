"""Source files -> their contents: which streams are used, and how their pictures are encoded (clocks: timelines.py).

Sources are read with PyAV (the ffmpeg of imageio-ffmpeg has no ffprobe). Only the first frame is decoded. Of the
streams of a kind, the one named in the manifest is used. If it names none, only streams that can be decoded and are not
a cover picture count: the first in the row's language is used, or else the first flagged as default, or else the first.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

import av

from pipelines.engine.jobs import Rejected
from pipelines.media.claims import ENDS_ARE_STATED, Claims, read_claims
from pipelines.media.ffmpeg import Picture, Source, address, why_unreadable
from pipelines.media.languages import same_language

# Formats of files that name other files or addresses. No recording has one, and opening it could read foreign files.
PLAYLISTS = frozenset({"hls", "concat", "dash", "sdp", "rtsp", "imf", "webm_dash_manifest", "vapoursynth", "image2"})
GUESSED_BYTES = 4_000_000  # read from a file whose header states no length, to guess the length from the bit rate
FIRST_PACKETS = 1000  # of a video stream, in which a frame is looked for: the first ones may be damaged
_MATRICES = {1: "bt709", 4: "fcc", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020"}  # ITU-T H.273, table 4
_CURVES = {16: "pq", 18: "hlg"}  # H.273, table 3
_WIDE = 9  # BT.2020 primaries: H.273, table 2


@dataclass(frozen=True, kw_only=True)
class Probe:
    """The contents of a source file."""

    source: Source
    claims: Claims  # what the header states about the length
    width: int  # pixels as displayed, after rotation and pixel aspect; 0 without video
    height: int
    channels: int  # of the chosen audio stream; 0 without audio

    @property
    def duration_ms(self) -> int:
        """According to the container; 0 if it is only a guess."""
        return max(self.claims.video_ms, self.claims.audio_ms, self.claims.file_ms)

    @property
    def has_video(self) -> bool:
        return self.source.video is not None

    @property
    def has_audio(self) -> bool:
        return self.source.audio is not None


@dataclass(frozen=True, kw_only=True)
class Header:
    """What the header of a source file states; nothing is decoded. Times are 0 for a stream that is not there."""

    video_ms: int
    audio_ms: int
    num_bytes: int
    video_bytes: int  # of the video stream; of the whole file where the header states no bit rate; 0 without video
    guessed: bool  # the lengths are not stated; they are guessed from the size of the file
    video_codec: str  # ffmpeg's name; "h264-baseline" for what decodes faster than the rest of H.264; empty: no video
    width: int  # pixels as encoded; 0 without video
    height: int
    frames_per_s: float
    channels: int  # of the chosen audio stream; 0 without audio

    @property
    def length_ms(self) -> int:
        """Until the first of the chosen streams ends."""
        return min((length for length in (self.video_ms, self.audio_ms) if length), default=0)


def open_source(path: Path, content: "IO[bytes] | None" = None) -> "av.container.InputContainer":
    """Open a source so that no other file and no network can be reached. `content`: of a file in an object store."""
    container = av.open(content or address(path), "r", options={"protocol_whitelist": "file"})
    if PLAYLISTS & set(container.format.name.split(",")):
        container.close()
        raise Rejected(
            "playlist", f"{path.name}: the format {container.format.name} names other files; name the recording itself"
        )
    return container


def check_file(path: Path) -> None:
    """Raises Rejected `missing_file`, or `not_a_file` for a folder, or a FIFO or device that could block for ever."""
    try:
        exists = path.exists()
    except OSError as error:  # for example, the name is too long
        raise Rejected("missing_file", f"{path}: {error.strerror}") from error
    if not exists:
        raise Rejected("missing_file", str(path))
    if not path.is_file():
        raise Rejected("not_a_file", f"{path}: a folder, FIFO or device; name a recording")


def probe(
    path: Path, *, language: str | None = None, video_stream: int | None = None, audio_stream: int | None = None
) -> Probe:
    """Look into a source file. Raises Rejected `unreadable`, `playlist`, `no_such_stream`, or as `check_file`.

    `video_stream` and `audio_stream` count the streams of their kind from 0, as ffmpeg's `v:0` and `a:0` do.
    """
    check_file(path)
    try:
        with open_source(path) as container:
            video = _chosen(container.streams.video, "video_stream", video_stream, None)
            audio = _chosen(container.streams.audio, "audio_stream", audio_stream, language)
            start_s = (container.start_time or 0) / av.time_base
            claims = read_claims(path, container, video, audio, start_s)
            frame = _first_frame(container, video) if video is not None else None
            width, height = _displayed_size(video, frame) if video is not None else (0, 0)
            return Probe(
                source=Source(
                    path=path,
                    video=video.index if video is not None else None,
                    audio=audio.index if audio is not None else None,
                    start_s=start_s,
                    picture=_picture(video.codec_context) if video is not None else None,
                    audio_weights=_weights(audio) if audio is not None else (),
                ),
                claims=claims,
                width=width,
                height=height,
                channels=audio.codec_context.channels if audio is not None else 0,
            )
    except (av.error.FFmpegError, ValueError) as error:
        num_bytes = path.stat().st_size
        raise Rejected("unreadable", f"{path.name}: {why_unreadable(path)}, {num_bytes} bytes") from error


def read_header(
    path: Path, *, language: str | None = None, video_stream: int | None = None, audio_stream: int | None = None
) -> Header:
    """Read the header of a file, also of one in an object store. Choices and exceptions are those of `probe`."""
    remote = not isinstance(path, type(Path()))
    if not remote:
        check_file(path)
    elif not path.is_file():
        raise Rejected("missing_file", str(path))
    num_bytes = path.stat().st_size
    try:
        with path.open("rb") if remote else nullcontext() as content, open_source(path, content) as container:
            video = _chosen(container.streams.video, "video_stream", video_stream, None)
            audio = _chosen(container.streams.audio, "audio_stream", audio_stream, language)
            chosen = [stream for stream in (video, audio) if stream is not None]
            whole_ms = 1000 * (container.duration or 0) / av.time_base
            if ENDS_ARE_STATED & set(container.format.name.split(",")):
                whole_ms = max(0.0, whole_ms - 1000 * (container.start_time or 0) / av.time_base)
            lengths_ms = {
                stream.index: float(1000 * stream.duration * stream.time_base)
                if stream.duration and stream.time_base
                else whole_ms
                for stream in chosen
            }
            guessed = not all(lengths_ms.values())
            if guessed:
                lengths_ms = dict.fromkeys(lengths_ms, _guess_ms(container, chosen, num_bytes))
            return Header(
                video_ms=round(lengths_ms[video.index]) if video is not None else 0,
                audio_ms=round(lengths_ms[audio.index]) if audio is not None else 0,
                num_bytes=num_bytes,
                video_bytes=_video_bytes(video, lengths_ms[video.index], num_bytes) if video is not None else 0,
                guessed=guessed,
                video_codec=_codec_of(video) if video is not None else "",
                width=video.codec_context.width if video is not None else 0,
                height=video.codec_context.height if video is not None else 0,
                frames_per_s=float(video.average_rate or video.guessed_rate or 0) if video is not None else 0.0,
                channels=audio.codec_context.channels if audio is not None else 0,
            )
    except (av.error.FFmpegError, ValueError) as error:
        raise Rejected("unreadable", f"{path.name}: {type(error).__name__}, {num_bytes} bytes") from error


def _video_bytes(video: Any, length_ms: float, num_bytes: int) -> int:
    """Bytes of a video stream."""
    return min(num_bytes, round(video.bit_rate * length_ms / 8000)) if video.bit_rate else num_bytes


def _codec_of(video: Any) -> str:
    name: str = video.codec_context.name
    return "h264-baseline" if name == "h264" and "Baseline" in (video.codec_context.profile or "") else name


def _guess_ms(container: "av.container.InputContainer", streams: Sequence[Any], num_bytes: int) -> float:
    """The length that a file of this size has if all of it has the bit rate of its beginning."""
    read, times_ms = 0, [0.0]
    for packet in container.demux(streams) if streams else ():
        read += packet.size
        if packet.pts is not None and packet.time_base:
            times_ms.append(1000 * float(packet.pts * packet.time_base))
        if read > GUESSED_BYTES:
            return max(times_ms) * num_bytes / read
    return max(times_ms)


def _chosen(streams, column: str, wanted: int | None, language: str | None):  # type: ignore[no-untyped-def]  # of PyAV
    """One stream of a kind, or None if none can be used."""
    if wanted is not None:
        if wanted >= len(streams):
            raise Rejected("no_such_stream", f"{column} {wanted} of {len(streams)}")
        return streams[wanted]
    # A stream with an unknown codec cannot be used; a cover picture is not a video.
    usable = [stream for stream in streams if stream.codec_context and not _is_cover(stream)]

    def rank(stream) -> tuple[bool, bool]:  # type: ignore[no-untyped-def]
        default = bool(stream.disposition & av.stream.Disposition.default)
        return not same_language(language, stream.metadata.get("language")), not default

    return min(usable, key=rank, default=None)


def _is_cover(stream) -> bool:  # type: ignore[no-untyped-def]
    covers = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
    return bool(stream.disposition & covers)


def _first_frame(container: "av.container.InputContainer", video: Any) -> "av.VideoFrame | None":
    """The first frame that can be decoded."""
    for packet in islice(container.demux(video), FIRST_PACKETS):
        try:
            for frame in packet.decode():
                return frame
        except av.error.FFmpegError:
            continue
    return None


def _displayed_size(video: "av.VideoStream", frame: "av.VideoFrame | None") -> tuple[int, int]:
    width, height, aspect = video.codec_context.width, video.codec_context.height, float(video.sample_aspect_ratio or 1)
    if (getattr(frame, "rotation", 0) or 0) % 180:  # rotated first, then stretched, as ffmpeg does
        width, height, aspect = height, width, 1 / aspect
    return round(width * aspect), height


def _picture(codec: "av.VideoCodecContext") -> Picture:
    """How the picture is encoded, once a frame was decoded. What the stream does not state is guessed as players do."""
    high_definition = codec.width >= 1280 or codec.height > 576
    return Picture(
        matrix=_MATRICES.get(int(codec.colorspace), "bt709" if high_definition else "bt601"),
        curve=_CURVES.get(int(codec.color_trc), "sdr"),
        wide_gamut=int(codec.color_primaries) == _WIDE,
        is_rgb=codec.format is not None and codec.format.is_rgb,
    )


def _weights(audio: "av.AudioStream") -> tuple[float, ...]:
    """Weight of each channel in the mono audio. Their sum is 1: nothing clips; a voice on all channels keeps its level.

    One or two channels, and channels without names, have equal weights. In surround sound, relative to the centre, the
    side and rear channels count 0.5, left and right 0.71, and the bass channel 0: the mix-down of broadcasters (ITU-R
    BS.775) and of ffmpeg.
    """
    count = audio.codec_context.channels
    names = [channel.name for channel in audio.codec_context.layout.channels]
    if count > 2 and {"FC", "FL", "FR"} <= set(names):
        shares = [{"FC": 1.0, "FL": 0.5**0.5, "FR": 0.5**0.5, "LFE": 0.0, "LFE2": 0.0}.get(name, 0.5) for name in names]
    else:
        shares = [1.0] * count
    return tuple(share / sum(shares) for share in shares)
