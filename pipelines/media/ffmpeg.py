"""Source files -> samples and tracks, with ffmpeg, for recordings with any clock and any colours."""

import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import ffmpeg
import numpy as np

from pipelines.engine.jobs import Rejected
from pipelines.media.framing import CENTRE, Framing
from pipelines.media.process import address, complaint, ffmpeg_path, running
from wanstreamer.clock import FRAME_RATE_HZ, FRAMES_PER_UNIT

GAP_S = (
    0.018  # sound further than this from its timestamp is moved to it; shorter than a packet of common codecs (20 ms)
)


SCALING = "area+accurate_rnd+full_chroma_int"
HALF_FRAME_US = (
    500_000 // FRAME_RATE_HZ
)  # a picture counts from half way after the one before, but no earlier than this
COUNTING = ("-v", "level+verbose", "-nostdin", "-nostats", "-hide_banner")  # ffmpeg counts what it could not decode

MAX_DAMAGED_SHARE = 0.2  # of the packets of sound; what is lost is silent
_COUNTS = re.compile(r"(\d+) packets read [^;]*; (\d+) frames decoded(?:; (\d+) decode errors)?")
_DECODERS = re.compile(r"\[dec:(\w+) @ ")

# BT.2408: the diffuse white of HDR is 203 cd/m2. It becomes 1. Values below 0.3 of it do not change; values above are
# compressed so that 1000 cd/m2 still fits.
HDR_WHITE_CD_M2 = 203
HDR_PEAK_CD_M2 = 1000
HDR_KEPT = 0.3


@dataclass(frozen=True, kw_only=True)
class Picture:
    """How the pixels of a source are encoded."""

    matrix: str  # of YUV, in the words of ffmpeg's scale filter
    curve: str  # sdr, pq or hlg
    wide_gamut: bool  # BT.2020 primaries
    is_rgb: bool


@dataclass(frozen=True, kw_only=True)
class Source:
    """A media file, and the streams that are used."""

    path: Path
    video: int | None  # index among all streams of the file
    audio: int | None
    start_s: float  # timestamp at the start of the file
    picture: Picture | None  # None without video
    audio_weights: tuple[float, ...]  # of each channel in the mono audio


def source_input(source: Source, seek_ms: int | None = None):  # type: ignore[no-untyped-def]  # of ffmpeg-python
    # One decoder thread: sessions run in parallel, and more threads per decoder cost more than they gain. Without
    # copyts, ffmpeg repairs timestamps one stream at a time, and would move the audio relative to the video.
    seek = {} if seek_ms is None else {"ss": seek_ms / 1000, "noaccurate_seek": None}
    return ffmpeg.input(address(source.path), protocol_whitelist="file,pipe", threads=1, copyts=None, **seek)


class DecodedAudio(NamedTuple):
    """Sound, and how much of it was lost."""

    samples_T: np.ndarray  # float32, mono
    num_packets: int  # that were decoded or could not be
    num_damaged: int  # that could not be decoded; silent
    complaint: str  # of ffmpeg about the first of these


def decode_audio(
    source: Source, rate_hz: int, channel: int | None, scratch: Path | None = None, *, end_ms: int | None = None
) -> np.ndarray:
    """The samples of `decode_with_damage`."""
    return decode_with_damage(source, rate_hz, channel, scratch, end_ms=end_ms).samples_T


def decode_with_damage(
    source: Source, rate_hz: int, channel: int | None, scratch: Path | None = None, *, end_ms: int | None = None
) -> DecodedAudio:
    """The chosen audio stream as mono float32 (num_samples,) at `rate_hz`, from media time 0 to its end or `end_ms`.

    The samples are in a deleted file of `scratch` that is still open, so that hours of audio need no memory.

    `channel` selects one source channel; None adds all channels by `source.audio_weights`. Sample n is at n / rate_hz
    of the file's clock: audio that starts late is padded, gaps in the timestamps are filled with silence, and overlaps
    are cut (aresample async). Packets that cannot be decoded are silent.

    Raises:
        Rejected: `damaged` if more than MAX_DAMAGED_SHARE of the packets cannot be decoded; `unreadable` if ffmpeg
            fails or finds no audio.
    """
    weights = source.audio_weights if channel is None else [float(index == channel) for index in range(channel + 1)]
    mix = "+".join(f"{weight:.6f}*c{index}" for index, weight in enumerate(weights) if weight)
    stream = source_input(source)[str(source.audio)].filter("pan", args=f"mono|c0={mix}")
    stream = stream.filter("asetpts", f"PTS-({source.start_s:.6f})/TB")
    stream = stream.filter("aresample", rate_hz, **{"async": 1, "first_pts": 0, "min_hard_comp": GAP_S})
    limit = {} if end_ms is None else {"t": end_ms / 1000}
    command = stream.output("pipe:", format="f32le", ac=1, ar=rate_hz, **limit)
    # At this level ffmpeg counts at the end what it could not decode.
    command = command.global_args("-v", "level+verbose", "-nostdin", "-nostats", "-hide_banner", "-max_error_rate", "1")
    with tempfile.TemporaryFile(dir=scratch) as samples_file:
        with running(command.compile(cmd=ffmpeg_path()), stdout=samples_file) as process:
            _, errors = process.communicate()
        num_packets, num_damaged = _packets_read(errors)
        reported = complaint(errors, about=set(_DECODERS.findall(errors.decode(errors="replace"))))
        if num_damaged > MAX_DAMAGED_SHARE * num_packets:
            share = f"{num_damaged} of {num_packets} packets of sound cannot be decoded, {MAX_DAMAGED_SHARE:.0%} may be"
            raise Rejected("damaged", f"{source.path.name}: {share}: {reported}")
        if process.returncode:
            raise Rejected("unreadable", f"{source.path.name}: audio: {reported}")
        if not samples_file.seek(0, os.SEEK_END):
            raise Rejected("unreadable", f"{source.path.name}: audio: no sound in {num_packets} packets")
        samples_T = np.memmap(samples_file, np.float32, mode="r")
        return DecodedAudio(samples_T, num_packets, num_damaged, reported if num_damaged else "")


def _packets_read(errors: bytes) -> tuple[int, int]:
    """How many packets ffmpeg has read of the one stream that it decoded, and how many of them it could not decode."""
    counts = _COUNTS.findall(errors.decode(errors="replace"))
    read, _, damaged = max(counts, key=lambda count: int(count[1]), default=("0", "0", "0"))
    return int(read), int(damaged or 0)


def why_unreadable(path: Path) -> str:
    """ffmpeg's complaint about a file that cannot be opened."""
    command = ffmpeg.input(address(path), protocol_whitelist="file,pipe", threads=1).output("-", format="null", t=0)
    command = command.global_args("-v", "level+error", "-nostdin", "-hide_banner")
    with running(command.compile(cmd=ffmpeg_path())) as process:
        _, errors = process.communicate()
    return complaint(errors).replace(str(path), path.name)


def conform_video(
    source: Source,
    target: Path,
    *,
    lead_ms: float,
    rate: float = 1.0,
    first_frame: int = 0,
    num_frames: int,
    seek_ms: int | None = None,
    width: int,
    height: int,
    crop: tuple[int, int, int, int] | None,
    framing: Framing = CENTRE,
    qp: int,
) -> tuple[int, str]:
    """The chosen video stream -> frames of a track, 25 fps, H.264 without B-frames, a keyframe every unit.

    Makes `num_frames` frames from `first_frame` on. With `seek_ms`, decoding begins at the last keyframe before that
    media time. The frames of a track do not depend on the spans it is made in: with a constant quantiser, x264 uses
    nothing from before a keyframe.

    Frame n shows the source frame nearest to track time 40 n ms. In a gap the frame before it stands, until 20 ms
    before the next one. Media time 0 of the file is at track time `lead_ms` (negative: its beginning is cut), and 1 ms
    of the file takes `rate` ms of the track. Frames missing at either end of the track repeat their neighbour. The
    picture, or its part `crop`, is put into width x height as `framing` says. Colours are BT.601, limited range, BT.709
    curve and primaries, with the matching tags. There is one encoder thread, because x264's output depends on their
    number. Where packets cannot be decoded, the picture before stands, or the decoder conceals the damage.

    Returns:
        How many packets could not be decoded, and ffmpeg's complaint about the first of them.

    Raises:
        Rejected: `unreadable` if ffmpeg fails, cannot decode most of the packets, or writes another number of frames
            than `num_frames`.
    """
    stream = conformed(
        source_input(source, seek_ms)[str(source.video)],
        source,
        lead_ms=lead_ms,
        rate=rate,
        first_frame=first_frame,
        width=width,
        height=height,
        crop=crop,
        framing=framing,
    ).filter("tpad", stop_mode="clone", stop=num_frames)
    command = track_video(stream, target, num_frames=num_frames, qp=qp)
    with running(command.compile(cmd=ffmpeg_path())) as process:
        _, errors = process.communicate()
    num_damaged, reported = damaged_packets(errors)
    if process.returncode or not target.is_file():
        raise Rejected("unreadable", f"{source.path.name}: video: {reported}")
    check_frames(source, target, num_frames)
    return num_damaged, reported if num_damaged else ""


def track_video(stream, target: Path, *, num_frames: int, qp: int):  # type: ignore[no-untyped-def]  # of ffmpeg-python
    """The command that writes the video of a track. `stream`: frames of 25 fps, in size and colours of the track."""
    command = stream.output(
        str(target),
        vframes=num_frames,
        vcodec="libx264",
        preset="veryfast",
        qp=qp,
        pix_fmt="yuv420p",
        g=FRAMES_PER_UNIT,
        keyint_min=FRAMES_PER_UNIT,
        sc_threshold=0,
        bf=0,
        threads=1,
        map_metadata=-1,
        fflags="+bitexact",
        **{"flags:v": "+bitexact+cgop"},
    )
    return command.global_args(*COUNTING, "-y", "-filter_threads", "1")


def damaged_packets(errors: bytes) -> tuple[int, str]:
    """How many packets an ffmpeg with the options COUNTING could not decode, and what it reported first.

    Raises OSError if ffmpeg could not write.
    """
    _, num_damaged = _packets_read(errors)
    return num_damaged, complaint(errors, about=set(_DECODERS.findall(errors.decode(errors="replace"))))


def check_frames(source: Source, target: Path, num_frames: int) -> None:
    """Raises Rejected `unreadable` if a video that was made from a source has another number of frames."""
    with av.open(str(target)) as container:
        written = container.streams.video[0].frames
    if written != num_frames:
        raise Rejected("unreadable", f"{source.path.name}: video: {written} of {num_frames} frames")


def join_videos(pieces: Sequence[Path], target: Path) -> None:
    """Join videos of `conform_video` end to end, without encoding them again."""
    with av.open(str(target), "w", format="mp4", options={"fflags": "+bitexact"}) as joined:
        stream, frame = None, 0
        for piece in pieces:
            with av.open(str(piece)) as container:
                video = container.streams.video[0]
                stream = stream or joined.add_stream_from_template(video)
                for packet in container.demux(video):
                    if packet.size:
                        packet.pts = packet.dts = frame
                        packet.duration, packet.time_base, packet.stream = 1, Fraction(1, FRAME_RATE_HZ), stream
                        joined.mux(packet)
                        frame += 1


def conformed(stream, source, *, lead_ms, rate=1.0, first_frame=0, width, height, crop=None, framing=CENTRE):  # type: ignore[no-untyped-def]
    """The filters: frames of a source -> frames of a track, until the source ends; arguments as for `conform_video`."""
    stream = deinterlaced(stream, source)
    if crop:  # in displayed pixels; encoded ones may be wider or narrower
        x, y, crop_width, crop_height = crop
        stream = stream.filter("crop", f"{crop_width}/sar", crop_height, f"{x}/sar", y)
    stream = constant_rate(stream, source, lead_ms=lead_ms, rate=rate, first_frame=first_frame)
    colours, whole_pixels = _colours(source)
    stream = framing.scale(stream, width, height, whole_pixels=whole_pixels, flags=SCALING, **colours)
    stream = stream.filter("setsar", 1)
    if not colours:
        stream = _to_standard_colours(stream, source.picture)
    stream = framing.add_border(stream, width, height).filter("format", "yuv420p")
    return with_track_tags(stream)


def constant_rate(stream, source, *, lead_ms: float, rate: float = 1.0, first_frame: int = 0):  # type: ignore[no-untyped-def]
    """The filters: frames of any clock -> 25 a second, each the nearest in time; arguments as for `conform_video`."""
    # Each frame is moved to begin half way between the frame before and itself, but at most half a 25 fps frame early.
    # With round=up, the last frame that has begun at 40 n ms is then the nearest. The fps filter comes before scaling,
    # so that dropped frames are not scaled. start_time repeats the first frame back to the start, and drops frames that
    # were decoded before it.
    begins = f"PTS-if(isnan(PREV_INPTS),0,clip((PTS-PREV_INPTS)/2,0,{HALF_FRAME_US}))"
    lead_us = round(lead_ms * 1000) - round(source.start_s * 1e6)
    drift = "" if rate == 1 else f"+(PTS-{round(source.start_s * 1e6)})*{rate - 1:.12f}"
    stream = stream.filter("settb", "AVTB").filter("setpts", f"{begins}{drift}{lead_us:+d}")
    stream = stream.filter("fps", fps=FRAME_RATE_HZ, start_time=first_frame / FRAME_RATE_HZ, round="up")
    return stream.filter("setpts", f"PTS-{first_frame}")


def deinterlaced(stream, source):  # type: ignore[no-untyped-def]
    """The filter that takes fields apart."""
    assert source.picture is not None
    if source.picture.is_rgb:
        return stream
    # Only frames flagged as interlaced are changed: almost no cost without them.
    return stream.filter("bwdif", mode="send_frame", deint="interlaced")


def scaled_to(stream, source, width, height, *, flags=SCALING, pixels="yuv444p"):  # type: ignore[no-untyped-def]
    """The filters that bring a whole picture to a size, and to the colours of tracks: YUV with a chroma per pixel."""
    colours, _ = _colours(source)
    stream = stream.filter("scale", width, height, flags=flags, **colours).filter("setsar", 1)
    if not colours:
        stream = _to_standard_colours(stream, source.picture)
    return stream.filter("format", pixels)


def with_track_tags(stream):  # type: ignore[no-untyped-def]
    """The filter that states the colours of tracks."""
    return stream.filter(
        "setparams", colorspace="smpte170m", color_primaries="bt709", color_trc="bt709", range="limited"
    )


def _colours(source: Source) -> tuple[dict[str, str], str]:
    """What the scale filter needs to know for the colours of tracks, and formats without shared chroma; nothing for
    pictures whose colours are converted later."""
    assert source.picture is not None
    if source.picture.curve != "sdr" or source.picture.wide_gamut:
        return {}, "yuv444p10le|gbrp10le"
    return {"in_color_matrix": source.picture.matrix, "out_color_matrix": "bt601", "out_range": "tv"}, "yuv444p"


def _to_standard_colours(stream, picture):  # type: ignore[no-untyped-def]
    """HDR and wide gamut -> BT.601, limited range; after scaling, when there are fewer pixels."""
    if picture.curve != "sdr":
        stream = stream.filter("zscale", transfer="linear", npl=HDR_WHITE_CD_M2).filter("format", "gbrpf32le")
        stream = stream.filter("zscale", primaries="bt709")
        peak = HDR_PEAK_CD_M2 / HDR_WHITE_CD_M2
        stream = stream.filter("tonemap", "mobius", param=HDR_KEPT, peak=f"{peak:.4f}", desat=0)
    return stream.filter("zscale", matrix="170m", primaries="bt709", transfer="bt709", range="limited")
